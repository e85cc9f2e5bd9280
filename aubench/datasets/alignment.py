"""Faces brought level and cropped to a square, as AU detectors want them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.floating[Any]]
Image = npt.NDArray[np.uint8]

TEMPLATE = np.array(
    [[0.345, 0.370], [0.655, 0.370], [0.500, 0.585], [0.376, 0.731], [0.624, 0.731]], np.float32
)
"""Eyes, nose tip, mouth corners as shares of the crop: the mean of synfacs' own framing."""

ARCFACE_TEMPLATE = (
    np.array(
        [
            [38.2946, 51.6963],
            [73.5318, 51.5014],
            [56.0252, 71.7366],
            [41.5493, 92.3655],
            [70.7299, 92.2041],
        ],
        np.float32,
    )
    / 112
)
"""The same five points where networks trained with ArcFace want them, in shares of the crop."""

SIZE = 256


@dataclass(frozen=True)
class Face:
    """A face that was found.

    Attributes:
        box: Left, top, right, bottom in pixels, float32 [4].
        points: Left eye, right eye, nose, left and right mouth corner, as seen; float32 [5, 2].
        score: Score of the finder, 0..1.
        count: Faces in the image; this is the largest.
        notes: What to know of it, such as ``several faces`` or ``profile``.
    """

    box: npt.NDArray[np.float32]
    points: Points
    score: float
    count: int
    notes: tuple[str, ...] = ()

    def scaled(self, factor: float) -> Face:
        """Return the face as it lies in an image that is larger by a factor."""
        box = np.asarray(self.box * factor, np.float32)
        return replace(self, box=box, points=np.asarray(self.points) * factor)

    def moved(self, x: float, y: float) -> Face:
        """Return the face as it lies in an image of which this one is a part that begins there."""
        box = np.asarray(self.box + np.array([x, y, x, y]), np.float32)
        return replace(self, box=box, points=np.add(self.points, (x, y)))


class FaceFinder(Protocol):
    """What looks for the largest face of an image."""

    def __call__(self, image: Image) -> Face | None:
        """Return the largest face of uint8 RGB [H, W, 3], None where there is none."""


def similarity(source: Points, target: Points) -> npt.NDArray[np.float64]:
    """Return the 2 x 3 matrix of scale, rotation and shift that best takes source to target.

    Least squares over points [N, 2], N at least two, no reflection.

    Raises:
        ValueError: The points coincide.
    """
    a, b = np.asarray(source, np.float64), np.asarray(target, np.float64)
    centre_a, centre_b = a.mean(0), b.mean(0)
    a, b = a - centre_a, b - centre_b
    spread = (a**2).sum()
    if spread < 1e-9:
        raise ValueError("the points of a face coincide")
    cos = (a * b).sum() / spread
    sin = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / spread
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.concatenate([turn, (centre_b - turn @ centre_a)[:, None]], 1)


def align(image: Image, points: Points, size: int = SIZE, template: Points = TEMPLATE) -> Image:
    """Return the face uint8 [size, size, 3] with its points as near to the template as can be.

    Bicubic; an image that must shrink is antialiased first. What lies outside is black.

    Args:
        image: uint8 RGB [H, W, 3].
        points: float32 [5, 2] pixels, in the order of ``Face.points``.
        size: Side of the crop.
        template: Where the points go, [5, 2] in shares of the crop.

    Raises:
        TypeError: Another dtype or shape.
        ValueError: The points coincide.
    """
    from PIL import Image as Picture

    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise TypeError(f"want uint8 [H, W, 3], got {image.dtype} {image.shape}")
    opened, at = Picture.fromarray(image), np.asarray(points, np.float64)
    scale = float(np.hypot(*similarity(at, template * size)[:, 0]))
    if scale < 1:
        wide, high = (max(1, round(side * scale)) for side in opened.size)
        at = at * (wide / opened.width, high / opened.height)
        opened = opened.resize((wide, high), Picture.Resampling.BICUBIC)
    forward = np.eye(3)
    forward[:2] = similarity(at, template * size)
    back = np.linalg.inv(forward)[:2].ravel().tolist()
    crop = opened.transform(
        (size, size), Picture.Transform.AFFINE, tuple(back), Picture.Resampling.BICUBIC
    )
    return np.asarray(crop, np.uint8)
