"""Contact sheets of synthetic faces: subjects by AU sets, and ramps from A to E."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aubench.facs import AUS, labels_of, parse_aus
from aubench.synfacs2.keys import check_subject
from aubench.synfacs2.render import render
from aubench.synfacs2.rendering.layers import CLAY, WHOLE, Layers

CONFLICTS = ("12+15", "1+4", "6+12+15", "12+15+17", "6+12+15+17", "1+2+4")
LEVELS = (0, 1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Drawing:
    """How the faces of a sheet are drawn.

    Attributes:
        size: Side of a face in pixels.
        condition: ``studio`` or ``wild``.
        layers: What is drawn of each face; several are put below each other.
        framing: ``face`` or ``head``.
    """

    size: int = 128
    condition: str = "studio"
    layers: tuple[Layers, ...] = (WHOLE,)
    framing: str = "face"


TEXTURE_AND_CLAY = (WHOLE, CLAY)


def _grid(
    subjects: Sequence[str], columns: Sequence[npt.NDArray[np.floating]], drawing: Drawing
) -> npt.NDArray[np.uint8]:
    rows = []
    for subject in subjects:
        scene = check_subject(subject) * 1000
        for layers in drawing.layers:
            faces = [
                render(
                    subject,
                    values,
                    scene,
                    condition=drawing.condition,
                    size=drawing.size,
                    framing=drawing.framing,
                    layers=layers,
                )
                for values in columns
            ]
            rows.append(np.concatenate(faces, 1))
    return np.concatenate(rows)


def sheet(
    subjects: Sequence[str],
    columns: Sequence[str],
    *,
    intensity: float = 4.0,
    drawing: Drawing | None = None,
) -> npt.NDArray[np.uint8]:
    """Return faces in a grid, a subject a row, an AU set a column; uint8 [R*size, C*size, 3].

    Args:
        subjects: ``S00000`` and on.
        columns: AU sets such as ``neutral`` or ``6+12``.
        intensity: Intensity of every active AU, 0..5.
        drawing: How the faces are drawn.
    """
    values = [labels_of(parse_aus(name)) * intensity for name in columns]
    return _grid(subjects, values, drawing or Drawing())


def ramp(
    subjects: Sequence[str], aus: str, *, drawing: Drawing | None = None
) -> npt.NDArray[np.uint8]:
    """Return one AU set from 0 to E, a subject a row, a level a column; uint8 [R*size, 6*size, 3].

    Args:
        subjects: ``S00000`` and on.
        aus: An AU set such as ``12`` or ``12+15``; its AUs go together.
        drawing: How the faces are drawn.
    """
    active = labels_of(parse_aus(aus))
    return _grid(subjects, [active * float(level) for level in LEVELS], drawing or Drawing())


def every_au() -> tuple[str, ...]:
    """Return the columns of the overview: neutral, each AU, the six conflicts."""
    return ("neutral", *map(str, AUS), *CONFLICTS)
