"""A lab with BP4D, in stand-ins: the tree with the faults of the field, and checkpoints.

What the guide from import to the tables is run on. Faces are rendered heads of six persons, two of
each fold; networks are of the published layouts and of random weights.
"""

from pathlib import Path

import numpy as np
import torch
import trees
from aubench_baselines.stable_diffusion.base import write_random_base
from published_detectors import shapes_of
from tiny_base import TINY

from aubench.facs import AUS, labels_of, parse_aus
from aubench.synfacs.render import render

PEOPLE = ("F001", "M001", "F003", "M002", "F004", "M003")
"""Two persons whom the published lists test in fold 3, two of fold 2, two of fold 1."""

SETS = ("neutral", "12", "12+15", "1+4", "6+12+15", "12+15+17", "6+12+15+17", "1+2+4")
OWN = ("2+14", "10+23", "4+7+24", "17")
"""AU sets that persons of fold 1 alone show, so that train has not seen them."""

SIDE = 144
DETECTOR = "MEFL_resnet18_BP4D_fold1.pth"


def write(folder: Path) -> None:
    """Write ``BP4D/`` and ``checkpoints/`` into a folder."""
    write_tree(folder / "BP4D")
    write_checkpoints(folder / "checkpoints")


def write_tree(root: Path) -> None:
    """Write BP4D as labs have it: padded names, a second copy, broken and missing files."""
    rows = []
    for number, subject in enumerate(PEOPLE):
        sets = SETS + (OWN if number >= 4 else ())
        for k, name in enumerate(sets):
            labels = labels_of(parse_aus(name))
            strengths = labels.astype(np.float32) * trees.STRENGTH
            image = render(f"S{330 + number}", strengths, number, size=SIDE, framing="head")
            rows.append(trees.Shot(subject, "T1", 2440 + k, labels, image))
    trees.write_bp4d(root, rows)
    first, second = root / "F001/T1", root / "F003/T1"
    for path in second.iterdir():
        path.rename(path.with_name(f"{int(path.stem):08d}.jpg"))  # padded, as some archives are
    (first / "2441.jpg").write_bytes(b"")  # a copy that broke off
    (first / "2442.jpg").unlink()  # coded, but without a picture
    wall = np.random.default_rng(0).integers(90, 110, (SIDE, SIDE, 3)).astype(np.uint8)
    (first / "2443.jpg").write_bytes(trees.jpeg(wall))  # nobody is in the picture
    trees.write(first / "Thumbs.db", b"\0")
    trees.write(root / "AUCoding/AU_OCC/._M001_T1.csv", b"\0")
    coding = root / "AUCoding/AU_OCC/M002_T1.csv"
    lines = coding.read_text().splitlines()
    lines[3] = ",".join([*lines[3].split(",")[:2], "9", *lines[3].split(",")[3:]])  # occluded
    coding.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*lines, ""]).encode())
    twice = root / "AUCoding/AU_OCC/M001_T1.csv"
    lines = twice.read_text().splitlines()
    other = lines[2].split(",")
    other[1] = str(1 - int(other[1]))
    twice.write_text("\n".join([*lines, ",".join(other)]) + "\n")  # two coders who disagree


def write_checkpoints(folder: Path) -> None:
    """Write a detector as ME-GraphAU publishes it, and a base of Stable Diffusion."""
    folder.mkdir()
    rng = torch.Generator().manual_seed(1)
    state = {}
    for name, shape in shapes_of("me-graphau", "resnet18", "mefl", len(AUS)).items():
        if name.endswith("num_batches_tracked"):
            state[f"module.{name}"] = torch.tensor(0)
        elif len(shape) > 1:
            fan = int(np.prod(shape[1:]))
            state[f"module.{name}"] = torch.randn(shape, generator=rng) * (2 / fan) ** 0.5
        else:
            scale = name.endswith(("weight", "running_var"))
            state[f"module.{name}"] = scale + 0.1 * torch.rand(shape, generator=rng)
    torch.save({"epoch": 1, "state_dict": state}, folder / DETECTOR)
    write_random_base(folder / "stable-diffusion", TINY, half=False)
