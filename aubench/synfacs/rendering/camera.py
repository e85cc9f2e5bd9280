"""Where the head stands in the image: pose, framing, projection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from aubench.errors import AubenchError
from aubench.synfacs.anatomy.head import F32, head
from aubench.synfacs.anatomy.identity import EYE_DISTANCE, Identity
from aubench.synfacs.rendering.scene import Scene

Array = np.ndarray[Any, Any]

PIVOT = np.array([0, 6.45, 0.55], F32)
DISTANCE, NEAR, LEVEL = 14.0, 1.2, 7.26
"""The viewer stands ``DISTANCE`` dm before the plane z = ``NEAR``, at the height of the face."""
# (dm of face across the image, height of the eyes as a share of the image from the top)
FRAMINGS = {"face": (1.86, 0.37), "head": (2.75, 0.465)}
"""``face``: highest brow to below the chin, eyes at fixed places; ``head``: wider."""


@dataclass(frozen=True)
class Camera:
    """A rotation of the head and a similarity of the image plane.

    Attributes:
        rotation: float32 [3, 3] of the head.
        turn: float [2, 2], scale and roll of the image plane, pixels per decimetre.
        shift: float [2] pixels.
    """

    rotation: Array
    turn: Array
    shift: Array

    def pose(self, V: Array) -> Array:
        """Return posed vertices; the neck blends from the trunk to the head."""
        moved = (V - PIVOT) @ self.rotation.T + PIVOT
        return np.asarray(V + (moved - V) * head().neck, F32)

    def project(self, V: Array) -> Array:
        """Return float32 [n, 3]: pixel x, pixel y (down), depth away from the viewer."""
        return np.concatenate([_flat(V) @ self.turn.T + self.shift, -V[:, 2:3]], 1).astype(F32)


def _flat(V: Array) -> Array:
    """Return perspective coordinates [n, 2], y down."""
    near = DISTANCE / (DISTANCE - (V[:, 2] - NEAR))
    return np.stack([V[:, 0] * near, (LEVEL - V[:, 1]) * near], 1)


def rotation(yaw: float, pitch: float, roll: float) -> Array:
    """Return the float32 rotation of yaw, then pitch, then roll, degrees."""
    (ca, cb, cc), (sa, sb, sc) = (f(np.deg2rad([yaw, pitch, roll])) for f in (np.cos, np.sin))
    y = np.array([[ca, 0, sa], [0, 1, 0], [-sa, 0, ca]])
    x = np.array([[1, 0, 0], [0, cb, -sb], [0, sb, cb]])
    z = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    return np.asarray(z @ x @ y, F32)


def camera(face: Identity, scene: Scene, side: int, framing: str) -> Camera:
    """Return the camera of an image ``side`` samples wide.

    The eyes of the posed neutral head are brought level, to a fixed distance and place, so that
    neither pose nor AUs move the crop.

    Raises:
        AubenchError: the framing is unknown.
    """
    if framing not in FRAMINGS:
        raise AubenchError(f"unknown framing '{framing}'", f"choose from {', '.join(FRAMINGS)}")
    across, level = FRAMINGS[framing]
    turned = rotation(scene.yaw, scene.pitch, scene.roll)
    eyes = []
    for part in (1, 2):
        centre = face.coarse[np.unique(head().coarse_quads[head().coarse_part == part])].mean(0)
        eyes.append((centre - PIVOT) @ turned.T + PIVOT)
    left, right = _flat(np.array(eyes))
    line = left - right
    # Yaw foreshortens the eye line; the scale is that of a frontal face.
    scale = side / across * EYE_DISTANCE / max(_distance(face), 1e-6)
    angle = -np.arctan2(line[1], line[0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    place = np.array([side / 2, side * level])
    return Camera(turned, turn, place - turn @ ((left + right) / 2))


def _distance(face: Identity) -> float:
    h = head()
    left, right = (
        face.coarse[np.unique(h.coarse_quads[h.coarse_part == part])].mean(0) for part in (1, 2)
    )
    return float(np.linalg.norm(left - right))
