"""Gram matrices of two sets of features: what FID, KID and PRDC have in common, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.metrics.threads import one_thread

Features = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.float64]

GRAM_LIMIT = 8000
"""Above this many rows the Fréchet distance takes moments instead of the features themselves."""


@dataclass(frozen=True)
class Grams:
    """Features float64 x [N, D] and y [M, D]; their products are computed when asked for, once."""

    x: Matrix
    y: Matrix

    @classmethod
    def of(cls, x: Features, y: Features) -> Grams:
        """Return the Gram matrices of features [N, D] and [M, D].

        Raises:
            ValueError: other shapes, or features that are not finite.
        """
        a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
        if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
            raise ValueError(f"want features [N, D] and [M, D], got {a.shape} and {b.shape}")
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise ValueError("features are not finite")
        return cls(a, b)

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
def _product(a: Matrix, b: Matrix) -> Matrix:
    # Of one array numpy takes another routine, which rounds otherwise. PRDC compares distances
    # within a set with those between two sets: those of equal features must be equal.
    return np.asarray(a @ (b.copy() if a is b else b).T)
