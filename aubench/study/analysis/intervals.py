"""AUCHS with intervals over raters and items: the crossed bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aubench.metrics.statistics.resampling import draw_counts
from aubench.study.analysis.answers import Ranked
from aubench.study.analysis.plackett_luce import bradley_terry, fit, strict_orders

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Draws:
    """Weights of a crossed bootstrap; raters and items are drawn independently of each other.

    Attributes:
        raters: float64 [B, R], how often each rater was drawn.
        items: float64 [B, I], how often each item was; drawn within its combination.
    """

    raters: Floats
    items: Floats


def draw(combinations: Sequence[str], raters: int, count: int, seed: int) -> Draws:
    """Draw raters and, within each combination, items, with replacement."""
    names = np.array(combinations)
    by_item = np.zeros((count, len(names)))
    for turn, name in enumerate(dict.fromkeys(combinations), 1):
        columns = np.flatnonzero(names == name)
        by_item[:, columns] = draw_counts(len(columns), count, _seed(seed, turn))
    return Draws(draw_counts(raters, count, _seed(seed, 0)), by_item)


def _seed(seed: int, turn: int) -> int:
    """Return a seed for each kind of cluster, so that none are drawn alike."""
    return int(np.random.SeedSequence([seed, turn]).generate_state(1)[0])


def weighted_means(scores: Floats, draws: Draws) -> Floats:
    """Return float64 [B, M], the mean score of each draw; NaN cells weigh nothing.

    Args:
        scores: float64 [R, I, M], NaN unknown.
        draws: Weights of raters and items.
    """
    known = ~np.isnan(scores)
    if (known.all(axis=2) == known.any(axis=2)).all():  # whole rankings: one weight for all models
        known = known[..., :1]
    filled = np.where(known, scores, 0.0)
    above = _weigh(filled, draws)
    weight = _weigh(known.astype(np.float64), draws)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(above / weight, np.float64)


def _weigh(values: Floats, draws: Draws) -> Floats:
    inner = np.tensordot(draws.raters, values, axes=(1, 0))  # [B, I, M]
    return np.asarray(np.einsum("bim,bi->bm", inner, draws.items), np.float64)


def cluster_error(share: Floats, groups: int) -> tuple[float, float]:
    """Return standard error and degrees of freedom where raters saw different items or models.

    Each judgement's share in the estimate is summed by rater, by item and alone; the variance is
    that of raters plus that of items less that of single judgements, and never less than the
    larger of the first two. Source: A. C. Cameron, J. B. Gelbach, D. L. Miller (2011).

    Args:
        share: float64 [R, I], deviations of judgements by their weight; 0 where there is none.
        groups: Combinations in which the items are nested.
    """
    raters, items = (int(share.any(axis=axis).sum()) for axis in (1, 0))
    free = max(items - groups, 1)
    by_rater = (share.sum(axis=1) ** 2).sum() * raters / max(raters - 1, 1)
    by_item = (share.sum(axis=0) ** 2).sum() * items / free
    variance = max(by_rater + by_item - (share**2).sum(), by_rater, by_item)
    return float(np.sqrt(variance)), float(max(min(raters - 1, free), 1))


def shares(scores: Floats, combinations: Sequence[str]) -> tuple[float, Floats]:
    """Return the mean over combinations of known scores [R, I], and each one's deviation in it."""
    names = np.array(combinations)
    groups = list(dict.fromkeys(combinations))
    out, value = np.zeros(scores.shape), 0.0
    for name in groups:
        columns = np.flatnonzero(names == name)
        part = scores[:, columns]
        known = ~np.isnan(part)
        if not known.any():
            return float("nan"), out
        mean = float(part[known].mean())
        value += mean / len(groups)
        out[:, columns] = np.where(known, part - mean, 0.0) / known.sum() / len(groups)
    return value, out


def two_way_error(scores: Floats, combinations: Sequence[str]) -> tuple[Floats, Floats]:
    """Return standard error and degrees of freedom [M] of the mean of complete scores.

    Raters and items are random and crossed, items nested in fixed combinations of equal size:
    variance = (MS raters + MS items - MS residual) / (R I), and never less than the residual
    alone gives. Degrees of freedom by Satterthwaite.

    Args:
        scores: float64 [R, I, M] without NaN, R and items of a combination at least two.
        combinations: Combinations of each item.
    """
    raters, items, models = scores.shape
    names = np.array(combinations)
    groups = [np.flatnonzero(names == name) for name in dict.fromkeys(combinations)]
    by_rater = scores.mean(axis=1)
    ms_rater = items * ((by_rater - by_rater.mean(axis=0)) ** 2).sum(axis=0) / (raters - 1)
    ss_item, ss_rest = np.zeros(models), np.zeros(models)
    for group in groups:
        part = scores[:, group]
        middle, of_item = part.mean(axis=(0, 1)), part.mean(axis=0)
        of_rater = part.mean(axis=1)
        ss_item += raters * ((of_item - middle) ** 2).sum(axis=0)
        rest = part - of_rater[:, None] - of_item[None] + middle
        ss_rest += (rest**2).sum(axis=(0, 1))
    df_item, df_rater = items - len(groups), raters - 1
    df_rest = df_item * df_rater
    ms_item, ms_rest = ss_item / df_item, ss_rest / df_rest
    whole = ms_rater + ms_item - ms_rest
    parts = ms_rater**2 / df_rater + ms_item**2 / df_item + ms_rest**2 / df_rest
    with np.errstate(invalid="ignore", divide="ignore"):
        df = np.where(whole > ms_rest, whole**2 / parts, float(df_rest))
    error = np.sqrt(np.maximum(whole, ms_rest) / (raters * items))
    return error, np.maximum(np.nan_to_num(df, nan=float(df_rest)), 1.0)


