"""Draw the sheets of ``docs/synfacs2.md``: ``python -m aubench._maintain.synfacs2_sheets DIR``.

Subjects are those of the test range, in the order of their numbers; none was chosen.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from aubench.facs import AUS
from aubench.storage.files import atomic_path
from aubench.synfacs2.keys import SPLITS, subject_name
from aubench.synfacs2.render import render
from aubench.synfacs2.sheet import CONFLICTS, TEXTURE_AND_CLAY, Drawing, ramp, sheet

PEOPLE = [subject_name(number) for number in SPLITS["test"]]
ACROSS = 10


def _save(image: np.ndarray[Any, Any], path: Path) -> None:
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(image).save(temporary, format="WEBP", quality=80, method=6)
    sys.stderr.write(f"{path}: {path.stat().st_size / 1e3:.0f} kB\n")


def population(condition: str, count: int = 60, size: int = 256) -> np.ndarray[Any, Any]:
    """Return neutral faces of the first test subjects, ten a row, uint8."""
    faces = [
        render(name, np.zeros(len(AUS)), 3000 + i, condition=condition, size=size)
        for i, name in enumerate(PEOPLE[:count])
    ]
    rows = [np.concatenate(faces[i : i + ACROSS], 1) for i in range(0, count, ACROSS)]
    return np.concatenate(rows)


def levels(subject: str, size: int = 128) -> np.ndarray[Any, Any]:
    """Return every AU from neutral to E of one subject, texture beside clay, an AU a row."""
    rows = []
    for au in AUS:
        drawing = Drawing(size, layers=TEXTURE_AND_CLAY)
        whole, clay = np.split(ramp([subject], str(au), drawing=drawing), 2)
        rows.append(np.concatenate([whole, clay], 1))
    return np.concatenate(rows)


def main(folder: Path) -> None:
    """Draw and write the sheets."""
    for subject in PEOPLE[:6]:
        _save(levels(subject), folder / f"synfacs2-levels-{subject}.webp")
    columns = ("neutral", "12", "15", *CONFLICTS)
    drawing = Drawing(192, layers=TEXTURE_AND_CLAY)
    _save(sheet(PEOPLE[:6], columns, drawing=drawing), folder / "synfacs2-conflicts.webp")
    for condition in ("studio", "wild"):
        _save(population(condition), folder / f"synfacs2-{condition}.webp")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
