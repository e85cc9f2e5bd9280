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

import numpy as np
import numpy.typing as npt

from aubench.metrics import groups
from aubench.metrics.au_scores import mean_of, row_means
from aubench.metrics.bootstrap import detectable_effect, interval, paired_difference

Vector = npt.NDArray[np.float64]
Found = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]
COUNT, SEED = 1000, 2020
LEVEL = 0.05
POWER = 2.8015852
"""Quantiles of the normal distribution at 0.975 and 0.8, added: detectable effect / error."""


@dataclass(frozen=True)
class Difference:
    """One difference, first - second.

    Attributes:
        name: of the metric, AU or combination.
        first, second: the two values.
        interval: 95 %, of the difference; None where it cannot be had.
        p: two-sided; ``holm`` corrected within its family, the same where it stands alone.
        detectable: smallest true difference found with power 0.8.
        n: samples behind it.
        higher: whether higher is better.
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
        difference: first - second.
        error: its standard error, 0 where nothing varies.
        subjects: those that say something about it; one alone proves nothing.
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
        name, float(np.mean(first)), float(np.mean(second)), gap, ci, p, p,
        effect if np.isfinite(effect) and (effect or not gap) else None, len(first), higher,
    )  # fmt: skip


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
        name, first, second, gap, interval(kept), p, p,
        error * POWER if seen else None, n, higher,
    )  # fmt: skip


@dataclass(frozen=True)
class Counts:
    """Hits, finds and commands of each AU summed by subject, float64 [S, 12] each."""

    hit: Vector
    found: Vector
    asked: Vector

    @classmethod
    def of(cls, found: Found, labels: Labels, subjects: Sequence[str]) -> Counts:
        """Count bool [N, 12] against uint8 [N, 12]."""
        names, member = np.unique(np.asarray(subjects), return_inverse=True)
        one = np.zeros((len(names), len(member)))
        one[member, np.arange(len(member))] = 1
        return cls(one @ (found & (labels == 1)), one @ found, one @ labels.astype(float))

    def f1(self, weights: Vector | None = None) -> Vector:
        """Return F1 of each AU [..., 12], subjects weighted [..., S]; NaN where undefined."""
        w = np.ones(len(self.hit)) if weights is None else weights
        total = w @ self.found + w @ self.asked
        return np.asarray(
            np.divide(2 * (w @ self.hit), total, out=np.full(total.shape, np.nan), where=total > 0)
        )


def draws(subjects: int, count: int = COUNT, seed: int = SEED) -> Vector:
    """Return how often each subject is drawn in each resample, float64 [count, subjects]."""
    picked = np.random.default_rng(seed).integers(0, subjects, (count, subjects))
    out = np.zeros((count, subjects))
    np.add.at(out, (np.arange(count)[:, None], picked), 1)
    return out


def of_f1(
    first: Found, second: Found, labels: Labels, subjects: Sequence[str], names: Sequence[str]
) -> tuple[Difference, list[Difference]]:
    """Return the difference of mean F1, of the means that the records state, and of each AU's.

    Args:
        first: AUs found, bool [N, 12].
        second: the other run's.
        labels: commanded, uint8 [N, 12].
        subjects: of the samples.
        names: of the AUs.
    """
    a, b = Counts.of(first, labels, subjects), Counts.of(second, labels, subjects)
    weights = draws(len(a.hit))
    one, two = a.f1(), b.f1()
    drawn = a.f1(weights), b.f1(weights)
    both = drawn[0] - drawn[1]
    single = [
        of_replicates(name, float(one[k]), float(two[k]), both[:, k],
                      int(labels[:, k].sum()), int((a.asked[:, k] > 0).sum()), higher=True)
        for k, name in enumerate(names)
    ]  # fmt: skip
    # Each mean is over the AUs that its own run has an F1 of, as in the run's record.
    whole = of_replicates(
        "au_f1", mean_of(one), mean_of(two),
        row_means(drawn[0]) - row_means(drawn[1]), len(labels), len(a.hit), higher=True,
    )  # fmt: skip
    return whole, corrected([d for d in single if np.isfinite(d.difference)])
