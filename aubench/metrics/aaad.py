"""AAAD: how well the AUs seen in a face match those its description asks for (paper, F.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Probabilities = npt.NDArray[np.floating[Any]]
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Constants:
    """Smallest cosine of shuffled pairs and largest of true pairs of a reference set."""

    low: float
    high: float

    @property
    def coincide(self) -> bool:
        """Whether all pairs are alike, so that nothing can be scaled by them."""
        return self.high <= self.low


def cosines(image: Probabilities, target: Probabilities) -> Vector:
    """Return the cosine of each pair of rows [N, 12], 0..1; zero where a row is all zero.

    NaN where a value is.

    Raises:
        ValueError: other shapes.
    """
    a, b = np.asarray(image, np.float64), np.asarray(target, np.float64)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"want two arrays of one shape [N, 12], got {a.shape} and {b.shape}")
    norm = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray(np.divide((a * b).sum(1), norm, out=np.zeros(len(a)), where=norm != 0))


def shuffled(count: int, seed: int) -> npt.NDArray[np.int64]:
    """Return a permutation without fixed points, the partners of shuffled pairs."""
    order = np.random.default_rng(seed).permutation(count)
    out = np.empty(count, np.int64)
    out[order] = np.roll(order, 1)
    return out


def comparable(target: Probabilities) -> npt.NDArray[np.int64]:
    """Return the rows of targets [N, 12] that ask for something: a zero vector has no cosine."""
    return np.flatnonzero(np.asarray(target).any(axis=1))


def constants(image: Probabilities, target: Probabilities, *, seed: int = 2020) -> Constants:
    """Return the normaliser of a reference set: ground-truth images and their target AUs.

    Targets that are all zero are left out; NaN where fewer than two are left.
    """
    rows = comparable(target)
    if len(rows) < 2:
        return Constants(float("nan"), float("nan"))
    image, target = np.asarray(image)[rows], np.asarray(target)[rows]
    partners = shuffled(len(image), seed)
    low = float(cosines(image, target[partners]).min())
    return Constants(low, float(cosines(image, target).max()))


def aaad(cosine: Vector, scale: Constants) -> float:
    """Return (mean cosine - low) / (high - low); not clipped. NaN of no cosine.

    Raises:
        ValueError: the constants coincide.
    """
    if not len(cosine):
        return float("nan")
    if scale.coincide:
        raise ValueError("the reference set gives no range: largest and smallest cosine coincide")
    return float((np.mean(cosine) - scale.low) / (scale.high - scale.low))
