"""How many raters and items a study needs, by simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize

from aubench.errors import AubenchError
from aubench.study.analysis.comparisons import LEVEL, contrasts, holm

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Question:
    """What a study shall be able to see.

    Attributes:
        difference: Difference of two models' mean AUCHS.
        models: Models that are ranked, k.
        combinations: Rows of the table.
        rater_spread, item_spread: Standard deviations of random effects on log worths.
    """

    difference: float
    models: int = 5
    combinations: int = 6
    rater_spread: float = 0.3
    item_spread: float = 0.5


@dataclass(frozen=True)
class Power:
    """How often a study of this size sees the difference.

    Attributes:
        items: Items of each combination.
        paired: Share of studies whose 95 % interval of the difference excludes 0.
        holm: Share in which the two are told apart after Holm's adjustment for all pairs.
        error: Standard error of ``holm``.
    """

    raters: int
    items: int
    paired: float
    holm: float
    error: float


def _mean_scores(gap: float, question: Question, noise: Floats) -> float:
    """Return the expected difference in AUCHS of models whose log worths are ``gap`` apart.

    Every draw counts twice, the two models' effects exchanged, so that no gap makes no difference.
    """
    logs = np.zeros(question.models)
    logs[:2] = gap / 2, -gap / 2
    exchanged = noise.copy()
    exchanged[:, :2] = noise[:, 1::-1]
    noise = np.concatenate([noise, exchanged])
    utilities = logs + noise
    beats = 1 / (1 + np.exp(utilities[:, None, :] - utilities[:, :, None]))
    scores = beats.sum(axis=2)
    return float((scores[:, 0] - scores[:, 1]).mean())


def gap_of(question: Question, seed: int = 0) -> float:
    """Return the gap in log worth of two models that makes their AUCHS differ as asked.

    The other models lie half way between the two. Random effects are averaged over 10,000
    pairs of draws.

    Raises:
        AubenchError: No gap makes so large a difference.
    """
    generator = np.random.default_rng(seed)
    spread = np.hypot(question.rater_spread, question.item_spread)
    draws = 10_000 if spread else 1
    noise = spread * generator.standard_normal((draws, question.models))
    if not 0 < question.difference < _mean_scores(40.0, question, noise):
        raise AubenchError(
            f"a difference of {question.difference:g} between two of {question.models} models",
            f"ask for more than 0 and less than {question.models - 1}",
        )
    return float(
        optimize.brentq(
            lambda gap: _mean_scores(gap, question, noise) - question.difference, 0.0, 40.0
        )
    )


def simulate_scores(
    question: Question, gap: float, raters: int, items: int, generator: np.random.Generator
) -> Floats:
    """Return AUCHS float64 [raters, items x combinations, models] of one simulated study."""
    k, columns = question.models, items * question.combinations
    logs = np.zeros(k)
    logs[:2] = gap / 2, -gap / 2
    utilities = (
        logs
        + question.rater_spread * generator.standard_normal((raters, 1, k))
        + question.item_spread * generator.standard_normal((1, columns, k))
        + generator.gumbel(size=(raters, columns, k))
    )
    return np.asarray(np.argsort(np.argsort(utilities, axis=2), axis=2) + 1.0, np.float64)


def power(
    question: Question,
    raters: Sequence[int],
    items: Sequence[int],
    studies: int = 400,
    seed: int = 0,
) -> list[Power]:
    """Return the power of each size, raters by items of a combination."""
    gap = gap_of(question, seed)
    found = []
    for r in raters:
        for i in items:
            if r < 2 or i < 2:
                raise AubenchError(f"{r} raters, {i} items", "two of each at least")
            generator = np.random.default_rng([seed, r, i])
            hits = [_hits(question, gap, r, i, generator) for _ in range(studies)]
            paired, adjusted = np.mean(hits, axis=0)
            error = float(np.sqrt(adjusted * (1 - adjusted) / studies))
            found.append(Power(r, i, float(paired), float(adjusted), error))
    return found


def _hits(
    question: Question, gap: float, raters: int, items: int, generator: np.random.Generator
) -> tuple[bool, bool]:
    scores = simulate_scores(question, gap, raters, items, generator)
    found = contrasts(scores, [str(column // items) for column in range(scores.shape[1])])
    adjusted, _ = holm(found.p)
    right = bool(found.difference[0] > 0)  # the first pair is that of the two models
    return right and bool(found.p[0] < LEVEL), right and bool(adjusted[0] < LEVEL)


def false_alarms(
    question: Question, raters: int, items: int, studies: int, seed: int = 0
) -> tuple[float, float]:
    """Return how often models that do not differ are told apart.

    Returns:
        Share of single comparisons below 5 % without adjustment, and share of studies in which
        any pair is told apart after Holm's.
    """
    generator = np.random.default_rng([seed, raters, items])
    names = [str(column // items) for column in range(items * question.combinations)]
    single, family = [], []
    for _ in range(studies):
        found = contrasts(simulate_scores(question, 0.0, raters, items, generator), names)
        single.append(float((found.p < LEVEL).mean()))
        family.append(bool(holm(found.p)[0].min() < LEVEL))
    return float(np.mean(single)), float(np.mean(family))
