"""How a face follows a commanded intensity: order, line, steps down, and what two AUs do together.

Functions of responses in series: [S, L] holds S series of L rising levels, each one subject in one
scene; [S, A, B] holds S grids of two groups of AUs. NaN is a sample that was not asked for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.metrics.au_scores import icc, row_means

Floats = npt.NDArray[np.floating[Any]]
Vector = npt.NDArray[np.float64]

FLAT = 1e-4
"""Responses that differ by no more are equal: far under any step, over the rounding of float32."""


def flat(response: Floats) -> npt.NDArray[np.bool_]:
    """Return which series [S] do not respond at all: all their values [S, L] are equal."""
    known = np.isfinite(response)
    high = np.where(known, response, -np.inf).max(1)
    low = np.where(known, response, np.inf).min(1)
    return np.asarray((known.sum(1) > 0) & (high - low <= FLAT))


def rank_correlation(response: Floats, levels: Floats) -> Vector:
    """Return Spearman's correlation of each series with its levels, float64 [S] in -1..1.

    Equal values share the mean of their ranks. 0 for a flat series, which orders nothing; NaN
    for one of fewer than three samples.

    Args:
        response: [S, L], NaN where there is no sample.
        levels: commanded intensities [L].
    """
    from scipy.stats import rankdata

    out = np.full(len(response), np.nan)
    for i, values in enumerate(np.asarray(response, np.float64)):
        known = np.isfinite(values)
        if known.sum() >= 3:
            a, b = rankdata(_stepped(values[known])), rankdata(np.asarray(levels)[known])
            out[i] = np.corrcoef(a, b)[0, 1] if np.ptp(a) and np.ptp(b) else 0.0
    return out


def _stepped(values: Vector) -> Vector:
    """Return values [L] in which those that differ by no more than FLAT are the same."""
    order = np.argsort(values, kind="stable")
    step = np.cumsum(np.diff(values[order], prepend=values[order[:1]]) > FLAT)
    out = np.empty(len(values))
    out[order] = step
    return out


def line(response: Floats, levels: Floats) -> tuple[Vector, Vector]:
    """Return slope and share of variance R² of a straight line through each series, both [S].

    R² is in 0..1; 0 for a flat series and for one that falls, which no line up explains. NaN for
    a series of fewer than three samples.

    Args:
        response: intensities [S, L], NaN where there is no sample.
        levels: commanded intensities [L].
    """
    known = np.isfinite(response)
    count = known.sum(1)
    enough = count >= 3
    n = np.maximum(count, 1)[:, None]
    x = np.where(known, np.asarray(levels, np.float64)[None], 0.0)
    y = np.where(known, response, 0.0).astype(np.float64)
    dx = np.where(known, x - x.sum(1, keepdims=True) / n, 0.0)
    dy = np.where(known, y - y.sum(1, keepdims=True) / n, 0.0)
    sxx, sxy, syy = (dx * dx).sum(1), (dx * dy).sum(1), (dy * dy).sum(1)
    slope = np.divide(sxy, sxx, out=np.full(len(sxx), np.nan), where=enough & (sxx > 0))
    moves = enough & (sxx > 0) & ~flat(response)
    share = np.divide(sxy**2, sxx * syy, out=np.zeros(len(sxx)), where=moves & (sxy > 0))
    return slope, np.where(enough, share, np.nan)


def violations(response: Floats) -> Vector:
    """Return the share of adjacent levels at which each series goes down, [S] in 0..1.

    A step that changes nothing counts half, so that a flat series gets 0.5 as a random one does.
    NaN for a series without two adjacent samples.

    Args:
        response: [S, L], levels rising, NaN where there is no sample.
    """
    step = np.diff(np.asarray(response, np.float64), axis=1)
    known = np.isfinite(step)
    bad = np.where(step < -FLAT, 1.0, np.where(step <= FLAT, 0.5, 0.0)) * known
    count = known.sum(1)
    out = np.full(len(count), np.nan)
    return np.asarray(np.divide(bad.sum(1), count, out=out, where=count > 0))


def interaction(response: Floats) -> Vector:
    """Return what two groups do together beyond the sum of both: [S, A-1, B-1] of [S, A, B].

    R(a, b) - R(a, 0) - R(0, b) + R(0, 0), the interaction contrast of a two-way layout.
    """
    r = np.asarray(response, np.float64)
    return np.asarray(r[:, 1:, 1:] - r[:, 1:, :1] - r[:, :1, 1:] + r[:, :1, :1])


def interaction_error(response: Floats, truth: Floats) -> Vector:
    """Return the mean distance of the interactions of grids [S, A, B] from the truth's, [S].

    In levels of intensity; 0 is best. NaN where a grid has no complete contrast.
    """
    return _means(np.abs(interaction(response) - interaction(truth)))


def interaction_size(truth: Floats) -> Vector:
    """Return the error [S] of a face in which groups only add up, for grids [S, A, B]."""
    return _means(np.abs(interaction(truth)))


def _means(values: Vector) -> Vector:
    """Return the mean of each entry of the first axis over what is known, [S]."""
    return row_means(values.reshape(len(values), -1))


def agreement(found: Floats, intensities: Floats) -> Vector:
    """Return ICC(3,1) of estimated and commanded intensities of each AU, [K].

    Two-way mixed, consistency, single rater (Shrout and Fleiss, 1979): a constant offset costs
    nothing. NaN for an AU whose commanded intensity is unknown, or the same in all samples.

    Args:
        found: estimates [N, K], NaN where there is none.
        intensities: commanded [N, K], 0 to 5, NaN where unknown.
    """
    out = np.full(found.shape[1], np.nan)
    for k in range(found.shape[1]):
        known = np.isfinite(found[:, k]) & np.isfinite(intensities[:, k])
        x, y = found[known, k].astype(np.float64), intensities[known, k].astype(np.float64)
        if len(y) > 1 and np.ptp(y) > 0:
            out[k] = icc(x, y)
    return out


def distance(found: Floats, intensities: Floats) -> Vector:
    """Return the mean absolute error of each sample over its known AUs, [N] in 0..5.

    Args:
        found: estimates [N, K], NaN where there is none.
        intensities: commanded [N, K], 0 to 5, NaN where unknown.
    """
    return _means(np.abs(np.asarray(found, np.float64) - intensities))
