"""Plackett-Luce worths: maximum likelihood by minorisation, many weightings at once."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def strict_orders(ranks: Floats) -> tuple[Ints, Floats]:
    """Return orders of models, best first, and their weights.

    A ranking with ties counts as all strict orders it admits, in equal parts.

    Args:
        ranks: float64 [models].

    Returns:
        int64 [orders, models] and float64 [orders] that sums to 1.
    """
    groups = [np.flatnonzero(ranks == value) for value in np.unique(ranks)]
    orders: list[tuple[int, ...]] = [()]
    for group in groups:
        orders = [head + tail for head in orders for tail in permutations(map(int, group))]
    return np.array(orders, np.int64), np.full(len(orders), 1 / len(orders))


def fit(orders: Ints, weights: Floats, tolerance: float = 1e-9, steps: int = 5000) -> Floats:
    """Return the worths that make the orders most likely.

    Source: D. R. Hunter, "MM algorithms for generalized Bradley-Terry models" (2004).

    Args:
        orders: int64 [U, k], each row a complete order, best first.
        weights: float64 [B, U], how often each order occurs, in B weightings.
        tolerance: Largest relative change of a worth at which it stops.
        steps: Largest number of steps.

    Returns:
        float64 [B, k]; each row sums to 1. A model that always comes last goes to 0.
    """
    batches, k = len(weights), orders.shape[1]
    wins = np.zeros((batches, k))
    for stage in range(k - 1):
        for model in range(k):
            wins[:, model] += weights[:, orders[:, stage] == model].sum(axis=1)
    # member[u, s, m]: model m is still to be placed at stage s of order u.
    place = np.argsort(orders, axis=1)
    member = (place[:, None, :] >= np.arange(k - 1)[None, :, None]).astype(np.float64)
    flat = member.reshape(-1, k)
    repeated = np.repeat(weights, k - 1, axis=1)
    worths = np.full((batches, k), 1 / k)
    for _ in range(steps):
        totals = np.maximum(worths @ flat.T, 1e-300)
        new = wins / np.maximum((repeated / totals) @ flat, 1e-300)
        new /= new.sum(axis=1, keepdims=True)
        change = np.abs(new - worths).max() / max(float(worths.max()), 1e-300)
        worths = new
        if change < tolerance:
            break
    return worths


def expected_scores(worths: Floats) -> Floats:
    """Return the expected AUCHS [..., k] of Plackett-Luce raters with these worths [..., k].

    A model's score is 1 plus the models it beats, and i beats j with probability w_i / (w_i + w_j).
    """
    first, second = worths[..., :, None], worths[..., None, :]
    beats = first / (first + second)
    return np.asarray(1 + beats.sum(axis=-1) - 0.5, np.float64)


def bradley_terry(wins: Floats, steps: int = 500) -> Floats:
    """Return the worths that make the outcomes of pairs most likely.

    Source: D. R. Hunter (2004). A model that never wins has worth 1e-12.

    Args:
        wins: float64 [B, k, k], how often the first beat the second.
        steps: Largest number of steps.

    Returns:
        float64 [B, k]; each row sums to 1.
    """
    k = wins.shape[1]
    met, won = wins + wins.transpose(0, 2, 1), wins.sum(axis=2)
    worths = np.full((len(wins), k), 1 / k)
    for _ in range(steps):
        below = (met / (worths[:, :, None] + worths[:, None, :])).sum(axis=2)
        new = np.maximum(won / np.maximum(below, 1e-300), 1e-12)
        new /= new.sum(axis=1, keepdims=True)
        if np.abs(new - worths).max() < 1e-9:
            break
        worths = new
    return np.asarray(new, np.float64)
