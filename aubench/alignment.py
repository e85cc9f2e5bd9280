"""Faces found, brought level, and cropped to a square, as AU detectors want them.

Finding is MTCNN of the ``facenet-pytorch`` package, whose weights travel inside it and which
ME-GraphAU's authors used too. That package asks for an old torch, so it is no dependency of ours:
``pip install --no-deps facenet-pytorch`` works with the present one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError

Points = npt.NDArray[np.floating[Any]]
Image = npt.NDArray[np.uint8]

TEMPLATE = np.array(
    [[0.345, 0.370], [0.655, 0.370], [0.500, 0.585], [0.376, 0.731], [0.624, 0.731]], np.float32
)
"""Eyes, nose tip, mouth corners as shares of the crop: the mean of synfacs' own framing."""

SIZE = 256
MINIMUM_SCORE = 0.9


@dataclass(frozen=True)
class Face:
    """A face that was found.

    Attributes:
        box: left, top, right, bottom in pixels, float32 [4].
        points: left eye, right eye, nose, left and right mouth corner, as seen; float32 [5, 2].
        score: of the finder, 0..1.
        count: faces in the image; this is the largest.
    """

    box: npt.NDArray[np.float32]
    points: Points
    score: float
    count: int


def similarity(source: Points, target: Points) -> npt.NDArray[np.float64]:
    """Return the 2 x 3 matrix of scale, rotation and shift that best takes source to target.

    Least squares over points [N, 2], N at least two, no reflection.

    Raises:
        ValueError: the points coincide.
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


def align(image: Image, points: Points, size: int = SIZE) -> Image:
    """Return the face uint8 [size, size, 3] with its points as near to the template as can be.

    Bicubic; an image that must shrink is antialiased first. What lies outside is black.

    Args:
        image: uint8 RGB [H, W, 3].
        points: float32 [5, 2] pixels, in the order of ``Face.points``.
        size: side of the crop.

    Raises:
        TypeError: another dtype or shape.
        ValueError: the points coincide.
    """
    from PIL import Image as Picture

    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise TypeError(f"want uint8 [H, W, 3], got {image.dtype} {image.shape}")
    opened, at = Picture.fromarray(image), np.asarray(points, np.float64)
    scale = float(np.hypot(*similarity(at, TEMPLATE * size)[:, 0]))
    if scale < 1:
        wide, high = (max(1, round(side * scale)) for side in opened.size)
        at = at * (wide / opened.width, high / opened.height)
        opened = opened.resize((wide, high), Picture.Resampling.BICUBIC)
    forward = np.eye(3)
    forward[:2] = similarity(at, TEMPLATE * size)
    back = np.linalg.inv(forward)[:2].ravel().tolist()
    crop = opened.transform(
        (size, size), Picture.Transform.AFFINE, tuple(back), Picture.Resampling.BICUBIC
    )
    return np.asarray(crop, np.uint8)


class FaceFinder:
    """MTCNN; the largest face of each image.

    Args:
        device: torch device.
        smallest: side in pixels of the smallest face looked for.

    Raises:
        AubenchError: the package that finds faces is not installed.
    """

    def __init__(self, device: str = "cpu", smallest: int = 20) -> None:
        try:
            from facenet_pytorch import MTCNN
        except ModuleNotFoundError as error:
            raise AubenchError(
                "finding faces needs the package facenet-pytorch",
                "`pip install --no-deps facenet-pytorch`",
            ) from error
        self._finder: Any = MTCNN(
            keep_all=True, device=device, post_process=False, min_face_size=smallest
        )

    def __call__(self, image: Image) -> Face | None:
        """Return the largest face of uint8 RGB [H, W, 3], None where there is none."""
        boxes, scores, points = self._finder.detect(image, landmarks=True)
        if boxes is None:
            return None
        return largest(boxes, scores, points)


def largest(boxes: Sequence[Any], scores: Sequence[Any], points: Sequence[Any]) -> Face | None:
    """Return the face of the largest box among those sure enough, None where there is none."""
    sure = [i for i, score in enumerate(scores) if score is not None and score >= MINIMUM_SCORE]
    if not sure:
        return None
    box = np.asarray([np.asarray(boxes[i], np.float32) for i in sure])
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    chosen = int(area.argmax())
    i = sure[chosen]
    return Face(box[chosen], np.asarray(points[i], np.float32), float(scores[i]), len(sure))
