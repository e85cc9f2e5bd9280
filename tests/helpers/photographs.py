"""Photographs that may be used: an astronaut, and rendered heads in pictures made by code.

What the guide for a lab with its own pictures is run on: 25 pictures of seven persons and a table
of their AUs.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from aubench.facs import AUS
from aubench.synfacs.render import render

MOVES = {"calm": (), "smile": (6, 12), "frown": (4, 17), "raise": (1, 2)}
PEOPLE = 6


def write(folder: Path, size: int = 200) -> Path:
    """Write ``photos/`` and ``photos.csv`` into a folder; return the table."""
    draw = np.random.default_rng(1)
    lines = ["image,subject,split,group," + ",".join(f"AU{au}" for au in AUS)]

    def take(person: str, name: str, face: np.ndarray, aus: tuple[int, ...], about: str) -> None:
        ramp = np.linspace(60, 200, 480).astype(np.uint8)
        scene = np.tile(ramp[None, :, None], (400, 1, 3))
        top, left = (int(draw.integers(0, side - len(face))) for side in scene.shape[:2])
        scene[top : top + len(face), left : left + len(face)] = face
        path = Path("photos") / person / f"{name}.jpg"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene).save(folder / path, quality=92)
        codes = ",".join(str(int(au in aus)) for au in AUS)
        lines.append(f"{path.as_posix()},{person},{about},{codes}")

    for i in range(PEOPLE):
        about = f"{('train', 'test')[i % 2]},{('left', 'right')[i // 3]}"
        for name, aus in MOVES.items():
            strengths = np.array([3.5 * (au in aus) for au in AUS])
            face = render(f"S{330 + i}", strengths, i, size=size, framing="head")
            take(f"person{i}", name, face, aus, about)
    take("astronaut", "smile", data.astronaut()[:360, 60:420], (6, 12), "train,left")
    table = folder / "photos.csv"
    table.write_text("\n".join(lines) + "\n")
    return table
