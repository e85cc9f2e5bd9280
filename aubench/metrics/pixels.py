"""Pixel agreement with the target: root mean square, PSNR, SSIM (Wang et al. 2004).

They reward the same person in the same light in the same place and know nothing of expressions: a
copy of the reference scores high. Read them beside the controls.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float64]

WINDOW = 11
"""Side of SSIM's Gaussian window, sigma 1.5; smaller images have no SSIM."""


def _check(made: Images, target: Images) -> None:
    if made.shape != target.shape or made.ndim != 4 or made.dtype != np.uint8:
        raise ValueError(f"want two uint8 [N, H, W, 3], got {made.shape} and {target.shape}")


def rms(made: Images, target: Images) -> Vector:
    """Return the root mean square difference of each pair in grey levels 0..255, [N].

    Raises:
        ValueError: shapes or types differ.
    """
    _check(made, target)
    gap = made.astype(np.float64) - target
    return np.asarray(np.sqrt((gap**2).reshape(len(gap), -1).mean(1)))


def psnr(distance: Vector) -> Vector:
    """Return the peak signal-to-noise ratio in dB of root mean square differences [N].

    Identical images have no finite value: NaN, to be left out of a mean and counted.
    """
    with np.errstate(divide="ignore"):
        value = 20 * np.log10(255 / np.asarray(distance, np.float64))
    return np.where(np.isfinite(value), value, np.nan)


def ssim(made: Images, target: Images) -> Vector:
    """Return the structural similarity of each pair [N], -1..1, mean over pixels and channels.

    Gaussian window of 11 pixels, sigma 1.5, population covariance, range 255, as published;
    computed by scikit-image.

    Raises:
        ValueError: shapes or types differ, or the images are smaller than the window.
    """
    from skimage.metrics import structural_similarity

    _check(made, target)
    if min(made.shape[1:3], default=0) < WINDOW:
        raise ValueError(f"SSIM needs at least {WINDOW} px, got {made.shape[1:3]}")
    measure = cast("Any", structural_similarity)
    return np.array([
        measure(a, b, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5,
                use_sample_covariance=False)
        for a, b in zip(made, target, strict=True)
    ], np.float64)  # fmt: skip
