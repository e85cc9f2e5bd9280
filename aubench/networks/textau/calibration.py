"""How far stated probabilities are from how often they are right, and what mends it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.networks.textau.corpus import UNKNOWN_AU, Labels

BINS = 10
Floats = npt.NDArray[np.floating[Any]]


def calibration_error(p: Floats, labels: Labels) -> float:
    """Return the expected calibration error of the more likely answer for each AU.

    The confidence max(p, 1 - p) falls into ten bins of 0.5..1; the error is the mean over all
    answers of the distance between a bin's mean confidence and the share that is right.

    Args:
        p: Probabilities [N, 12].
        labels: Uint8 [N, 12], 9 where unknown and not counted.

    Returns:
        The error in 0..0.5, NaN where nothing is known.
    """
    known = labels != UNKNOWN_AU
    confidence = np.maximum(p, 1 - p)[known].astype(np.float64)
    right = ((p >= 0.5) == (labels == 1))[known]
    if not len(right):
        return float("nan")
    place = np.minimum(((confidence - 0.5) * 2 * BINS).astype(int), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    gap = np.abs(
        np.bincount(place, confidence, minlength=BINS) - np.bincount(place, right, minlength=BINS)
    )
    return float(gap[count > 0].sum() / len(right))


def fit_temperature(p: Floats, labels: Labels) -> float:
    """Return the divisor of logits that makes probabilities fit labels best.

    It minimises the binary cross-entropy over known labels among 0.25 to 8 in steps of 2 %.

    Args:
        p: Probabilities [N, 12] at temperature 1.
        labels: Uint8 [N, 12], 9 where unknown.
    """
    known = labels != UNKNOWN_AU
    clipped = np.clip(p[known].astype(np.float64), 1e-12, 1 - 1e-12)
    logits = np.log(clipped) - np.log1p(-clipped)
    sign = np.where(labels[known] == 1, -1.0, 1.0)
    candidates = np.geomspace(0.25, 8, 176)
    losses = [np.logaddexp(0, sign * logits / t).mean() for t in candidates]
    return round(float(candidates[int(np.argmin(losses))]), 4)
