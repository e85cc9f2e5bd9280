"""Verification: the threshold at a false acceptance rate, the rate at it, the equal error rate.

A pair is accepted if its cosine is above the threshold, so ties count as refused.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]


def threshold(strangers: npt.ArrayLike, far: float = 0.01) -> float:
    """Return the smallest threshold that accepts at most a share ``far`` of strangers.

    Args:
        strangers: Cosines of pairs of different subjects, [P].
        far: False acceptance rate, 0 < far < 1.

    Returns:
        NaN if there are fewer than 1 / ``far`` pairs, which cannot tell that rate from zero.

    Raises:
        ValueError: ``far`` is out of range or a cosine is not finite.
    """
    values = _finite(strangers)
    if not 0 < far < 1:
        raise ValueError(f"far must lie between 0 and 1, got {far}")
    allowed = int(np.floor(far * len(values) + 1e-9))
    if allowed < 1:
        return float("nan")
    return float(np.partition(values, len(values) - 1 - allowed)[len(values) - 1 - allowed])


def acceptance(cosines: npt.ArrayLike, at: float) -> float:
    """Return the share of cosines above a threshold; NaN if there are none or it is NaN."""
    values = _finite(cosines)
    return float((values > at).mean()) if len(values) and np.isfinite(at) else float("nan")


def equal_error_rate(genuine: npt.ArrayLike, strangers: npt.ArrayLike) -> float:
    """Return the error rate where as many genuine pairs are refused as strangers accepted.

    Of all thresholds the one with the smallest difference of the two rates is taken (of several
    the lowest), and their mean returned.

    Args:
        genuine: Cosines of pairs of one subject, [G].
        strangers: Cosines of pairs of different subjects, [P].

    Returns:
        0..1, NaN if either is empty.

    Raises:
        ValueError: A cosine is not finite.
    """
    same, other = np.sort(_finite(genuine)), np.sort(_finite(strangers))
    if not len(same) or not len(other):
        return float("nan")
    at = np.concatenate([[-np.inf], np.unique(np.concatenate([same, other]))])
    refused = np.searchsorted(same, at, side="right") / len(same)
    accepted = 1 - np.searchsorted(other, at, side="right") / len(other)
    best = int(np.argmin(np.abs(refused - accepted)))
    return float((refused[best] + accepted[best]) / 2)


def _finite(values: npt.ArrayLike) -> Vector:
    out = np.asarray(values, np.float64).ravel()
    if not np.isfinite(out).all():
        raise ValueError("cosines must be finite")
    return out
