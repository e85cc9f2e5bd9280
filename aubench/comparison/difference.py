"""Paired differences of two runs on the same samples, with intervals and corrected p values.

Everything is first - second, resampled by whole subjects, both runs with the same draws. A p value
is two-sided from the normal approximation with the standard error of those draws, and never below
what changing signs by subject could give at best, 2 / 2^m of m subjects, since few subjects that
agree have no spread to approximate; families of many (AUs, combinations) are corrected by Holm's
method (1979).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.metrics.statistics import groups
from aubench.metrics.statistics.groups import SubjectSums, f1_sums
from aubench.metrics.statistics.resampling import (
    detectable_effect,
    draw_counts,
    interval,
    paired_difference,
)

Vector = npt.NDArray[np.float64]
Found = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.integer[Any]]
COUNT, SEED = 1000, 2020
LEVEL = 0.05
POWER = 2.8015852
"""Quantiles of the normal distribution at 0.975 and 0.8, added: detectable effect / error."""


@dataclass(frozen=True)
class Difference:
    """One difference, first - second.

    Attributes:
        name: Name of the metric, AU or combination.
        first, second: The two values.
        interval: 95 %, of the difference; None where it cannot be had.
        p: Two-sided; ``holm`` corrected within its family, the same where it stands alone.
        detectable: Smallest true difference found with power 0.8.
        n: Samples behind it.
        higher: Whether higher is better.
    """

    name: str
    first: float
    second: float
    difference: float
    interval: tuple[float, float] | None
    p: float | None
    holm: float | None
    detectable: float | None
    n: int
    higher: bool

    @property
    def better(self) -> int:
        """Return 1 or 2 for the run that is better, 0 for a tie or not known.

        Both the interval and the corrected p must say so.
        """
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1]:
            return 0
        if self.holm is not None and self.holm >= LEVEL:
            return 0
        return 1 if (self.difference > 0) == self.higher else 2


def p_value(difference: float, error: float, subjects: int) -> float | None:
    """Return the two-sided p of a difference; 1 for no difference at all.

    Args:
        difference: First - second.
        error: Its standard error, 0 where nothing varies.
        subjects: Those that say something about it; one alone proves nothing.
    """
    from scipy.stats import norm

    if not np.isfinite(error) or not np.isfinite(difference):
        return None
    least = min(1.0, 2.0 ** (1 - subjects))
    if error == 0:
        return 1.0 if difference == 0 else least
    return max(least, float(2 * norm.sf(abs(difference) / error)))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Return p values corrected for their number by Holm's method; None stays None."""
    found = groups.holm([float("nan") if p is None else p for p in values])
    return [None if np.isnan(p) else p for p in found]


def corrected(family: Sequence[Difference]) -> list[Difference]:
    """Return a family of differences with ``holm`` filled in."""
    return [replace(d, holm=p) for d, p in zip(family, holm([d.p for d in family]), strict=True)]


def of_means(
    name: str, first: Vector, second: Vector, subjects: Sequence[str], *, higher: bool
) -> Difference:
    """Return the difference of the means of one value a sample [N]."""
    gap, ci = paired_difference(first, second, subjects, count=COUNT, seed=SEED)
    effect = detectable_effect(np.asarray(first) - np.asarray(second), subjects)
    several = len(set(subjects))
    p = p_value(gap, effect / POWER, several) if several > 1 else None
    return Difference(
        name,
        float(np.mean(first)),
        float(np.mean(second)),
        gap,
        ci,
        p,
        p,
        effect if np.isfinite(effect) and (effect or not gap) else None,
        len(first),
        higher,
    )


def of_replicates(
    name: str,
    first: float,
    second: float,
    draws: Vector,
    n: int,
    subjects: int,
    *,
    higher: bool,
) -> Difference:
    """Return a difference whose resampled values [R] are given; ``subjects`` as in ``p_value``."""
    gap, kept = first - second, draws[np.isfinite(draws)]
    error = float(kept.std(ddof=1)) if len(kept) > 1 else float("nan")
    p = p_value(gap, error, subjects)
    seen = np.isfinite(error) and (error or not gap)  # without spread nothing is known of power
    return Difference(
        name,
        first,
        second,
        gap,
        interval(kept),
        p,
        p,
        error * POWER if seen else None,
        n,
        higher,
    )


def of_sums(
    name: str, first: SubjectSums, second: SubjectSums, n: int, *, higher: bool
) -> Difference:
    """Return the difference of two scores that are ratios of sums over the same subjects.

    Each value is over the terms that its own run has, as in the run's record.
    """
    count = len(first.subjects)
    weights, all_ = draw_counts(count, COUNT, SEED), np.ones((1, count))
    gaps = first(weights) - second(weights)
    values = float(first(all_)[0]), float(second(all_)[0])
    return of_replicates(name, *values, gaps, n, count, higher=higher)


def of_f1(
    first: Found, second: Found, labels: Labels, subjects: Sequence[str], names: Sequence[str]
) -> list[Difference]:
    """Return the differences of F1 of each AU that both runs have one of, a family.

    Args:
        first: AUs found, bool [N, 12].
        second: The other run's.
        labels: Commanded [N, 12], negative where unknown.
        subjects: Of the samples.
        names: Of the AUs.
    """
    a, b = f1_sums(first, labels, subjects), f1_sums(second, labels, subjects)
    return of_terms(a, b, labels, subjects, names)


def of_terms(
    a: SubjectSums, b: SubjectSums, labels: Labels, subjects: Sequence[str], names: Sequence[str]
) -> list[Difference]:
    """Return the differences of each term that both runs have a value of, a family.

    Args:
        a: A score of each AU as sums over subjects, higher better.
        b: The other run's.
        labels: Commanded [N, 12], negative where unknown.
        subjects: Of the samples.
        names: Of the AUs.
    """
    who, out = np.asarray(subjects), []
    count = len(a.subjects)
    weights, all_ = draw_counts(count, COUNT, SEED), np.ones((1, count))
    for k, name in enumerate(names):
        one, two, asked = a.term(k), b.term(k), labels[:, k] == 1
        values = float(one(all_)[0]), float(two(all_)[0])
        several = len(np.unique(who[asked]))
        gaps = one(weights) - two(weights)
        out.append(of_replicates(name, *values, gaps, int(asked.sum()), several, higher=True))
    return corrected([d for d in out if np.isfinite(d.difference)])
