"""Labels and list files in the official layout, for tests of detectors."""

import numpy as np
from PIL import Image


def labels_like(count, seed=1, unknown=0.0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((count, 12)) < 0.4).astype(np.int8)
    labels[rng.random((count, 12)) < unknown] = -1
    return labels


def write_lists(folder, train=6, test=3, side=8):
    """Write the official layout: one subject a frame, labels with a 9 in the second line."""
    subjects = {
        "train": [f"F{i:03d}" for i in range(train)],
        "test": [f"M{i:03d}" for i in range(test)],
    }
    (folder / "list").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, names in subjects.items():
        paths = [f"{name}/T1/{k + 7}.jpg" for k, name in enumerate(names)]
        rows = [[str(v) for v in row] for row in labels_like(len(names), seed=3)]
        rows[1][4] = "9"
        for path in paths:
            (folder / "img" / path).parent.mkdir(parents=True)
            image = rng.integers(0, 256, (side, side + 4, 3)).astype(np.uint8)
            Image.fromarray(image).save(folder / "img" / path)
        stem = f"BP4D_{part}"
        (folder / "list" / f"{stem}_img_path_fold1.txt").write_text("\n".join(paths) + "\n")
        (folder / "list" / f"{stem}_label_fold1.txt").write_text(
            "\n".join(map(" ".join, rows)) + "\n"
        )
    return folder
