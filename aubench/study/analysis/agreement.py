"""How far raters agree, and whether models differ: Kendall, Krippendorff, Friedman."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from aubench.study.analysis.results import Blocks, Friedman

Floats = npt.NDArray[np.float64]


def kendall_w(ranks: Floats) -> float | None:
    """Return Kendall's coefficient of concordance, corrected for ties.

    Args:
        ranks: float64 [judges, objects], mean ranks for ties; at least two of each.

    Returns:
        0 (no agreement) to 1; None where a single judge or object is left, or all is tied.
    """
    judges, objects = ranks.shape
    if judges < 2 or objects < 2:
        return None
    sums = ranks.sum(axis=0)
    spread = float(((sums - sums.mean()) ** 2).sum())
    ties = sum(_ties(row) for row in ranks)
    whole = judges**2 * (objects**3 - objects) - judges * ties
    return 12 * spread / whole if whole > 0 else None


def _ties(row: Floats) -> float:
    _, counts = np.unique(row, return_counts=True)
    return float((counts.astype(np.float64) ** 3 - counts).sum())


def mean_w(ranks: Floats) -> float | None:
    """Return the mean over items of Kendall's W, of ranks [raters, items, models], NaN missing."""
    values = []
    for item in range(ranks.shape[1]):
        rows = ranks[~np.isnan(ranks[:, item]).any(axis=1), item]
        values.append(kendall_w(rows))
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def alpha(ranks: Floats) -> float | None:
    """Return Krippendorff's alpha (ordinal) of ranks [raters, items, models], NaN missing.

    Raters are coders; each image of each item is a unit.
    """
    import krippendorff

    table = ranks.reshape(len(ranks), -1)
    table = table[:, (~np.isnan(table)).sum(axis=0) > 1]  # what one rater alone saw tells nothing
    if len(np.unique(table[~np.isnan(table)])) < 2:
        return None
    return float(krippendorff.alpha(reliability_data=table, level_of_measurement="ordinal"))


def friedman(scores: Floats) -> Friedman:
    """Test whether models differ: raters as blocks, and items as blocks, the larger p counts.

    Raters judge the same items. With raters alone as blocks, what is particular to these items
    counts as a difference of models, and true null hypotheses are rejected many times too often.

    Args:
        scores: float64 [R, I, M], higher is better.
    """
    by_rater = _blocks("rater", np.nanmean(scores, axis=1))
    by_item = _blocks("item", np.nanmean(scores, axis=0))
    known = by_rater.p is not None and by_item.p is not None
    return Friedman(
        by_rater=by_rater,
        by_item=by_item,
        p=max(by_rater.p or 0.0, by_item.p or 0.0) if known else None,
    )


def _blocks(unit: Literal["rater", "item"], means: Floats) -> Blocks:
    """Test with blocks [B, M]; rows with a missing model are left out."""
    rows = means[~np.isnan(means).any(axis=1)]
    blocks, k = rows.shape
    if blocks < 2:
        return Blocks(unit=unit, blocks=blocks, statistic=None, p=None)
    ranks = stats.rankdata(-rows, axis=1)
    ties = sum(_ties(row) for row in ranks)
    scale = 1 - ties / (blocks * (k**3 - k))
    raw = 12 * blocks / (k * (k + 1)) * float(((ranks.mean(axis=0) - (k + 1) / 2) ** 2).sum())
    statistic = raw / scale if scale > 0 else None
    p = None if statistic is None else float(stats.chi2.sf(statistic, k - 1))
    return Blocks(unit=unit, blocks=blocks, statistic=statistic, p=p)
