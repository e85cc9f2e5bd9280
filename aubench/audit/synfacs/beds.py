"""Faces to order for the audit: subjects, AUs, scenes and layers, of either renderer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aubench.facs import AUS
from aubench.progress import bar
from aubench.worker_processes import workers, working

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Images = npt.NDArray[np.uint8]
    Values = Sequence[float] | npt.NDArray[np.floating]

CHUNK = 24
SIZE = 128
SHOWN = 192
"""Side of the images that the landmarker reads, pixels."""


@dataclass(frozen=True)
class Face:
    """A face to render.

    Attributes:
        subject: Its number.
        values: 12 intensities.
        scene: Seed.
        condition: ``studio`` or ``wild``.
        layers: ``whole``, ``clay``, ``geometry`` (no wrinkles) or ``wrinkles`` (no motion).
        size: Side in pixels.
    """

    subject: int
    values: tuple[float, ...]
    scene: int
    condition: str = "studio"
    layers: str = "whole"
    size: int = SIZE


@dataclass(frozen=True)
class Bed:
    """A renderer under audit.

    Attributes:
        name: ``synfacs`` or ``synfacs2``; also the data set's.
        train: Subject numbers to fit readers on.
        fresh: Subject numbers that nobody looked at.
        detectors: Those that were trained on it and ship.
        layered: Whether it has conditions and layers; the first has neither.
    """

    name: str
    train: range
    fresh: range
    detectors: tuple[str, ...]
    layered: bool = True


BEDS = {
    bed.name: bed
    for bed in (
        Bed("synfacs", range(280), range(320, 400), ("nano-a", "nano-b"), layered=False),
        Bed("synfacs2", range(1000), range(910_000, 990_000), ("nano2-a", "nano2-b")),
    )
}


def active(aus: Sequence[int], level: float) -> tuple[float, ...]:
    """Return intensities with some AUs at one level."""
    return tuple(level if au in aus else 0.0 for au in AUS)


def _render_some(bed: Bed, faces: list[Face]) -> list[Images]:
    return [render_face(bed, face) for face in faces]


def render_face(bed: Bed, face: Face) -> Images:
    """Return one face, uint8 [size, size, 3]."""
    import numpy as np

    values = np.array(face.values)
    if not bed.layered:
        from aubench.synfacs.render import render as render_first

        return render_first(f"S{face.subject:03d}", values, face.scene, size=face.size)
    from aubench.synfacs2.keys import subject_name
    from aubench.synfacs2.render import render
    from aubench.synfacs2.rendering.layers import CLAY, WHOLE, Layers

    layers = {
        "whole": WHOLE,
        "clay": CLAY,
        "geometry": Layers(wrinkles=False),
        "wrinkles": Layers(motion=False),
    }[face.layers]
    return render(
        subject_name(face.subject),
        values,
        face.scene,
        condition=face.condition,
        size=face.size,
        layers=layers,
    )


def render_all(bed: Bed, faces: Sequence[Face], label: str, processes: int | None = None) -> Images:
    """Return faces of one size, uint8 [N, size, size, 3], with a progress bar.

    Args:
        bed: The renderer.
        faces: What to render; those of a subject should lie together.
        label: Label of the bar.
        processes: How many render at once; one a core if None.
    """
    import numpy as np

    chunks = [list(faces[i : i + CHUNK]) for i in range(0, len(faces), CHUNK)]
    jobs: list[tuple[object, ...]] = [(bed, chunk) for chunk in chunks]
    out = []
    with (
        bar(len(faces), label, "img") as progress,
        working(_render_some, jobs, processes or workers(), "rendering") as found,
    ):
        for images in found:
            out += images
            progress.update(len(images))
    return np.stack(out)
