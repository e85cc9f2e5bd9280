"""Products of two sets of features, which FID, KID and PRDC have in common.

Of few images they are computed once, whole. Matrices [N, N] take 800 MB each at N = 10,000: of many
images they pass by in blocks of rows, and features stay as they are but for a block of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from aubench.networks.threads import one_thread

if TYPE_CHECKING:
    from aubench.metrics.evaluation_data import EvaluationData

Features = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.float64]

GRAM_LIMIT = 8000
"""Up to so many rows products are computed whole, and kept."""
ROWS = 1024
"""Rows of features or products in a block."""

Side = Literal["x", "y"]


def slices(count: int, rows: int | None = None) -> Iterator[slice]:
    """Return the blocks of ``count`` rows, each of ``ROWS`` unless told otherwise."""
    step = rows or ROWS
    return (slice(i, min(i + step, count)) for i in range(0, count, step))


@dataclass(frozen=True)
class Grams:
    """Features x [N, D] and y [M, D], float64 where they are few, and their products."""

    x: Features
    y: Features

    @classmethod
    def of(cls, x: Features, y: Features) -> Grams:
        """Return the Gram matrices of features [N, D] and [M, D].

        Raises:
            ValueError: Other shapes, or features that are not finite.
        """
        x, y = np.asarray(x), np.asarray(y)
        if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
            raise ValueError(f"want features [N, D] and [M, D], got {x.shape} and {y.shape}")
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise ValueError("features are not finite")
        if max(len(x), len(y)) <= GRAM_LIMIT:
            return cls(x.astype(np.float64), y.astype(np.float64))
        return cls(x, y)

    @property
    def whole(self) -> bool:
        """Whether products are kept whole."""
        return max(len(self.x), len(self.y)) <= GRAM_LIMIT

    def products(self, one: Side, rows: slice, other: Side) -> Matrix:
        """Return the products of some rows of a set with all of another, float64 [B, M]."""
        if self.whole:
            if one != other:
                return self.xy[rows] if one == "x" else self.xy.T[rows]
            return (self.xx if one == "x" else self.yy)[rows]
        a, b = getattr(self, one), getattr(self, other)
        part, out = a[rows].astype(np.float64), np.empty((rows.stop - rows.start, len(b)))
        for columns in slices(len(b)):
            out[:, columns] = part @ b[columns].astype(np.float64).T
        return out

    def squares(self, side: Side) -> Matrix:
        """Return the squared length of each row of a set."""
        x = getattr(self, side)
        return np.concatenate([(x[at].astype(np.float64) ** 2).sum(1) for at in slices(len(x))])

    @cached_property
    def xx(self) -> Matrix:
        """Products x xᵀ [N, N]."""
        return _product(self.x, self.x)

    @cached_property
    def yy(self) -> Matrix:
        """Products y yᵀ [M, M]."""
        return _product(self.y, self.y)

    @cached_property
    def xy(self) -> Matrix:
        """Products x yᵀ [N, M]."""
        return _product(self.x, self.y)


@one_thread
def _product(a: Features, b: Features) -> Matrix:
    # Of one array numpy takes another routine, which rounds otherwise: KID of equal sets would not
    # be what it is of one. PRDC does not depend on it, see ``ties``.
    return np.asarray(a @ (b.copy() if a is b else b).T, np.float64)


def grams_of(data: EvaluationData) -> Grams:
    """Return products of the extractor's features, generated images and targets."""
    return data.once("grams", lambda: Grams.of(*data.extracted("features")))
