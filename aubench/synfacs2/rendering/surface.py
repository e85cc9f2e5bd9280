"""What each sample of the image shows, and the grids of samples and pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.synfacs2.anatomy.head import BODY, F32, head
from aubench.synfacs2.anatomy.identity import Identity
from aubench.synfacs2.rendering.camera import Camera
from aubench.synfacs2.rendering.kernels import pixel_means
from aubench.synfacs2.rendering.raster import interpolate, rasterize

Array = np.ndarray[Any, Any]

SUPERSAMPLE = 2
NX, NY, NZ, PX, PY, PZ, U, V, SKY, LIPS, INSIDE, HAIR, MX, MY, MZ = range(15)
"""Rows of ``Surface.data``."""


@dataclass
class Surface:
    """What each visible sample shows.

    Attributes:
        side: Width of the supersampled image.
        hit: Flat indices [K] of the covered samples.
        part: Part of the head [K].
        data: float32 [15, K]: normal, position, texture u and v, sky, lips, mouth inside, hair,
            position on the mean head.
    """

    side: int
    hit: Array
    part: Array
    data: Array

    @property
    def skin(self) -> Array:
        """Whether a sample is skin."""
        return np.asarray(self.part == BODY)


def surface(posed: Array, face: Identity, view: Camera, side: int) -> Surface:
    """Return what is seen of posed vertices [n, 3] in an image ``side`` samples wide."""
    h = head()
    hit, owner, weights = rasterize(view.project(posed), h.triangles, side, side, cull=True)
    values = np.concatenate(
        [
            h.normals(posed),
            posed,
            np.stack([h.u, h.v, h.occlusion, h.lips, h.inside, face.hairline], 1),
            h.mean,
        ],
        1,
    ).astype(F32)
    data = interpolate(values, h.triangles, owner, weights)
    data[:3] /= np.sqrt((data[:3] ** 2).sum(0)) + 1e-9
    return Surface(side, hit, h.part[owner], data)


class Grid:
    """Moves values between the covered samples and the image at one sample a pixel."""

    size: int
    side: int
    hit: Array
    mask: npt.NDArray[np.bool_]
    sample: npt.NDArray[np.int64]

    def __init__(self, surface: Surface, size: int) -> None:
        self.size, self.side, self.hit = size, surface.side, surface.hit
        index = np.full(surface.side**2, -1, np.int64)
        index[surface.hit] = np.arange(len(surface.hit))
        low = index.reshape(surface.side, surface.side)[::SUPERSAMPLE, ::SUPERSAMPLE]
        self.mask = low >= 0
        self.sample = low[self.mask]

    def up(self, low: Array) -> Array:
        """Return the values at the covered samples of an image [size, size]."""
        wide = np.repeat(np.repeat(low, SUPERSAMPLE, 0), SUPERSAMPLE, 1)
        return np.asarray(wide.ravel()[self.hit])

    def down(self, values: Array) -> Array:
        """Return the mean over the samples of each pixel [size, size], zero where uncovered."""
        return np.asarray(pixel_means(values, self.hit, self.side))

    def low(self, values: Array, empty: float) -> Array:
        """Return one covered sample of each pixel [size, size]."""
        out = np.full((self.size, self.size), empty, F32)
        out[self.mask] = values[self.sample]
        return out
