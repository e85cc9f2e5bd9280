"""A mild purification of images: what is seen stays, a pattern that fools a network does not."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]

QUALITY, SIGMA = 75, 0.5
"""Quality of the JPEG and width of the blur in pixels; a change is another metric id."""
PURIFIED = f"jpeg{QUALITY}+blur{SIGMA}"


def purified(images: Images) -> Images:
    """Return uint8 [N, H, W, 3] as JPEG of quality 75, then blurred by half a pixel."""
    from PIL import Image
    from scipy.ndimage import gaussian_filter

    out = np.empty_like(images)
    for i, image in enumerate(images):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=QUALITY)
        with Image.open(stream) as decoded:
            plain = np.asarray(decoded.convert("RGB"), np.float32)
        out[i] = np.clip(np.rint(gaussian_filter(plain, (SIGMA, SIGMA, 0))), 0, 255)
    return out
