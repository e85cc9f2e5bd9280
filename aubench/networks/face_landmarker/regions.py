"""Images as the networks take them, each made by itself, and the way back to the image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from aubench.networks.face_landmarker import detection
from aubench.networks.face_landmarker.detection import Detection

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

PADDING = 0.45
"""Share of the longer side that the padded view adds on each side, so that a face which fills its
image becomes as small as the faces that the detector was made for."""

SIDE = 256
"""Pixels of the landmark network's input."""

SCALE = 1.5
"""Sides of the region and of the detector's box, as a ratio."""


@dataclass(frozen=True)
class View:
    """An image inside the detector's input.

    Attributes:
        pixels: float32 [128, 128, 3] in -1..1.
        origin: where the image starts, pixels of the input, (x, y).
        scale: pixels of the input a pixel of the image, (x, y).
    """

    pixels: Tensor
    origin: tuple[int, int]
    scale: tuple[float, float]

    def to_image(self, face: Detection) -> Detection:
        """Return a face found in the view in pixels of the image."""
        origin = np.array(self.origin, np.float32)
        scale = np.array(self.scale, np.float32)
        corners = (face.box.reshape(2, 2) * detection.SIDE - origin) / scale
        points = (face.points * detection.SIDE - origin) / scale
        return Detection(corners.ravel(), points, face.score)


def _planes(image: Image, device: str) -> Tensor:
    return torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1)[None].float()


def view(image: Image, padding: float, device: str = "cpu") -> View:
    """Return an image [H, W, 3] fitted into the detector's input.

    Args:
        image: uint8 RGB.
        padding: share of the longer side that is added around, by repeating the edges; at 0 what
            is left over is black.
        device: torch device.
    """
    high, wide = image.shape[:2]
    longest = detection.SIDE / (1 + 2 * padding)
    width, height = (max(1, round(side * longest / max(high, wide))) for side in (wide, high))
    small = functional.interpolate(
        _planes(image, device), (height, width), mode="bilinear", antialias=True
    )
    left, top = (detection.SIDE - width) // 2, (detection.SIDE - height) // 2
    around = (left, detection.SIDE - width - left, top, detection.SIDE - height - top)
    mode = "replicate" if padding else "constant"
    whole = functional.pad(small, around, mode=mode)[0].permute(1, 2, 0) / 127.5 - 1
    return View(whole, (left, top), (width / wide, height / high))


@dataclass(frozen=True)
class Region:
    """A square of an image, turned.

    Attributes:
        centre: (x, y) in pixels of the image.
        side: pixels.
        angle: radians by which its upper edge is turned, clockwise as seen.
    """

    centre: tuple[float, float]
    side: float
    angle: float

    @classmethod
    def around(cls, face: Detection) -> Region:
        """Return the region of a face: 1.5 times its box, turned so that the eyes are level."""
        middle = (face.box[:2] + face.box[2:]) / 2
        along = face.points[1] - face.points[0]
        angle = math.atan2(float(along[1]), float(along[0]))
        return cls((float(middle[0]), float(middle[1])), face.side * SCALE, angle)

    def matrix(self) -> npt.NDArray[np.float64]:
        """Return the 2 x 3 matrix from pixels of the input to pixels of the image."""
        step = self.side / SIDE
        cos, sin = math.cos(self.angle) * step, math.sin(self.angle) * step
        turn = np.array([[cos, -sin], [sin, cos]])
        shift = np.array(self.centre) - turn @ np.full(2, SIDE / 2)
        return np.concatenate([turn, shift[:, None]], 1)

    def to_image(self, points: Floats) -> Floats:
        """Return points [P, 3] of the input in pixels of the image; depth is scaled alike."""
        matrix, step = self.matrix(), self.side / SIDE
        flat = points[:, :2].astype(np.float64) @ matrix[:, :2].T + matrix[:, 2]
        return np.concatenate([flat, points[:, 2:] * step], 1).astype(np.float32)

    def pixels(self, image: Image, device: str = "cpu") -> Tensor:
        """Return the region as float32 [256, 256, 3] in 0..1; beyond the image its edges go on."""
        x, matrix = _planes(image, device), self.matrix()
        step = self.side / SIDE
        if step > 1:  # antialiased first
            high, wide = image.shape[:2]
            size = [max(1, round(side / step)) for side in (high, wide)]
            x = functional.interpolate(x, size, mode="bilinear", antialias=True)
            matrix = matrix * np.array([[size[1] / wide], [size[0] / high]])
        high, wide = x.shape[2:]
        # From pixel corners 0..256 of the input to -1..1 over the image, as grid_sample wants it.
        theta = np.concatenate(
            [matrix[:, :2] * SIDE / 2, (matrix @ [SIDE / 2, SIDE / 2, 1])[:, None]], 1
        )
        theta = theta * 2 / np.array([[wide], [high]]) - np.array([[0, 0, 1], [0, 0, 1]])
        grid = functional.affine_grid(
            torch.tensor(theta[None], dtype=torch.float32, device=x.device),
            [1, 3, SIDE, SIDE],
            align_corners=False,
        )
        mode = "bicubic" if step < 1 else "bilinear"
        out = functional.grid_sample(x, grid, mode, padding_mode="border", align_corners=False)
        return (out[0].permute(1, 2, 0) / 255).clamp(0, 1)
