"""FID, KID and PRDC of many images: the same values, in memory that hardly grows with N.

Matrices of products [N, N] take 800 MB each at N = 10,000. Here they pass by in blocks of rows, and
features stay float32 but for a block of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.metrics.frechet import Moments, frechet_of_moments, half, subsets
from aubench.metrics.kernel import Draws, cubed, memberships, per_pair
from aubench.metrics.prdc import Neighbourhoods, distances
from aubench.metrics.threads import one_thread

Features = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.float64]

ROWS = 1024
"""Rows of features in a block."""


def _slices(count: int) -> Iterator[slice]:
    return (slice(i, min(i + ROWS, count)) for i in range(0, count, ROWS))


def _products(x: Features, rows: slice, y: Features) -> Matrix:
    """Return the products of some rows of x with all of y, float64 [B, M]."""
    part, out = x[rows].astype(np.float64), np.empty((rows.stop - rows.start, len(y)))
    for columns in _slices(len(y)):
        out[:, columns] = part @ y[columns].astype(np.float64).T
    return out


def _squares(x: Features) -> Matrix:
    """Return the squared length of each row [N]."""
    return np.concatenate([(x[rows].astype(np.float64) ** 2).sum(1) for rows in _slices(len(x))])


@one_thread
def frechet(x: Features, y: Features) -> tuple[float, Matrix]:
    """Return the Fréchet distance and the influence of each row of x, as ``frechet.frechet``."""
    a, b = Moments.of(x), Moments.of(y)
    gap, scale = a.mean - b.mean, np.sqrt((a.n - 1) * (b.n - 1))
    root = half(b.scatter)
    squares, axes = np.linalg.eigh(root.T @ a.scatter @ root)
    kept = squares > squares[-1] * 1e-14
    turn = root @ axes[:, kept] / squares[kept] ** 0.25
    effect = np.empty(a.n)
    for rows in _slices(a.n):
        part = x[rows] - a.mean
        effect[rows] = 2 * (part @ gap) / a.n + (part**2).sum(1) / (a.n - 1)
        effect[rows] -= ((part @ turn) ** 2).sum(1) / scale
    return frechet_of_moments(a, b), np.asarray(a.n * (effect - effect.mean()))


def frechet_infinity(x: Features, y: Features, *, points: int = 8, seed: int = 2020) -> float:
    """Return the distance at infinitely many samples, as ``frechet.frechet_infinity`` does."""
    sizes, rows = subsets(len(x), len(y), points, seed)
    values = [frechet_of_moments(Moments.of(x[i]), Moments.of(y[j])) for i, j in rows]
    return float(np.polyfit(1 / sizes, values, 1)[1])


@dataclass(frozen=True)
class KernelDistances:
    """Kernel distance of two sets.

    Attributes:
        value: of all pairs.
        replicates: of resamples of x [R].
        mean: of random subsets.
        spread: standard deviation of them.
    """

    value: float
    replicates: Matrix
    mean: float
    spread: float


@one_thread
def kernel_distances(
    x: Features, y: Features, draws: Draws, *, subsets: int = 100, size: int = 1000,
    seed: int = 2020,
) -> KernelDistances:  # fmt: skip
    """Return what ``unbiased``, ``kernel_replicates`` and ``subset_distances`` do of matrices.

    All of them are forms wᵀ K v: of ones, of the weights of a resample, of members of a subset.
    """
    n, m, count = len(x), len(y), len(draws)
    k = min(size, n, m)
    weight = [np.bincount(rows, minlength=n).astype(np.float64) for rows in draws]
    a, b = memberships(n, m, k, subsets, seed)
    left = np.concatenate([np.ones((1, n)), np.reshape(weight, (count, n)), a])
    right = np.concatenate([np.ones((1, m)), b])
    within_x, within_y = _within(x, left), _within(y, right)
    across = _forms(x, y, left, np.concatenate([np.ones((1 + count, m)), b]))
    own, total, square = within_x[1 : 1 + count], left.sum(1), (left**2).sum(1)
    of_y = within_y[0] / (m * (m - 1))
    value = within_x[0] / (n * (n - 1)) + of_y - 2 * across[0] / (n * m)
    here = slice(1, 1 + count)
    replicates = per_pair(own, total[here] ** 2 - square[here]) + of_y
    replicates -= 2 * across[here] / (m * total[here])
    parts = (within_x[1 + count :] + within_y[1:]) / (k * (k - 1)) - 2 * across[1 + count :] / k**2
    return KernelDistances(float(value), replicates, float(parts.mean()), float(parts.std()))


def _within(x: Features, weights: Matrix) -> Matrix:
    """Return Σ wᵢ k(xᵢ, xⱼ) wⱼ over i ≠ j for each row of weights [S, N]."""
    diagonal = cubed(_squares(x), x.shape[1])
    return np.asarray(_forms(x, x, weights, weights) - weights**2 @ diagonal)


def _forms(x: Features, y: Features, left: Matrix, right: Matrix) -> Matrix:
    """Return Σ wᵢ k(xᵢ, yⱼ) vⱼ for each row of w [S, N] and v [S, M]."""
    out = np.zeros(len(left))
    for rows in _slices(len(x)):
        out += ((left[:, rows] @ cubed(_products(x, rows, y), x.shape[1])) * right).sum(1)
    return out


@one_thread
def neighbourhoods(real: Features, fake: Features, *, k: int = 5) -> Neighbourhoods:
    """Return who lies near whom, as ``prdc.neighbourhoods``; two bytes of memory a pair.

    Raises:
        ValueError: not more than ``k`` samples on a side.
    """
    if min(len(real), len(fake)) <= k:
        raise ValueError(f"needs more than {k} samples on each side")
    inside = np.empty((len(real), len(fake)), np.bool_)
    reached = np.empty_like(inside)
    lengths, others = _squares(real), _squares(fake)
    radii, theirs = _radii(real, lengths, k), _radii(fake, others, k)
    for rows in _slices(len(real)):
        between = distances(_products(real, rows, fake), lengths[rows], others)
        inside[rows] = between < radii[rows, None]
        reached[rows] = between < theirs[None]
    return Neighbourhoods(inside, reached, k)


def _radii(x: Features, lengths: Matrix, k: int) -> Matrix:
    out = np.empty(len(x))
    for rows in _slices(len(x)):
        away = distances(_products(x, rows, x), lengths[rows], lengths)
        away[np.arange(len(away)), np.arange(rows.start, rows.stop)] = 0
        away.partition(k, axis=1)
        out[rows] = away[:, k]
    return out
