"""Inception Score (Salimans et al. 2016) from the logits of a classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def inception_score(
    logits: npt.NDArray[np.floating[Any]], *, splits: int = 10, seed: int = 2020
) -> tuple[float, float]:
    """Return mean and deviation over splits of exp E KL(p(y|x) ‖ p(y)), float64 in log space.

    Args:
        logits: [N, K].
        splits: of shuffled rows; fewer where N is small.
        seed: of the shuffle.
    """
    rows = np.asarray(logits, np.float64)
    rows = rows[np.random.default_rng(seed).permutation(len(rows))]
    peak = rows.max(1, keepdims=True)
    logp = rows - peak - np.log(np.exp(rows - peak).sum(1, keepdims=True))
    scores = []
    for part in np.array_split(logp, max(1, min(splits, len(logp)))):
        marginal = np.log(np.exp(part).mean(0, keepdims=True).clip(1e-300))
        scores.append(np.exp((np.exp(part) * (part - marginal)).sum(1).mean()))
    return float(np.mean(scores)), float(np.std(scores))
