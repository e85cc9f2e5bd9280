"""Small faces, loops and folders for tests of VQ-AUFace's training."""

import numpy as np
from PIL import Image
from vqauface.settings import settings_for
from vqauface.training.data import Faces
from vqauface.training.fit import make_loop

from aubench.datasets.labelled_faces import ArrayPictures
from aubench.facs import AUS


def pixels(count=40, seed=0, size=32):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3)).astype(np.uint8)


def faces(images=None, mark="test"):
    images = pixels() if images is None else images
    n, rng = len(images), np.random.default_rng(1)
    return Faces(
        ArrayPictures(images),
        ArrayPictures(images[:5]),
        np.arange(n) % 5,
        [("A smile.", "The brows are lowered.")] * n,
        rng.integers(0, 2, (n, 12)).astype(np.float32),
        mark,
        "test",
    )


def loop(out, stage, name="tiny", given=None, data=None, **fixed):
    shape, settings = settings_for(name, stage, given or {}, **fixed)
    if stage > 1 and not (out / "stage1.checkpoint.pt").is_file():
        loop(out, 1, name, given, data).run()
    return make_loop(settings, shape, out, data or faces(), "cpu")


def write_folder(folder, count=20, size=40):
    """Write samples.csv and images; subject A has a neutral image, B has none."""
    folder.mkdir()
    rng = np.random.default_rng(3)
    lines = ["image,subject," + ",".join(f"AU{au}" for au in AUS)]
    for i, image in enumerate(pixels(count, size=size)):
        Image.fromarray(image).save(folder / f"{i:02d}.png")
        labels = rng.integers(0, 2, 12)
        labels[0] = 1
        if i == 6:
            labels[:] = 0
        lines.append(f"{i:02d}.png,{'AB'[i % 2]}," + ",".join(map(str, labels)))
    (folder / "samples.csv").write_text("\n".join(lines) + "\n")
    return folder


TRAIN = ["train", "vqauface", "--preset", "tiny"]
