"""Faces whose answer is known, given the look of the models: blur, noise, light and colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
ROUNDING = 1 / 12
"""Power of rounding to whole grey levels, at each frequency."""
ALIKE = 0.3
"""Difference of log powers that is not told from chance."""


@dataclass(frozen=True)
class Look:
    """How the images of a model differ from plain faces of the same persons.

    Attributes:
        kept: Power by radial frequency, as a share of that of plain faces, float64 [F].
        added: Power by radial frequency that models have beyond plain faces, float64 [F].
        slope, shift: A plain face's mean by channel becomes slope times it plus shift, [3].
    """

    kept: Floats
    added: Floats
    slope: Floats
    shift: Floats


def _radius(size: int) -> npt.NDArray[np.int64]:
    lines = np.arange(size)
    return np.hypot(lines[:, None], lines[None]).round().astype(np.int64)


def _waves(image: Image) -> Floats:
    """Return the cosine transform by channel: no edge of the picture leaks into it."""
    from scipy.fft import dctn

    return np.asarray(dctn(image.astype(np.float64), axes=(0, 1), norm="ortho"), np.float64)


def _power(image: Image) -> Floats:
    """Return the mean power by radial frequency, over channels."""
    power = (_waves(image) ** 2).mean(axis=2)
    radius = _radius(len(image)).ravel()
    return np.asarray(np.bincount(radius, power.ravel()) / np.bincount(radius), np.float64)


def look_of(images: Sequence[Image], plain: Sequence[Image]) -> Look:
    """Return the look of a model's images, beside plain faces of the same persons and size.

    Args:
        images: uint8 [S, S, 3] each.
        plain: The resting faces, in the same order.
    """
    # Rounding to grey levels is left out: it comes again with the known face.
    own, other = (
        np.maximum(np.mean([_power(image) for image in part], axis=0) - ROUNDING, 0.0)
        for part in (images, plain)
    )
    means, before = (np.array([i.mean(axis=(0, 1)) for i in part]) for part in (images, plain))
    off = before - before.mean(axis=0)
    slope = (off * means).sum(axis=0) / np.maximum((off**2).sum(axis=0), 1e-9)
    # A handful of images tells little of the slope.
    slope = np.clip(slope, 0.5, 1.5) if len(plain) > 4 else np.ones(3)
    share = own / np.maximum(other, 1e-9)
    # Of few images, powers as near as this may be equal, and are left as they are.
    share = np.where(np.abs(np.log(np.maximum(share, 1e-9))) < ALIKE, 1.0, share)
    return Look(
        np.clip(share, 0.0, 1.0),
        np.where(share > 1, own - other, 0.0),
        slope,
        means.mean(axis=0) - slope * before.mean(axis=0),
    )


def give(image: Image, look: Look, generator: np.random.Generator) -> Image:
    """Return a face with the look of a model: its frequencies, then its light and colour."""
    from scipy.fft import idctn

    radius = _radius(len(image))
    mean = image.mean(axis=(0, 1))
    noise = generator.standard_normal(image.shape) * np.sqrt(look.added)[radius][..., None]
    waves = _waves(image) * np.sqrt(look.kept)[radius][..., None] + noise
    waves[0, 0] = (look.slope * mean + look.shift) * len(image)
    values = idctn(waves, axes=(0, 1), norm="ortho")
    return np.asarray(np.clip(values.round(), 0, 255), np.uint8)
