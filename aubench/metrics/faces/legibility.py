"""Legibility: does a face read as the expression that its AUs stand for?

Perception by a model, not by people, and secondary to every measure of AUs: a CLIP is asked, zero
shot, which of the expressions of ``aubench/facs/expressions.toml`` a face shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from aubench.facs.expressions import AMBIGUOUS, load_expressions
from aubench.metrics.metric import SHARE, Metric, Need, ScoreFacts
from aubench.metrics.statistics.resampling import bootstrap_mean

if TYPE_CHECKING:
    from aubench.metrics.evaluation_data import EvaluationData
    from aubench.records.record import ScoreRow

Probabilities = npt.NDArray[np.floating[Any]]


def read_as(probabilities: Probabilities, intended: npt.NDArray[np.int64]) -> tuple[Any, Any]:
    """Return whether each face reads as intended, bool [N], and with what probability [N].

    Args:
        probabilities: Probabilities of the expressions [N, P]; a row of zeros is a face that was
            not made, which reads as nothing.
        intended: Number of the expression of each [N].

    Raises:
        ValueError: Shapes or numbers do not fit.

    >>> right, chance = read_as(np.array([[0.7, 0.3], [0.6, 0.4]]), np.array([0, 1]))
    >>> right.tolist(), chance.tolist()
    ([True, False], [0.7, 0.4])
    """
    if probabilities.ndim != 2 or len(probabilities) != len(intended):
        raise ValueError(f"{len(intended)} expressions for {probabilities.shape}")
    if len(intended) and not ((intended >= 0) & (intended < probabilities.shape[1])).all():
        raise ValueError("an expression that was not asked for")
    rows = np.arange(len(intended))
    chance = np.asarray(probabilities[rows, intended], np.float64)
    return (probabilities.argmax(1) == intended) & (chance > 0), chance


class Legibility(Metric):
    """How often, and with what probability, a face reads as its AUs' expression."""

    name = "legibility"
    order = 130
    needs: ClassVar[frozenset[Need]] = frozenset({Need.LEGIBILITY})
    unprobed = "the vision-language model"
    scores: ClassVar[Mapping[str, ScoreFacts]] = {
        "legibility": ScoreFacts(
            "legibility", True, informative=False, failed_value=0.0, bounds=SHARE
        ),
        "legibility_p": ScoreFacts(
            "legibility, probability", True, informative=False, failed_value=0.0
        ),
    }

    def score(self, data: EvaluationData) -> list[ScoreRow]:
        """Return the share read as intended and the mean probability of what is intended."""
        network = self.name
        if network not in data.generated:
            return self.without_value(data, data.unavailable[network])
        table = load_expressions()
        intended = table.intended(data.labels)
        shown = np.nonzero(intended >= 0)[0]
        wanted, subjects = intended[shown], [data.subjects[i] for i in shown]
        whole = np.zeros((len(data), len(table.names)), np.float32)  # a failed sample reads as none
        whole[data.generated_rows] = data.generated[network]["probabilities"]
        right, chance = read_as(whole[shown], wanted)
        best, likely = read_as(data.targets[network]["probabilities"][shown], wanted)
        unclear, n = int((intended == AMBIGUOUS).sum()), len(shown)
        left = (
            f"{len(intended) - n} of {len(intended)} samples left out, {unclear} of them ambiguous"
        )
        about = f"{data.network_ids[network].rsplit(' ', 1)[0]}|n={n}"
        if not n:
            note = f"perception by a model; {left}"
            return [self.row(name, f"{name}|{about}", None, 0, note=note) for name in self.scores]
        constant = np.bincount(wanted).max() / n
        level = f"chance {1 / len(table.names):.3f}"
        return [
            self.row(
                "legibility",
                f"legibility|{about}",
                float(right.mean()),
                n,
                ci=bootstrap_mean(right.astype(np.float64), subjects),
                note=f"perception by a model; targets reach {best.mean():.3f}, {level}, "
                f"one answer to all {constant:.3f}; {left}",
            ),
            self.row(
                "legibility_p",
                f"legibility-probability|{about}",
                float(chance.mean()),
                n,
                ci=bootstrap_mean(chance, subjects),
                note=f"perception by a model; targets reach {likely.mean():.3f}, {level}",
            ),
        ]
