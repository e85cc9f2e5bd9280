"""Rank agreement of a metric with the truth, and its resamples, without a loop over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.metrics.statistics.resampling import draw_counts

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]


def subject_weights(subjects: Sequence[Any], count: int, seed: int = 2020) -> Matrix:
    """Return how often each row is drawn in resamples of whole subjects, [count, N].

    Args:
        subjects: The subject of each row.
        count: Number of resamples.
        seed: Seed of the draws.
    """
    names, member = np.unique(np.asarray(subjects), return_inverse=True)
    return draw_counts(len(names), count, seed)[:, member]


def weighted_ranks(values: Vector, weights: Matrix) -> Matrix:
    """Return mean ranks [B, n] of values [n] of which resample b holds ``weights[b, i]`` copies.

    Ties share their mean rank, copies of a value being ties of each other.
    """
    _, group = np.unique(values, return_inverse=True)
    by_group = np.zeros((len(weights), int(group.max(initial=-1)) + 1))
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(by_group.shape[1]))
    by_group = np.add.reduceat(weights[:, order], starts, axis=1)
    before = np.cumsum(by_group, axis=1) - by_group
    return np.asarray((before + (by_group + 1) / 2)[:, group])


def correlate(x: Matrix, y: Matrix, weights: Matrix) -> Vector:
    """Return the weighted correlation [B] of rows [B, n]; NaN where one of them is constant."""
    total = weights.sum(1, keepdims=True)
    x = x - (x * weights).sum(1, keepdims=True) / total
    y = y - (y * weights).sum(1, keepdims=True) / total
    spread = np.sqrt((x * x * weights).sum(1) * (y * y * weights).sum(1))
    product = (x * y * weights).sum(1)
    out = np.full(len(product), np.nan)
    return np.asarray(np.divide(product, spread, out=out, where=spread > 1e-9))


def spearman(x: Vector, y: Vector) -> float:
    """Return the rank correlation of two vectors [n], ties by mean ranks; NaN if undefined."""
    return float(spearman_resampled(x, y, np.ones((1, len(x))))[0])


def spearman_resampled(x: Vector, y: Vector, weights: Matrix) -> Vector:
    """Return the rank correlation in each resample, ranked anew: [B] for weights [B, n]."""
    return correlate(weighted_ranks(x, weights), weighted_ranks(y, weights), weights)


def spearman_rows(x: Matrix, y: Matrix) -> Vector:
    """Return the rank correlation of each pair of rows [R, n], NaN where one is constant."""
    from scipy.stats import rankdata

    return correlate(rankdata(x, axis=1), rankdata(y, axis=1), np.ones_like(x, dtype=float))


def concordance(metric: Vector, error: Vector) -> float:
    """Return the share of pairs with unequal error that the metric puts in the right order.

    Args:
        metric: [n], higher is better.
        error: [n].

    Returns:
        0..1; a pair that the metric ties counts half. NaN without such a pair.
    """
    i, j = np.triu_indices(len(metric), 1)
    differs = error[i] != error[j]
    right = np.sign(metric[i] - metric[j]) * np.sign(error[j] - error[i])
    return float(((right[differs] + 1) / 2).mean()) if differs.any() else float("nan")
