"""Precision, recall (Kynkäänniemi et al. 2019), density, coverage (Naeem et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.metrics.grams import Grams

Features = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.float64]


def distances(products: Matrix, x: Matrix, y: Matrix) -> Matrix:
    """Return distances [N, M] from x yᵀ and the squared lengths of x [N] and y [M]."""
    squared = x[:, None] + y[None]
    squared -= products
    squared -= products
    np.clip(squared, 0, None, out=squared)
    return np.asarray(np.sqrt(squared, out=squared))


def _radii(products: Matrix, x: Matrix, k: int) -> Matrix:
    distance = distances(products, x, x)
    np.fill_diagonal(distance, 0)
    distance.partition(k, axis=1)
    return distance[:, k].copy()


@dataclass(frozen=True)
class Neighbourhoods:
    """Who lies in whose neighbourhood; real [N] and generated [M].

    Attributes:
        inside: bool [N, M], generated m lies in the neighbourhood of real n.
        reached: bool [N, M], real n lies in the neighbourhood of generated m.
        k: neighbours that set the radius.
    """

    inside: npt.NDArray[np.bool_]
    reached: npt.NDArray[np.bool_]
    k: int

    def precision(self) -> Matrix:
        """Return whether each generated image lies near any real one, 0/1 [M]."""
        return np.asarray(self.inside.any(0), np.float64)

    def density(self) -> Matrix:
        """Return in how many neighbourhoods each generated image lies, over ``k`` [M]."""
        return np.asarray(self.inside.sum(0) / self.k, np.float64)

    def scores(self) -> dict[str, float]:
        """Return precision, recall, density and coverage."""
        return {
            "precision": float(self.precision().mean()),
            "recall": float(self.reached.any(1).mean()),
            "density": float(self.density().mean()),
            "coverage": float(self.inside.any(1).mean()),
        }

    def replicates(self, draws: Sequence[npt.NDArray[np.int64]]) -> tuple[Matrix, Matrix]:
        """Return recall and coverage [R] of resamples of the generated images, radii kept.

        A resample holds fewer distinct images than the set, so both fall below the value: take
        the spread, not the centre.

        Args:
            draws: R arrays of rows of the generated images, from ``bootstrap.resamples``.
        """
        count = self.inside.shape[1]
        drawn = np.stack([np.bincount(rows, minlength=count) > 0 for rows in draws])
        taken = drawn.astype(np.float32).T
        return _share_reached(self.reached, taken), _share_reached(self.inside, taken)


def _share_reached(table: npt.NDArray[np.bool_], taken: npt.NDArray[np.float32]) -> Matrix:
    """Return the share of rows of ``table`` [N, M] that hold a drawn column, ``taken`` [M, R]."""
    count = np.zeros(taken.shape[1], np.int64)
    for i in range(0, len(table), 1024):  # float32 of the whole would be four times the table
        count += (table[i : i + 1024].astype(np.float32) @ taken > 0).sum(0)
    return np.asarray(count / len(table), np.float64)


def neighbourhoods(real: Features, fake: Features, *, k: int = 5) -> Neighbourhoods:
    """Return who lies near whom among features real [N, D] and fake [M, D].

    A point is inside a neighbourhood if strictly nearer than the ``k``-th neighbour of its centre.

    Raises:
        ValueError: not more than ``k`` samples on a side.
    """
    return gram_neighbourhoods(Grams.of(fake, real), k=k)


def gram_neighbourhoods(grams: Grams, *, k: int = 5) -> Neighbourhoods:
    """Return who lies near whom among generated features x and real ones y.

    Raises:
        ValueError: not more than ``k`` samples on a side.
    """
    if min(len(grams.x), len(grams.y)) <= k:
        raise ValueError(f"needs more than {k} samples on each side")
    fake, real = (grams.x**2).sum(1), (grams.y**2).sum(1)
    between = distances(grams.xy.T, real, fake)
    inside = between < _radii(grams.yy, real, k)[:, None]
    return Neighbourhoods(inside, between < _radii(grams.xx, fake, k)[None], k)


def prdc(real: Features, fake: Features, *, k: int = 5) -> dict[str, float]:
    """Return precision, recall, density, coverage of features real [N, D] and fake [M, D].

    Raises:
        ValueError: not more than ``k`` samples on a side.
    """
    return neighbourhoods(real, fake, k=k).scores()