def calibration(scores: Floats, combinations: Sequence[str], replicates: Floats) -> Floats:
    """Return factors [M] by which the deviations of a crossed bootstrap are stretched.

    Drawing both ways counts the residual up to three times, and a handful of items shows too
    little of their variance. The factor brings the spread of the draws to Student's t times the
    two-way standard error, the shape stays the bootstrap's; where cells are missing the error is
    that of clusters both ways. 1 where raters or items are too few to tell.

    Args:
        scores: float64 [R, I, M].
        combinations: Combinations of each item.
        replicates: float64 [B, M] means of the draws.
    """
    from scipy.stats import t

    ones = np.ones(scores.shape[2])
    sizes = {combinations.count(name) for name in combinations}
    if len(scores) < 2 or sizes == {1} or len(sizes) != 1:
        return ones
    if np.isnan(scores).any():
        groups = len(set(combinations))
        found = [
            cluster_error(shares(scores[..., model], combinations)[1], groups)
            for model in range(scores.shape[2])
        ]
        error, df = (np.array(column) for column in zip(*found, strict=True))
    else:
        error, df = two_way_error(scores, combinations)
    spread = replicates.std(axis=0) * 1.959964
    return np.where(spread > 0, t.ppf(0.975, df) * error / np.where(spread > 0, spread, 1), ones)


@dataclass(frozen=True)
class Estimate:
    """Values and 95 % intervals by model, float64 [M] each."""

    value: Floats
    low: Floats
    high: Floats


def auchs(ranked: Ranked, draws: int = 2000, seed: int = 0) -> Estimate:
    """Return the mean score by model with 95 % intervals over raters and items.

    Every combination has the same number of items, so this is the mean over combinations too.
    """
    scores = ranked.scores
    drawn = draw(ranked.combinations, len(scores), draws, seed)
    replicates = weighted_means(scores, drawn)
    replicates = replicates[~np.isnan(replicates).any(axis=1)]
    value = np.nanmean(scores, axis=(0, 1))
    low, high = np.percentile(replicates, [2.5, 97.5], axis=0)
    factor = calibration(scores, ranked.combinations, replicates)
    return Estimate(
        value,
        np.clip(value + factor * (low - value), ranked.low, ranked.best),
        np.clip(value + factor * (high - value), ranked.low, ranked.best),
    )


def worths(ranked: Ranked, draws: int = 500, seed: int = 0) -> Estimate:
    """Return Plackett-Luce worths with 95 % intervals over raters and items, on the log scale."""
    cells = [
        (rater, item)
        for rater in range(len(ranked.raters))
        for item in range(len(ranked.items))
        if not np.isnan(ranked.ranks[rater, item]).any()
    ]
    orders, owner, share = [], [], []
    for number, (rater, item) in enumerate(cells):
        strict, weight = strict_orders(ranked.ranks[rater, item])
        orders.append(strict)
        owner += [number] * len(strict)
        share.append(weight)
    distinct, column = np.unique(np.concatenate(orders), axis=0, return_inverse=True)
    drawn = draw(ranked.combinations, len(ranked.raters), draws, seed)
    rows, columns = np.array(cells).T
    of_cell = drawn.raters[:, rows] * drawn.items[:, columns]
    of_order = np.concatenate([np.ones((1, len(cells))), of_cell])[:, owner] * np.concatenate(share)
    weights = np.zeros((len(of_order), len(distinct)))
    np.add.at(weights.T, column.ravel(), of_order.T)
    value = fit(distinct, weights[:1])[0]
    replicates = np.log(np.maximum(fit(distinct, weights[1:], 1e-6, 300), 1e-12))
    scores = ranked.scores
    factor = calibration(scores, ranked.combinations, weighted_means(scores, drawn))
    centre = np.log(np.maximum(value, 1e-12))
    low, high = np.percentile(replicates, [2.5, 97.5], axis=0)
    bounds = [np.exp(np.minimum(centre + factor * (edge - centre), 0.0)) for edge in (low, high)]
    return Estimate(value, bounds[0], bounds[1])


def pair_worths(ranked: Ranked, wins: Floats, draws: int = 500, seed: int = 0) -> Estimate:
    """Return Bradley-Terry worths of pairs with 95 % intervals over raters and items.

    Args:
        ranked: The judgements.
        wins: float64 [R, I, M, M], how often the first beat the second.
        draws: Number of draws.
        seed: Seed of the draws.
    """
    drawn = draw(ranked.combinations, len(ranked.raters), draws, seed)
    flat = wins.reshape(*wins.shape[:2], -1)
    shape = (-1, *wins.shape[2:])
    value = bradley_terry(wins.sum(axis=(0, 1))[None])[0]
    replicates = np.log(bradley_terry(_weigh(flat, drawn).reshape(shape)))
    scores = ranked.scores
    factor = calibration(scores, ranked.combinations, weighted_means(scores, drawn))
    centre = np.log(value)
    low, high = np.percentile(replicates, [2.5, 97.5], axis=0)
    bounds = [np.exp(np.minimum(centre + factor * (edge - centre), 0.0)) for edge in (low, high)]
    return Estimate(value, bounds[0], bounds[1])
