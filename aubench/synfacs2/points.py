"""Where eyes, nose and mouth corners lie in a rendered image."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from aubench.synfacs2.anatomy.actions import LANDMARKS
from aubench.synfacs2.anatomy.head import BODY, F32, LEFT_EYE, RIGHT_EYE, head
from aubench.synfacs2.anatomy.identity import identity
from aubench.synfacs2.render import pose_face
from aubench.synfacs2.rendering.camera import camera
from aubench.synfacs2.rendering.scene import scene

NOSE = (0.0, 7.0)
"""Tip of the nose on the mean head, (x, y) in decimetres; the foremost vertex near it is taken."""


def face_points(
    subject: str,
    intensities: Sequence[float] | npt.NDArray[np.floating],
    scene_seed: int,
    *,
    condition: str = "studio",
    size: int = 128,
    framing: str = "face",
) -> npt.NDArray[np.float32]:
    """Return five points float32 [5, 2], pixels (x, y) of the image that ``render`` gives.

    In the order of face detectors, left and right as seen in the image: left eye, right eye (their
    centres), tip of the nose, left and right corner of the mouth.

    Raises:
        AubenchError: Unknown subject, condition or framing.
    """
    at = scene(scene_seed, condition)
    face = identity(subject)
    view = camera(face, at, size, framing)
    posed = view.pose(pose_face(face, np.asarray(intensities), at))
    h = head()
    # The character's right side is on the left of the image.
    eyes = [posed[h.vertex_part == part].mean(0) for part in (RIGHT_EYE, LEFT_EYE)]
    nose, right, left = (posed[i] for i in _vertices())
    return np.asarray(view.project(np.array([*eyes, nose, right, left], F32))[:, :2], np.float32)


@lru_cache(maxsize=1)
def _vertices() -> tuple[int, int, int]:
    """Return the vertices of nose tip and of the character's right and left mouth corner."""
    h = head()
    skin = (h.vertex_part == BODY) & (h.mean[:, 2] > 1.0) & (h.inside < 0.3)
    near = skin & (np.hypot(h.mean[:, 0] - NOSE[0], h.mean[:, 1] - NOSE[1]) < 0.2)
    nose = int(np.argmax(np.where(near, h.mean[:, 2], -9)))
    x, y = LANDMARKS["corner"]
    corners = [
        int(np.argmin(np.hypot(h.mean[:, 0] - side * x, h.mean[:, 1] - y) + 10 * ~skin))
        for side in (-1, 1)
    ]
    return nose, corners[0], corners[1]
