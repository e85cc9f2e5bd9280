"""Images in batches of one size, so that no result depends on the company of an image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]


def check_images(images: Images) -> None:
    """Raise TypeError unless images are uint8 [N, H, W, 3]."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise TypeError(f"want uint8 [N, H, W, 3], got {images.dtype} {images.shape}")


def padded(images: Images, size: int) -> Images:
    """Return ``size`` images, the last one repeated, for at most as many [N, H, W, 3]."""
    short = size - len(images)
    return np.concatenate([images, np.repeat(images[-1:], short, 0)]) if short else images
