"""Precision, recall (Kynkäänniemi et al. 2019), density, coverage (Naeem et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.metrics.distributions.grams import Grams, Side, slices
from aubench.metrics.distributions.ties import error, kth, nearer, squared
from aubench.networks.threads import one_thread

Features = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Neighbourhoods:
    """Who lies in whose neighbourhood; real [N] and generated [M].

    Attributes:
        inside: bool [N, M], generated m lies in the neighbourhood of real n.
        reached: bool [N, M], real n lies in the neighbourhood of generated m.
        k: Neighbours that set the radius.
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
            draws: R arrays of rows of the generated images, from ``resampling.resamples``.
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


def neighbourhoods(
    real: Features, fake: Features, *, k: int = 5, rows: int | None = None
) -> Neighbourhoods:
    """Return who lies near whom among features real [N, D] and fake [M, D].

    A point is inside a neighbourhood if strictly nearer than the ``k``-th neighbour of its centre.
    Which of two distances is smaller depends neither on the processor nor on blocks, see
    ``metrics.ties``.

    Args:
        real: Features [N, D].
        fake: Features [M, D].
        k: Neighbours that set the radius.
        rows: Rows that are looked at at a time.

    Raises:
        ValueError: Not more than ``k`` samples on a side.
    """
    return gram_neighbourhoods(Grams.of(fake, real), k=k, rows=rows)


@one_thread
def gram_neighbourhoods(grams: Grams, *, k: int = 5, rows: int | None = None) -> Neighbourhoods:
    """Return who lies near whom among generated features x and real ones y.

    Args:
        grams: Features and their products.
        k: Neighbours that set the radius.
        rows: Rows that are looked at at a time.

    Raises:
        ValueError: Not more than ``k`` samples on a side.
    """
    if min(len(grams.x), len(grams.y)) <= k:
        raise ValueError(f"needs more than {k} samples on each side")
    x, y = grams.x, grams.y
    fake, real = grams.squares("x"), grams.squares("y")
    own, theirs = _radii(grams, "y", real, k, rows), _radii(grams, "x", fake, k, rows)
    inside = np.empty((len(y), len(x)), np.bool_)
    reached, off = np.empty_like(inside), error(real, fake, x.shape[1])
    for part in slices(len(y), rows):
        here = np.arange(part.start, part.stop)
        between = squared(grams.products("y", part, "x"), real[part], fake)
        inside[part] = nearer(between, own[part, None], off[part], y, here, x)
        reached[part] = nearer(between, theirs[None], off[part], y, here, x)
    return Neighbourhoods(inside, reached, k)


def _radii(grams: Grams, side: Side, lengths: Matrix, k: int, rows: int | None) -> Matrix:
    """Return the squared distance of each row to its k-th neighbour in the same set."""
    x: Features = getattr(grams, side)
    out, off = np.empty(len(x)), error(lengths, lengths, x.shape[1])
    for part in slices(len(x), rows):
        here = np.arange(part.start, part.stop)
        away = squared(grams.products(side, part, side), lengths[part], lengths)
        away[np.arange(len(away)), here] = 0
        out[part] = kth(away, k, off[part], x, here, x)
    return out


def prdc(real: Features, fake: Features, *, k: int = 5) -> dict[str, float]:
    """Return precision, recall, density, coverage of features real [N, D] and fake [M, D].

    Raises:
        ValueError: Not more than ``k`` samples on a side.

    >>> real = np.random.default_rng(0).normal(size=(50, 3))
    >>> prdc(real, real + 100)
    {'precision': 0.0, 'recall': 0.0, 'density': 0.0, 'coverage': 0.0}
    """
    return neighbourhoods(real, fake, k=k).scores()
