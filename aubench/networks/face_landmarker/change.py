"""What moved between two pictures of a face: its geometry minus that of its reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.networks.face_landmarker.landmarker import FaceGeometry
from aubench.networks.face_landmarker.names import LEFT_EYE, RIGHT_EYE, STABLE

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Change:
    """Differences of faces from their references; NaN where either has no face.

    Attributes:
        points: float32 [N, 478, 2], shares of the way between the outer corners of the
            reference's eyes; x along that way to the person's left, y down the face.
        blendshapes: float32 [N, 52], -1..1.
        found: bool [N], whether both pictures have a face.
    """

    points: Floats
    blendshapes: Floats
    found: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.found)

    def features(self) -> Floats:
        """Return points and blendshapes in one row a face, float32 [N, 1008]."""
        return np.concatenate([self.points.reshape(len(self), -1), self.blendshapes], 1)


def rigid(source: Doubles, target: Doubles) -> tuple[Doubles, Doubles]:
    """Return turn and scale [3, 3] and shift [3] that best take points [P, 3] to others.

    Least squares without reflection (Umeyama 1991).

    Raises:
        ValueError: the points coincide.
    """
    a, b = source - source.mean(0), target - target.mean(0)
    spread = float((a**2).sum())
    if spread < 1e-9:
        raise ValueError("the points of a face coincide")
    left, values, right = np.linalg.svd(b.T @ a)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    turn = (left * signs) @ right * ((values * signs).sum() / spread)
    return turn, target.mean(0) - turn @ source.mean(0)


def level(points: npt.NDArray[np.floating[Any]]) -> tuple[Doubles, float]:
    """Return the axes [3, 3] of a face [478, 3], along its eyes first, and its size in pixels.

    The size is the way between the outer corners of the eyes. Turned within the picture only.
    """
    along = (points[LEFT_EYE[0]] - points[RIGHT_EYE[0]])[:2].astype(np.float64)
    size = float(np.hypot(*along))
    cos, sin = along / max(size, 1e-9)
    return np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]), size


def moved(face: Floats, reference: Floats) -> Floats:
    """Return how the points of a face moved on the head of its reference, float32 [478, 2].

    The face is first brought onto the reference by the similarity transform, in space, of the
    points that expressions hardly move, so that a turned head is no motion.

    Raises:
        ValueError: the points of a face coincide.
    """
    stable = list(STABLE)
    a, b = face.astype(np.float64), reference.astype(np.float64)
    turn, shift = rigid(a[stable], b[stable])
    axes, size = level(b)
    if size < 1e-6:
        raise ValueError("the points of a face coincide")
    return ((a @ turn.T + shift - b) @ axes.T / size)[:, :2].astype(np.float32)


def change(
    faces: FaceGeometry,
    references: FaceGeometry,
    rows: npt.NDArray[np.integer[Any]] | None = None,
) -> Change:
    """Return what moved from the references to the faces.

    Args:
        faces: N faces.
        references: their references.
        rows: the number of each face's reference, int [N]; 0 to N-1 if None.

    Raises:
        ValueError: another number of references or rows than faces.
    """
    at = np.arange(len(references)) if rows is None else np.asarray(rows)
    if len(at) != len(faces):
        raise ValueError(f"{len(faces)} faces, but {len(at)} references")
    found = faces.found & references.found[at]
    points = np.full((*faces.points.shape[:2], 2), np.nan, np.float32)
    for i in np.flatnonzero(found):
        points[i] = moved(faces.points[i], references.points[at[i]])
    shapes = np.where(found[:, None], faces.blendshapes - references.blendshapes[at], np.nan)
    return Change(points, shapes.astype(np.float32), found)
