"""From linear light to the picture a camera delivers: tone, colour, blur, noise, JPEG."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.fft import dctn, idctn
from scipy.ndimage import gaussian_filter

from aubench.synfacs2.anatomy.head import F32
from aubench.synfacs2.rendering.scene import Photograph

Array = np.ndarray[Any, Any]

LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    float,
)
"""Steps of the luminance coefficients at quality 50, ITU-T T.81 table K.1."""
CHROMINANCE = np.full((8, 8), 99.0)
CHROMINANCE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
"""The same of both colour differences, table K.2."""


def develop(
    light: Array, size: int, samples: int, photo: Photograph, key: str
) -> npt.NDArray[np.uint8]:
    """Return the picture uint8 [size, size, 3] of linear light.

    Args:
        light: float32 [size * samples, size * samples, 3].
        size: Side of the picture, pixels.
        samples: Across a pixel.
        photo: What the camera does.
        key: Seeds the noise, with the size.
    """
    q = light.reshape(size, samples, size, samples, 3)
    image = q.sum((1, 3)) * F32(1.15 * photo.exposure / samples**2) * np.array(photo.white, F32)
    if photo.blur * size > 0.2:
        sd = photo.blur * size
        image = gaussian_filter(image, (sd, sd, 0), mode="nearest")
    image = image * (1 + image * 0.06) / (1 + image * 0.28)
    image = np.clip(image, 0, 1) ** (1 / 2.2) * 255
    digest = hashlib.sha256(f"{key}@{size}".encode()).digest()
    draw = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    image = image + draw.standard_normal(image.shape, dtype=F32) * F32(photo.noise * 255)
    if photo.quality:
        image = jpeg(image, photo.quality, photo.offset)
    return np.asarray(np.clip(np.round(image), 0, 255), np.uint8)


def jpeg(image: Array, quality: int, offset: tuple[int, int]) -> Array:
    """Return an image 0..255 float [H, W, 3] as baseline JPEG leaves it.

    Computed here in place of an encoder, so that no version of one changes a pixel. Colour
    differences keep the full resolution.

    Args:
        image: RGB.
        quality: 1..100, scaled as the IJG encoder scales its tables.
        offset: Rows and columns by which the grid of blocks is shifted, 0..7.
    """
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    high, wide = image.shape[:2]
    pad = [(offset[0], -(high + offset[0]) % 8), (offset[1], -(wide + offset[1]) % 8), (0, 0)]
    rgb = np.pad(np.clip(image, 0, 255).astype(float), pad, mode="edge")
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    y = 0.299 * r + 0.587 * g + 0.114 * b
    planes = []
    for plane, table in (
        (y - 128, LUMINANCE),
        ((b - y) / 1.772, CHROMINANCE),
        ((r - y) / 1.402, CHROMINANCE),
    ):
        step = np.clip(np.floor((table * scale + 50) / 100), 1, 255)
        blocks = plane.reshape(plane.shape[0] // 8, 8, plane.shape[1] // 8, 8).transpose(0, 2, 1, 3)
        coded = np.round(dctn(blocks, axes=(2, 3), norm="ortho") / step) * step
        planes.append(
            idctn(coded, axes=(2, 3), norm="ortho").transpose(0, 2, 1, 3).reshape(plane.shape)
        )
    y, blue, red = planes[0] + 128, planes[1], planes[2]
    r, b = y + 1.402 * red, y + 1.772 * blue
    g = (y - 0.299 * r - 0.114 * b) / 0.587
    out = np.stack([r, g, b], 2)[offset[0] : offset[0] + high, offset[1] : offset[1] + wide]
    return np.asarray(out, F32)
