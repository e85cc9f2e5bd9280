"""Who is served worse: a score in groups of subjects, and whether a difference is more than chance.

A score is a mean over terms of ratios of sums over subjects. Weights of subjects then give every
version of it: ones and zeros a group, counts a bootstrap resample, shuffled zeros and ones a
permutation. Subjects, not images, are drawn, since images of one subject are no fresh evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.metrics.statistics.means import row_means
from aubench.metrics.statistics.resampling import interval

Vector = npt.NDArray[np.float64]

FEWEST = 5
"""Subjects on either side below which a group is not scored."""


@dataclass(frozen=True)
class SubjectSums:
    """A score as sums over subjects.

    Attributes:
        subjects: Names [S].
        top: float64 [S, K].
        bottom: float64 [S, K].
    """

    subjects: list[str]
    top: Vector
    bottom: Vector

    def __call__(self, weights: Vector) -> Vector:
        """Return the score [P] for weights of subjects [P, S]; NaN where nothing counts."""
        top, bottom = weights @ self.top, weights @ self.bottom
        return row_means(np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0))

    def term(self, k: int) -> SubjectSums:
        """Return one of the K terms as a score of its own."""
        return SubjectSums(self.subjects, self.top[:, k : k + 1], self.bottom[:, k : k + 1])


def mean_sums(values: npt.ArrayLike, subjects: Sequence[str]) -> SubjectSums:
    """Return the mean of one value a sample [N] as sums; NaN values are left out.

    >>> sums = mean_sums([1.0, 3.0, 5.0], ["a", "a", "b"])
    >>> sums(np.ones((1, 2))).tolist()
    [3.0]
    """
    array = np.asarray(values, np.float64)
    names, member = np.unique(np.asarray(subjects), return_inverse=True)
    known = np.isfinite(array)
    top = np.bincount(member, np.where(known, array, 0), len(names))
    bottom = np.bincount(member, known, len(names))
    columns = (np.asarray(part, np.float64)[:, None] for part in (top, bottom))
    return SubjectSums([str(n) for n in names], *columns)


def f1_sums(
    found: npt.NDArray[np.bool_], labels: npt.NDArray[np.integer[Any]], subjects: Sequence[str]
) -> SubjectSums:
    """Return the mean F1 over AUs of found bool [N, 12] against labels int [N, 12] as sums.

    Negative labels are unknown and do not count.

    >>> found = np.array([[True], [False]])
    >>> sums = f1_sums(found, np.array([[1], [1]], np.uint8), ["a", "b"])
    >>> sums(np.ones((1, 2))).round(4).tolist()
    [0.6667]
    """
    names, member = np.unique(np.asarray(subjects), return_inverse=True)
    top, bottom = (np.zeros((len(names), labels.shape[1])) for _ in range(2))
    np.add.at(top, member, 2.0 * (found & (labels == 1)))
    np.add.at(bottom, member, (found & (labels >= 0)).astype(np.float64) + (labels == 1))
    return SubjectSums([str(n) for n in names], top, bottom)


@dataclass(frozen=True)
class GroupScore:
    """A score in one group against all other subjects.

    Attributes:
        value: Value of the group, NaN where not scored.
        ci: 95 % interval of the value, by resampling the group's subjects.
        difference: Value less that of the others.
        p: Of a permutation test of no difference, two-sided, not yet adjusted; NaN if not scored.
        subjects: Subjects in the group.
        reason: Why it was not scored, else empty.
    """

    value: float
    ci: tuple[float, float] | None
    difference: float
    p: float
    subjects: int
    reason: str = ""


def compare_group(
    sums: SubjectSums, members: npt.NDArray[np.bool_], *, count: int = 2000, seed: int = 2020
) -> GroupScore:
    """Score a group and test whether it differs from the other subjects.

    Args:
        sums: The score.
        members: bool [S], who is in the group.
        count: Permutations; also of the bootstrap.
        seed: Seed of both.
    """
    inside, outside = int(members.sum()), int((~members).sum())
    nan = float("nan")
    if min(inside, outside) < FEWEST:
        return GroupScore(nan, None, nan, nan, inside, f"{min(inside, outside)} subjects")
    rng = np.random.default_rng(seed)
    own = members.astype(np.float64)[None]
    value, rest = float(sums(own)[0]), float(sums(1 - own)[0])
    if not np.isfinite(value - rest):
        return GroupScore(value, None, nan, nan, inside, "undefined on these samples")
    drawn = np.zeros((count, len(members)))
    drawn[:, members] = rng.multinomial(inside, np.full(inside, 1 / inside), count)
    shuffled = rng.permuted(np.repeat(own, count, 0), axis=1)
    chance = sums(shuffled) - sums(1 - shuffled)
    chance = chance[np.isfinite(chance)]
    # Rounding must not turn an equal difference into a smaller one.
    extreme = np.abs(chance) >= abs(value - rest) * (1 - 1e-9)
    p = (1 + int(extreme.sum())) / (1 + len(chance))
    return GroupScore(value, interval(sums(drawn)), value - rest, p, inside)


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm 1979); NaN stays NaN and does not count.

    >>> holm([0.01, 0.04])
    [0.02, 0.04]
    """
    values = np.asarray(p, np.float64)
    out: npt.NDArray[Any] = np.full(len(values), np.nan)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    steps = values[order] * (len(order) - np.arange(len(order)))
    out[order] = np.minimum(1, np.maximum.accumulate(steps)) if len(order) else steps
    return [float(x) for x in out]
