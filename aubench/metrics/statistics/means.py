"""Means over what could be scored."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]


def mean_of(values: Vector) -> float:
    """Return the mean over the finite values [K], NaN if there are none.

    >>> mean_of(np.array([1.0, np.nan, 2.0]))
    1.5
    """
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if len(kept) else float("nan")


def row_means(values: Vector) -> Vector:
    """Return the mean of each row [R, K] over the finite values, NaN where there are none.

    >>> row_means(np.array([[1.0, 3.0], [np.nan, 2.0]]))
    array([2., 2.])
    """
    known = np.isfinite(values)
    count = known.sum(1)
    out = np.full(len(count), np.nan)
    total = np.where(known, values, 0).sum(1)
    return np.asarray(np.divide(total, count, out=out, where=count > 0))
