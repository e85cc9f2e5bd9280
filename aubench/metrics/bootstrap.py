"""Uncertainty: 95 % intervals by resampling whole subjects, seeded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Statistic = Callable[[npt.NDArray[np.int64]], float]


def resamples(clusters: Sequence[Any], count: int, seed: int = 2020) -> list[npt.NDArray[np.int64]]:
    """Return row indices of ``count`` resamples; rows of one cluster stay together.

    Args:
        clusters: the subject of each row.
        count: number of resamples.
        seed: of the draws; equal seeds and clusters draw equal subjects.
    """
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    rows = [np.nonzero(member == i)[0] for i in range(len(names))]
    draw = np.random.default_rng(seed)
    return [
        np.concatenate([rows[i] for i in draw.integers(0, len(rows), len(rows))])
        for _ in range(count)
    ]


def interval(values: Sequence[float] | Vector) -> tuple[float, float] | None:
    """Return the 2.5 and 97.5 percentiles of finite values, None where there are too few."""
    kept = np.asarray(values, float)
    kept = kept[np.isfinite(kept)]
    if len(kept) < 20:
        return None
    low, high = np.percentile(kept, [2.5, 97.5])
    return float(low), float(high)


def bootstrap(
    statistic: Statistic, clusters: Sequence[Any], *, count: int = 500, seed: int = 2020
) -> tuple[float, float] | None:
    """Return the percentile interval of a statistic of row indices; None for one cluster.

    The same seed draws the same subjects, so intervals of two generators on the same samples
    are paired.
    """
    if len(set(clusters)) < 2:
        return None
    return interval([statistic(rows) for rows in resamples(clusters, count, seed)])


def bootstrap_mean(
    values: Vector, clusters: Sequence[Any], *, count: int = 1000, seed: int = 2020
) -> tuple[float, float] | None:
    """Return the percentile interval of the mean of one value a sample; None for one cluster.

    Args:
        values: [N].
        clusters: the subject of each sample; all samples of a subject are drawn together.
        count: number of resamples.
        seed: of the draws.

    Raises:
        ValueError: as many clusters as values are wanted.
    """
    if len(values) != len(clusters):
        raise ValueError(f"{len(values)} values of {len(clusters)} samples")
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    if len(names) < 2:
        return None
    total, size = np.bincount(member, values), np.bincount(member)
    picked = np.random.default_rng(seed).integers(0, len(names), (count, len(names)))
    return interval(total[picked].sum(1) / size[picked].sum(1))


def paired_difference(
    first: Vector,
    second: Vector,
    clusters: Sequence[Any],
    *,
    count: int = 1000,
    seed: int = 2020,
) -> tuple[float, tuple[float, float] | None]:
    """Return the mean difference of two generators on the same samples, and its interval.

    Taken sample by sample, what both have in common (a hard face, a rare combination) drops out;
    an interval that holds zero is a tie. For the Fréchet distance give value +
    ``frechet.frechet_influence`` of each.

    Args:
        first: one value a sample [N].
        second: the other generator's, in the same order [N].
        clusters: the subject of each sample.
        count: number of resamples.
        seed: of the draws.

    Raises:
        ValueError: the two have different lengths.
    """
    if len(first) != len(second):
        raise ValueError(f"not the same samples: {len(first)} and {len(second)} values")
    gap = np.asarray(first, float) - np.asarray(second, float)
    return float(gap.mean()), bootstrap_mean(gap, clusters, count=count, seed=seed)


def detectable_effect(
    values: Vector, clusters: Sequence[Any], *, power: float = 0.8, level: float = 0.05
) -> float:
    """Return the smallest true mean difference that such data would show; NaN for one cluster.

    Two-sided test at ``level`` with the given power, normal approximation, standard error of the
    mean from the spread between clusters (linearised for clusters of unequal size).

    Args:
        values: one difference a sample [N], as for `paired_difference`.
        clusters: the subject of each sample.
        power: probability to find an effect of this size.
        level: probability to find one where there is none.

    Raises:
        ValueError: as many clusters as values are wanted.
    """
    from scipy.stats import norm

    if len(values) != len(clusters):
        raise ValueError(f"{len(values)} values of {len(clusters)} samples")
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    k = len(names)
    if k < 2:
        return float("nan")
    residual = np.bincount(member, np.asarray(values, float) - np.mean(values))
    error = np.sqrt(k / (k - 1) * (residual**2).sum()) / len(values)
    return float((norm.isf(level / 2) + norm.isf(1 - power)) * error)
