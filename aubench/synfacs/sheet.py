"""Contact sheets of synthetic faces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from aubench.facs import AUS, labels_of, parse_aus
from aubench.synfacs.render import render

CONFLICTS = ("12+15", "1+4", "6+12+15", "12+15+17", "6+12+15+17", "1+2+4")


def sheet(
    subjects: Sequence[str], columns: Sequence[str], *, intensity: float = 4.0, size: int = 128
) -> npt.NDArray[np.uint8]:
    """Return faces in a grid, a subject a row, an AU set a column; uint8 [R·size, C·size, 3].

    Args:
        subjects: ``S000`` to ``S399``.
        columns: AU sets such as ``neutral`` or ``6+12``.
        intensity: of every active AU, 0..5.
        size: of a face in pixels.
    """
    rows = []
    for subject in subjects:
        scene = int(subject[1:]) * 100
        faces = [
            render(subject, labels_of(parse_aus(name)) * intensity, scene, size=size)
            for name in columns
        ]
        rows.append(np.concatenate(faces, 1))
    return np.concatenate(rows)


def every_au() -> tuple[str, ...]:
    """Return the columns of the overview: neutral, each AU, the six conflicts."""
    return ("neutral", *map(str, AUS), *CONFLICTS)
