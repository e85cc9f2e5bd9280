"""Kernel distance: unbiased MMD² with the cubic polynomial kernel (Bińkowski et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.metrics.grams import Grams

Features = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.float64]
Draws = Sequence[npt.NDArray[np.int64]]


def kernel_matrices(x: Features, y: Features) -> tuple[Matrix, Matrix, Matrix]:
    """Return k(x, x), k(y, y), k(x, y) float64 with k(a, b) = (a·b / D + 1)³.

    Args:
        x: features [N, D].
        y: features [M, D].

    Raises:
        ValueError: other shapes, or features that are not finite.
    """
    return kernels(Grams.of(x, y))


def kernels(grams: Grams) -> tuple[Matrix, Matrix, Matrix]:
    """Return k(x, x), k(y, y), k(x, y) of features whose products are there."""
    d = grams.x.shape[1]
    return cubed(grams.xx, d), cubed(grams.yy, d), cubed(grams.xy, d)


def cubed(products: Matrix, width: int) -> Matrix:
    """Return the kernel of products of features of a width."""
    k = products / width
    k += 1
    out = k * k  # numpy's power takes ten times as long
    out *= k
    return np.asarray(out)


def unbiased(kxx: Matrix, kyy: Matrix, kxy: Matrix) -> float:
    """Return the U-statistic of MMD² from kernel matrices; may be negative.

    Raises:
        ValueError: fewer than two rows on a side.
    """
    n, m = kxy.shape
    if n < 2 or m < 2:
        raise ValueError("kernel distance needs at least two samples on each side")
    within_x = (kxx.sum() - np.trace(kxx)) / (n * (n - 1))
    within_y = (kyy.sum() - np.trace(kyy)) / (m * (m - 1))
    return float(within_x + within_y - 2 * kxy.mean())


def kernel_replicates(kxx: Matrix, kyy: Matrix, kxy: Matrix, draws: Draws) -> Matrix:
    """Return the distance [R] for each resample of the rows of x; y stays as it is.

    A drawn row gets a weight, so a resample costs one product with the kernel matrix. Pairs of an
    image with its own copy are left out: they are no independent pairs, and would shift the value.
    NaN for a resample of one image alone, which has no pair.

    Args:
        kxx: k(x, x) [N, N].
        kyy: k(y, y) [M, M].
        kxy: k(x, y) [N, M].
        draws: R arrays of row indices, from ``bootstrap.resamples``.
    """
    n, m = kxy.shape
    weight = np.stack([np.bincount(rows, minlength=n) for rows in draws]).astype(np.float64)
    total, square = weight.sum(1), (weight**2).sum(1)
    own = ((weight @ kxx) * weight).sum(1) - weight**2 @ np.diag(kxx)
    within_y = (kyy.sum() - np.trace(kyy)) / (m * (m - 1))
    across = weight @ kxy.mean(1) / total
    return np.asarray(per_pair(own, total**2 - square) + within_y - 2 * across)


def per_pair(total: Matrix, pairs: Matrix) -> Matrix:
    """Return sums over pairs [R] by the number of pairs, NaN where there is none."""
    return np.asarray(np.divide(total, pairs, out=np.full(len(total), np.nan), where=pairs > 0))


def kernel_distance(x: Features, y: Features) -> float:
    """Return KID of features [N, D] and [M, D] as the full unbiased U-statistic."""
    return unbiased(*kernel_matrices(x, y))


def kernel_distance_subsets(
    x: Features, y: Features, *, subsets: int = 100, size: int = 1000, seed: int = 2020
) -> tuple[float, float]:
    """Return mean and standard deviation over random subsets, as other tools report KID.

    Raises:
        ValueError: fewer than two rows on a side.
    """
    return subset_distances(*kernel_matrices(x, y), subsets=subsets, size=size, seed=seed)


def subset_distances(
    kxx: Matrix,
    kyy: Matrix,
    kxy: Matrix,
    *,
    subsets: int = 100,
    size: int = 1000,
    seed: int = 2020,
) -> tuple[float, float]:
    """Return mean and standard deviation over random subsets of kernel matrices.

    The subsets overlap, so the deviation is no standard error. All of them are read off one
    kernel matrix by multiplication with membership indicators.

    Raises:
        ValueError: fewer than two rows on a side.
    """
    n, m = kxy.shape
    k = min(size, n, m)
    if k < 2:
        raise ValueError("kernel distance needs at least two samples on each side")
    a, b = memberships(n, m, k, subsets, seed)
    pairs = k * (k - 1)
    within_x = (((a @ kxx) * a).sum(1) - a @ np.diag(kxx)) / pairs
    within_y = (((b @ kyy) * b).sum(1) - b @ np.diag(kyy)) / pairs
    values = within_x + within_y - 2 * ((a @ kxy) * b).sum(1) / k**2
    return float(values.mean()), float(values.std())


def memberships(n: int, m: int, k: int, subsets: int, seed: int) -> tuple[Matrix, Matrix]:
    """Return which of n and of m rows belong to random subsets of k, 0/1 [S, n] and [S, m]."""
    draw = np.random.default_rng(seed)
    a, b = np.zeros((subsets, n)), np.zeros((subsets, m))
    for row in range(subsets):
        a[row, draw.choice(n, k, replace=False)] = 1
        b[row, draw.choice(m, k, replace=False)] = 1
    return a, b
