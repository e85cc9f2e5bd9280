"""AUCHS with intervals over raters and items: the crossed bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aubench.study.answers import Ranked
from aubench.study.worths import fit, strict_orders

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
    generator = np.random.default_rng(seed)
    by_rater = generator.multinomial(raters, np.full(raters, 1 / raters), size=count)
    names = np.array(combinations)
    by_item = np.zeros((count, len(names)))
    for name in dict.fromkeys(combinations):
        columns = np.flatnonzero(names == name)
        n = len(columns)
        by_item[:, columns] = generator.multinomial(n, np.full(n, 1 / n), size=count)
    return Draws(by_rater.astype(np.float64), by_item)


def weighted_means(scores: Floats, draws: Draws) -> Floats:
    """Return float64 [B, M], the mean score of each draw; NaN cells weigh nothing.

    Args:
        scores: float64 [R, I, M], an item's models all known or all NaN.
        draws: weights of raters and items.
    """
    known = np.asarray(~np.isnan(scores).any(axis=2), np.bool_)
    filled = np.where(known[..., None], scores, 0.0)
    inner = np.tensordot(draws.raters, filled, axes=(1, 0))  # [B, I, M]
    above = np.einsum("bim,bi->bm", inner, draws.items)
    weight = np.einsum("bi,bi->b", draws.raters @ known.astype(np.float64), draws.items)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(above / weight[:, None], np.float64)


def two_way_error(scores: Floats, combinations: Sequence[str]) -> tuple[Floats, Floats]:
    """Return standard error and degrees of freedom [M] of the mean of complete scores.

    Raters and items are random and crossed, items nested in fixed combinations of equal size:
    variance = (MS raters + MS items - MS residual) / (R I), and never less than the residual
    alone gives. Degrees of freedom by Satterthwaite.

    Args:
        scores: float64 [R, I, M] without NaN, R and items of a combination at least two.
        combinations: of each item.
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
    two-way standard error, the shape stays the bootstrap's. 1 where cells are missing, or where
    raters or items are too few to tell.

    Args:
        scores: float64 [R, I, M].
        combinations: of each item.
        replicates: float64 [B, M] means of the draws.
    """
    from scipy.stats import t

    ones = np.ones(scores.shape[2])
    sizes = {combinations.count(name) for name in combinations}
    if np.isnan(scores).any() or len(scores) < 2 or sizes == {1} or len(sizes) != 1:
        return ones
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
    scores, k = ranked.scores, len(ranked.models)
    drawn = draw(ranked.combinations, len(scores), draws, seed)
    replicates = weighted_means(scores, drawn)
    replicates = replicates[~np.isnan(replicates).any(axis=1)]
    value = np.nanmean(scores, axis=(0, 1))
    low, high = np.percentile(replicates, [2.5, 97.5], axis=0)
    factor = calibration(scores, ranked.combinations, replicates)
    return Estimate(
        value,
        np.clip(value + factor * (low - value), 1, k),
        np.clip(value + factor * (high - value), 1, k),
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
