"""From images to the input of a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Images = npt.NDArray[np.uint8]

SIDE = 128
MEAN, SPREAD = 0.5, 0.25

SHORTER, CROP = 256, 224
IMAGENET_MEAN, IMAGENET_SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalise(x: Tensor) -> Tensor:
    """Return the nano networks' input of images float [B, 3, H, W] in 0..1, resized to 128 px."""
    if x.shape[-2:] != (SIDE, SIDE):
        x = F.interpolate(
            x, (SIDE, SIDE), mode="bicubic", antialias=True, align_corners=False
        ).clamp(0, 1)
    return (x - MEAN) / SPREAD


def _sides(height: int, width: int) -> tuple[int, int]:
    """Return height and width with the shorter side 256."""
    short = min(height, width)
    return height * SHORTER // short, width * SHORTER // short


def _corner(height: int, width: int) -> tuple[int, int]:
    """Return top and left of the centre crop."""
    return round((height - CROP) / 2), round((width - CROP) / 2)


def crop_pixels(images: Images) -> Images:
    """Return uint8 [N, 224, 224, 3]: shorter side to 256 by Pillow's bilinear, centre crop."""
    from PIL import Image

    height, width = _sides(*images.shape[1:3])
    top, left = _corner(height, width)
    out = np.empty((len(images), CROP, CROP, 3), np.uint8)
    for row, image in zip(out, images, strict=True):
        picture = Image.fromarray(image)
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        row[:] = np.asarray(picture)[top : top + CROP, left : left + CROP]
    return out


def imagenet(x: Tensor) -> Tensor:
    """Return images float [B, 3, H, W] in 0..1 with ImageNet's mean and spread taken out."""
    mean = torch.tensor(IMAGENET_MEAN, dtype=x.dtype, device=x.device)[:, None, None]
    spread = torch.tensor(IMAGENET_SPREAD, dtype=x.dtype, device=x.device)[:, None, None]
    return (x - mean) / spread


def crop_tensor(x: Tensor) -> Tensor:
    """Return the differentiable twin of `crop_pixels` and `imagenet`, without its rounding."""
    height, width = _sides(*x.shape[-2:])
    if x.shape[-2:] != (height, width):
        x = F.interpolate(x, (height, width), mode="bilinear", antialias=True, align_corners=False)
    top, left = _corner(height, width)
    return imagenet(x[..., top : top + CROP, left : left + CROP])


@dataclass(frozen=True)
class Preparation:
    """How a network wants its images.

    Attributes:
        id: For the detector's id; empty for the nano networks, whose name says it.
        pixels: Step on uint8 [N, H, W, 3], on the processor.
        normalise: Step on float [B, 3, H, W] in 0..1 of these pixels, on the device.
        tensor: Both at once, differentiable, on float [B, 3, H, W] in 0..1.
    """

    id: str
    pixels: Callable[[Images], Images]
    normalise: Callable[[Tensor], Tensor]
    tensor: Callable[[Tensor], Tensor]


NANO = Preparation("", lambda images: images, normalise, normalise)
PAPER = Preparation("bilinear256-crop224-imagenet", crop_pixels, imagenet, crop_tensor)
"""ME-GraphAU's: aligned faces, shorter side to 256, centre 224."""
