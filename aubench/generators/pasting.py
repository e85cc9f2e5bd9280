"""What can be pasted from one face on another, for controls and audits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]

TEXTURE_SPREAD = 2.0
"""Standard deviation of the blur between coarse and fine, pixels of an image of 128."""


def with_texture(base: Images, donor: Images) -> Images:
    """Return the coarse part of images uint8 [N, H, W, 3] with the fine part of others."""
    from scipy.ndimage import gaussian_filter

    spread = TEXTURE_SPREAD * base.shape[1] / 128
    sd = (0, spread, spread, 0)
    low = gaussian_filter(base.astype(np.float32), sd, mode="nearest")
    other = donor.astype(np.float32)
    fine = other - gaussian_filter(other, sd, mode="nearest")
    return np.asarray(np.clip(np.round(low + fine), 0, 255), np.uint8)
