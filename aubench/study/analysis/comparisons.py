"""Which models differ: two-way intervals of every pair, adjusted by Holm, and letters from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations as pairs_of
from string import ascii_lowercase

import numpy as np
import numpy.typing as npt
from scipy import stats

from aubench.study.analysis.intervals import cluster_error, shares, two_way_error
from aubench.study.analysis.results import Comparison

Floats = npt.NDArray[np.float64]
LEVEL = 0.05


@dataclass(frozen=True)
class Contrasts:
    """Differences of pairs of models, float64 [P] each.

    Attributes:
        pairs: Indices of the two models of each pair.
        difference: Mean score of the first minus that of the second.
        error: Standard errors, raters and items random and crossed.
        df: Degrees of freedom of Student's t.
    """

    pairs: tuple[tuple[int, int], ...]
    difference: Floats
    error: Floats
    df: Floats

    @property
    def p(self) -> Floats:
        """Two-sided p-values; where there is no spread, 0 or 1."""
        with np.errstate(invalid="ignore", divide="ignore"):
            t = np.abs(self.difference) / self.error
        t = np.where(self.error > 0, t, np.where(self.difference == 0, 0.0, np.inf))
        return np.asarray(2 * stats.t.sf(t, self.df), np.float64)


def contrasts(scores: Floats, combinations: Sequence[str]) -> Contrasts:
    """Return the differences of all pairs of models.

    Args:
        scores: float64 [R, I, M], NaN where a rater did not judge a model on an item.
        combinations: Combinations of each item.
    """
    pairs = tuple(pairs_of(range(scores.shape[2]), 2))
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    sizes = {list(combinations).count(name) for name in combinations}
    if not np.isnan(scores).any() and len(sizes) == 1 and min(sizes) > 1 and len(scores) > 1:
        gaps = scores[..., first] - scores[..., second]
        error, df = two_way_error(gaps, combinations)
        return Contrasts(pairs, gaps.mean(axis=(0, 1)), error, df)
    found = [_incomplete(scores, combinations, a, b) for a, b in pairs]
    difference, error, df = (np.array(column) for column in zip(*found, strict=True))
    return Contrasts(pairs, difference, error, df)


def _incomplete(
    scores: Floats, combinations: Sequence[str], a: int, b: int
) -> tuple[float, float, float]:
    """Return difference, error and degrees of freedom where raters saw different models."""
    (first, one), (second, two) = (shares(scores[..., m], combinations) for m in (a, b))
    error, df = cluster_error(one - two, len(set(combinations)))
    return first - second, error, df


def holm(p: Floats) -> tuple[Floats, Floats]:
    """Return Holm's adjusted p-values, and the level of the interval of each comparison.

    An interval of 1 - level excludes zero just where the adjusted p-value is below 5 %.

    >>> adjusted, level = holm(np.array([0.01, 0.04, 0.03]))
    >>> adjusted.round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    count = len(p)
    adjusted, level = np.ones(count), np.empty(count)
    largest, stopped = 0.0, 0
    for step, index in enumerate(np.argsort(p, kind="stable")):
        largest = max(largest, (count - step) * float(p[index]))
        adjusted[index] = min(1.0, largest)
        level[index] = LEVEL / (count - stopped)
        # From the first comparison on that is not told apart, the level stays.
        if largest < LEVEL:
            level[index] = LEVEL / (count - step)
            stopped = min(step + 1, count - 1)
    return adjusted, level


def compare(
    scores: Floats, combinations: Sequence[str], models: Sequence[str]
) -> tuple[Comparison, ...]:
    """Return all pairwise differences with adjusted intervals and p-values.

    Args:
        scores: float64 [R, I, M].
        combinations: Combinations of each item.
        models: Names of the models.
    """
    found = contrasts(scores, combinations)
    known = np.isfinite(found.difference)
    p = np.where(known, found.p, 1.0)
    adjusted, level = holm(p)
    half = stats.t.ppf(1 - level / 2, found.df) * found.error
    return tuple(
        Comparison(
            first=models[a],
            second=models[b],
            difference=float(found.difference[i]),
            low=float(found.difference[i] - half[i]),
            high=float(found.difference[i] + half[i]),
            p=float(p[i]),
            p_holm=float(adjusted[i]),
        )
        for i, (a, b) in enumerate(found.pairs)
        if known[i]
    )


def groups_alike(comparisons: Sequence[Comparison], models: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the largest groups of models of which no two are told apart, in the order given."""
    apart = {frozenset((c.first, c.second)) for c in comparisons if c.p_holm < LEVEL}
    found: list[tuple[str, ...]] = []
    for size in range(len(models), 0, -1):
        for group in pairs_of(models, size):
            alike = all(frozenset(pair) not in apart for pair in pairs_of(group, 2))
            if alike and not any(set(group) <= set(other) for other in found):
                found.append(group)
    return sorted(found, key=lambda group: [models.index(name) for name in group])


def letters(comparisons: Sequence[Comparison], models: Sequence[str]) -> dict[str, str]:
    """Return a compact letter display: models that share a letter are not told apart.

    Args:
        comparisons: Of all pairs.
        models: In order, the best first.
    """
    groups = groups_alike(comparisons, models)
    return {
        model: "".join(ascii_lowercase[i % 26] for i, group in enumerate(groups) if model in group)
        for model in models
    }
