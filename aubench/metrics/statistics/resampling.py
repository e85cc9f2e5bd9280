"""Uncertainty: 95 % intervals by resampling whole subjects, seeded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Statistic = Callable[[npt.NDArray[np.int64]], float]


def drawn_clusters(clusters: int, count: int, seed: int = 2020) -> npt.NDArray[np.int64]:
    """Return which clusters each resample draws, int64 [count, clusters].

    Equal seeds and numbers of clusters draw equal clusters, whoever asks.
    """
    return np.random.default_rng(seed).integers(0, clusters, (count, clusters))


def draw_counts(clusters: int, count: int, seed: int = 2020) -> Vector:
    """Return how often each resample draws each cluster, float64 [count, clusters].

    >>> draw_counts(3, 2).sum(1).tolist()
    [3.0, 3.0]
    """
    out = np.zeros((count, clusters))
    np.add.at(out, (np.arange(count)[:, None], drawn_clusters(clusters, count, seed)), 1)
    return out


def resamples(clusters: Sequence[Any], count: int, seed: int = 2020) -> list[npt.NDArray[np.int64]]:
    """Return row indices of ``count`` resamples; rows of one cluster stay together.

    Args:
        clusters: The subject of each row.
        count: Number of resamples.
        seed: Seed of the draws; equal seeds and clusters draw equal subjects.

    >>> sum(len(rows) for rows in resamples(["a", "a", "b", "b"], 2))
    8
    """
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    rows = [np.nonzero(member == i)[0] for i in range(len(names))]
    draw = np.random.default_rng(seed)
    return [
        np.concatenate([rows[i] for i in draw.integers(0, len(rows), len(rows))])
        for _ in range(count)
    ]


@dataclass(frozen=True)
class BothSides:
    """Resamples of two sets of rows, by subject.

    Attributes:
        first: How often each resample draws each row of the first set, float64 [R, N].
        second: The same of the second set [R, M].
        shared: Whether the sets have subjects in common, who are then drawn for both at once;
            else each set is drawn alone.
        subjects: Subjects of the smaller set.
    """

    first: Vector
    second: Vector
    shared: bool
    subjects: int

    @property
    def note(self) -> str:
        """What was resampled, in words."""
        how = "subjects shared" if self.shared else "subjects of their own"
        return f"interval: both sets resampled, {how}"

    def moved(self, value: float, first: Vector, second: Vector) -> Vector:
        """Return a value moved by the influences of the rows that each resample draws [R].

        Percentiles of resamples are too near for few subjects, by the root of S / (S - 1) and as
        the normal distribution is to Student's; here they are that much wider (Hesterberg, What
        teachers should know about the bootstrap, 2015).
        """
        from scipy.stats import norm, t

        s = max(self.subjects, 2)
        wider = float(np.sqrt(s / (s - 1)) * t.isf(0.025, s - 1) / norm.isf(0.025))
        out = np.full(len(self.first), float(value))
        for weights, influence in ((self.first, first), (self.second, second)):
            total = weights.sum(1)
            known = np.full(len(total), np.nan)
            mean = np.divide(weights @ influence, total, out=known, where=total > 0)
            out += wider * mean
        return out


def resample_both(
    first: Sequence[Any], second: Sequence[Any], count: int, seed: int = 2020
) -> BothSides | None:
    """Return resamples of two sets of rows by their subjects; None where a set has only one.

    >>> both = resample_both(["a", "b"], ["b", "a"], 3)
    >>> both.shared, bool((both.first == both.second[:, ::-1]).all())
    (True, True)
    """
    if min(len(set(first)), len(set(second))) < 2:
        return None
    if set(first) & set(second):
        names, member = np.unique([*first, *second], return_inverse=True)
        drawn = draw_counts(len(names), count, seed)[:, member]
        return BothSides(drawn[:, : len(first)], drawn[:, len(first) :], True, len(names))
    sides = []
    for k, subjects in enumerate((first, second)):
        names, member = np.unique(np.asarray(subjects), return_inverse=True)
        sides.append(draw_counts(len(names), count, seed + k)[:, member])
    few = min(len(set(first)), len(set(second)))
    return BothSides(sides[0], sides[1], False, few)


def drawn_with(
    draws: Sequence[npt.NDArray[np.int64]], first: Sequence[Any], second: Sequence[Any]
) -> BothSides:
    """Return given resamples of the first set, and with them those of the second's same subjects.

    Args:
        draws: Row indices of the first set, from ``resamples`` of its subjects.
        first: Subjects of its rows.
        second: Subjects of the rows of the other set.
    """
    rows = np.array([np.bincount(part, minlength=len(first)) for part in draws], np.float64)
    names, at, _ = np.unique(np.asarray(first), return_index=True, return_inverse=True)
    place = {str(name): int(i) for name, i in zip(names, at, strict=True)}
    weights = rows.reshape(len(draws), len(first))
    columns = np.array([place.get(str(name), -1) for name in second], np.int64)
    others = np.where(columns >= 0, weights[:, columns], 0.0)
    return BothSides(weights, others, True, len(names))


def interval(values: Sequence[float] | Vector) -> tuple[float, float] | None:
    """Return the 2.5 and 97.5 percentiles of finite values, None where there are too few."""
    kept = np.asarray(values, float)
    kept = kept[np.isfinite(kept)]
    if len(kept) < 20:
        return None
    low, high = np.percentile(kept, [2.5, 97.5])
    return float(low), float(high)


def recentred(replicates: Vector, value: float) -> tuple[float, float] | None:
    """Return the interval of the finite replicates [R] moved so that their mean is the value."""
    known = replicates[np.isfinite(replicates)]
    return interval(value + known - known.mean()) if len(known) else None


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
        clusters: The subject of each sample; all samples of a subject are drawn together.
        count: Number of resamples.
        seed: Seed of the draws.

    Raises:
        ValueError: As many clusters as values are wanted.

    >>> values = np.tile([0.0, 1.0], 20)
    >>> low, high = bootstrap_mean(values, [i // 2 for i in range(40)])  # each subject has both
    >>> low, high
    (0.5, 0.5)
    """
    if len(values) != len(clusters):
        raise ValueError(f"{len(values)} values of {len(clusters)} samples")
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    if len(names) < 2:
        return None
    total, size = np.bincount(member, values), np.bincount(member)
    picked = drawn_clusters(len(names), count, seed)
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
    an interval that holds zero is a tie. For the Fréchet distance give value + both
    influences of ``frechet.frechet`` of each.

    Args:
        first: One value a sample [N].
        second: The other generator's, in the same order [N].
        clusters: The subject of each sample.
        count: Number of resamples.
        seed: Seed of the draws.

    Raises:
        ValueError: The two have different lengths.

    >>> difference, interval_ = paired_difference(np.ones(8), np.zeros(8), list("aabbccdd"))
    >>> difference, interval_
    (1.0, (1.0, 1.0))
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
        values: One difference a sample [N], as for `paired_difference`.
        clusters: The subject of each sample.
        power: Probability to find an effect of this size.
        level: Probability to find one where there is none.

    Raises:
        ValueError: As many clusters as values are wanted.
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
