"""Inception Score (Salimans et al. 2016) from the logits of a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from aubench.metrics.metric import INFINITY, Metric, Need, ScoreFacts, Tolerance
from aubench.metrics.statistics.resampling import bootstrap_mean

if TYPE_CHECKING:
    from aubench.metrics.evaluation_data import EvaluationData
    from aubench.records.record import ScoreRow

Matrix = npt.NDArray[np.float64]


def _log_mean(logp: Matrix) -> Matrix:
    """Return the logarithm of the mean over rows of exp, without leaving log space."""
    peak = logp.max(0, keepdims=True)
    return np.asarray(peak + np.log(np.exp(logp - peak).mean(0, keepdims=True)))


def inception_score(
    logits: npt.NDArray[np.floating[Any]], *, splits: int = 10, seed: int = 2020
) -> tuple[float, float]:
    """Return mean and deviation over splits of exp E KL(p(y|x) ‖ p(y)), float64 in log space.

    Order and splits are those of torch-fidelity, so that equal logits give equal scores. The value
    depends on the number of splits; on faces it is not informative.

    Args:
        logits: [N, K].
        splits: Splits of shuffled rows; fewer where N is smaller.
        seed: Seed of the shuffle.

    Raises:
        ValueError: No rows, or logits that are not finite.

    >>> logits = 50 * np.eye(4)[np.arange(400) % 4]  # four classes, all sure
    >>> mean, _ = inception_score(logits, splits=1)
    >>> round(mean, 3)
    4.0
    """
    logp = _log_probabilities(logits)
    n, parts = len(logp), max(1, min(splits, len(logp)))
    # The legacy generator on purpose: it fixes the same order as torch-fidelity's.
    logp = logp[np.random.RandomState(seed).permutation(n)]
    scores = []
    for i in range(parts):
        part = logp[i * n // parts : (i + 1) * n // parts]
        scores.append(np.exp((np.exp(part) * (part - _log_mean(part))).sum(1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def inception_influence(logits: npt.NDArray[np.floating[Any]]) -> Matrix:
    """Return how each row of logits [N, K] moves the logarithm of the score: [N], mean zero.

    log IS = E KL(p(y|x) ‖ p(y)); to first order the shift of p(y) drops out, so the influence of
    a row is its own divergence less the mean.

    Raises:
        ValueError: No rows, or logits that are not finite.
    """
    logp = _log_probabilities(logits)
    divergence = (np.exp(logp) * (logp - _log_mean(logp))).sum(1)
    return np.asarray(divergence - divergence.mean())


def _log_probabilities(logits: npt.NDArray[np.floating[Any]]) -> Matrix:
    rows = np.asarray(logits, np.float64)
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"want logits [N, K], got {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("logits are not finite")
    rows = rows - rows.max(1, keepdims=True)
    return np.asarray(rows - np.log(np.exp(rows).sum(1, keepdims=True)))


class InceptionScore(Metric):
    """The inception score of the generated images; it says little of faces."""

    name = "is"
    order = 30
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXTRACTOR})
    paper = True
    scores: ClassVar[Mapping[str, ScoreFacts]] = {
        "is": ScoreFacts(
            "IS",
            True,
            informative=False,
            headline=True,
            in_paper=True,
            tolerance=Tolerance(1e-4, 1e-4),
            bounds=(1.0, INFINITY),
        ),
    }

    def score(self, data: EvaluationData) -> list[ScoreRow]:
        """Return the mean over ten splits."""
        if "extractor" in data.unavailable:
            return self.without_value(data, data.unavailable["extractor"])
        name = data.extractor.split("|")[0]
        if "logits" not in data.generated[name]:
            return self.without_value(data, f"{name} knows no classes")
        logits, _ = data.extracted("logits")
        value, spread = inception_score(logits)
        id_ = f"is|{data.extractor}|splits=10|seed=2020|n={len(logits)}"
        logs = bootstrap_mean(inception_influence(logits), data.generated_subjects())
        ci = (
            None
            if logs is None
            else (value * float(np.exp(logs[0])), value * float(np.exp(logs[1])))
        )
        return [
            self.row("is", id_, value, len(logits), ci=ci, note=f"deviation of splits {spread:.2g}")
        ]
