"""Which of two distances is smaller, decided the same way on every processor.

Distances from products |x|² + |y|² - 2 x·y round otherwise with each BLAS kernel and block. They
decide only what lies outside their error; inside it ``direct`` decides, whose arithmetic is fixed.
So every decision is that of ``direct``. Distances are squared throughout.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

PAIRS = 1024
"""Pairs whose differences are in memory at a time."""


def direct(x: Features, i: Rows, y: Features, j: Rows) -> Matrix:
    """Return Σ (x - y)² of P pairs of rows of x [N, D] and y [M, D], float64 [P].

    Halves are added until one term is left: element by element, so no processor rounds otherwise,
    and the same for both orders of a pair. Equal pairs of rows are computed once.
    """
    seen: dict[bytes, int] = {}
    left = _numbers(x, i, seen)
    right = _numbers(y, j, seen)
    low, high = np.minimum(left, right), np.maximum(left, right)
    _, first, back = np.unique(low * len(seen) + high, return_index=True, return_inverse=True)
    out = np.zeros(len(first))
    differ = np.flatnonzero(low[first] != high[first])
    for start in range(0, len(differ), PAIRS):
        part = differ[start : start + PAIRS]
        rows = first[part]
        gap = x[i[rows]].astype(np.float64) - y[j[rows]].astype(np.float64)
        out[part] = _folded(np.ascontiguousarray((gap * gap).T))
    return np.asarray(out[back.reshape(-1)])


def _numbers(x: Features, rows: Rows, seen: dict[bytes, int]) -> Rows:
    """Return for each row a number that equal rows share [P]."""
    distinct, back = np.unique(rows, return_inverse=True)
    found = [seen.setdefault(x[row].astype(np.float64).tobytes(), len(seen)) for row in distinct]
    return np.asarray(np.array(found, np.int64)[back.reshape(-1)])


def _folded(terms: Matrix) -> Matrix:
    """Return the sums over the first axis of terms [D, P], which are overwritten."""
    count = len(terms)
    while count > 1:
        half = count // 2
        terms[:half] += terms[count - half : count]
        count -= half
    return terms[0] if count else np.zeros(terms.shape[1])


def error(x: Matrix, y: Matrix, dimensions: int) -> Matrix:
    """Return by how much products may be off from ``direct`` in each row [N], at most.

    A product of D terms is off by D u |x||y| in any order of summation (Higham, Accuracy and
    Stability of Numerical Algorithms, section 3.1; u is half of eps), taken twice; each squared
    length by D u of it; the other roundings, also of centring and of ``direct``, by fewer than
    64 u of their sum. The bound is twice that.

    Args:
        x: Squared lengths [N].
        y: Squared lengths [M] of all that the rows are compared with.
        dimensions: D.
    """
    resolution = np.finfo(np.float64)
    scale = 2 * (dimensions + 32) * float(resolution.eps)
    return np.asarray(scale * (x + y.max(initial=0)) + dimensions * float(resolution.tiny))


def squared(products: Matrix, x: Matrix, y: Matrix) -> Matrix:
    """Return squared distances [N, M] from x yᵀ and the squared lengths of x [N] and y [M]."""
    out = x[:, None] + y[None]
    out -= products
    out -= products
    return np.asarray(out)


def kth(away: Matrix, k: int, off: Matrix, x: Features, rows: Rows, y: Features) -> Matrix:
    """Return the k-th smallest squared distance of each row, from 0, as ``direct`` computes it [B].

    Args:
        away: Squared distances [B, M] from products.
        k: 0..M - 1.
        off: How far those of a row may be off [B].
        x: Features [N, D].
        rows: Which of them the rows are [B].
        y: Features [M, D].
    """
    middle = np.partition(away, k, axis=1)[:, k]
    low, high = middle - 2 * off, middle + 2 * off
    below = (away < low[:, None]).sum(1)
    at, other = np.nonzero((away >= low[:, None]) & (away <= high[:, None]))
    exact = direct(x, rows[at], y, other)
    order = np.lexsort((exact, at))
    start = np.searchsorted(at, np.arange(len(away)))  # nonzero goes row by row
    return np.asarray(exact[order][start + k - below])


def nearer(
    away: Matrix, limit: Matrix, off: Matrix, x: Features, rows: Rows, y: Features
) -> npt.NDArray[np.bool_]:
    """Return which squared distances are below a limit, as ``direct`` decides [B, M].

    Args:
        away: Squared distances [B, M] from products.
        limit: Limit of each row [B, 1] or of each column [1, M], from ``kth``.
        off: How far distances of a row may be off [B].
        x: Features [N, D].
        rows: Which of them the rows are [B].
        y: Features [M, D].
    """
    out = away < limit - off[:, None]
    at, other = np.nonzero(out ^ (away <= limit + off[:, None]))
    if len(at):
        out[at, other] = (
            direct(x, rows[at], y, other) < np.broadcast_to(limit, away.shape)[at, other]
        )
    return np.asarray(out)
