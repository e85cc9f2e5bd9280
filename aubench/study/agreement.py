"""How far raters agree, and whether models differ: Kendall, Krippendorff, Friedman, Nemenyi."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import stats

from aubench.study.results import Friedman

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
    if len(table) < 2 or len(np.unique(table[~np.isnan(table)])) < 2:
        return None
    return float(krippendorff.alpha(reliability_data=table, level_of_measurement="ordinal"))


def critical_difference(models: int, blocks: int, level: float = 0.05) -> float:
    """Return Nemenyi's critical difference of mean ranks (Demsar, 2006)."""
    quantile = stats.studentized_range.ppf(1 - level, models, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(models * (models + 1) / (6 * blocks)))


def friedman(block_scores: Floats, models: tuple[str, ...]) -> Friedman:
    """Test whether models differ, with raters as blocks.

    Args:
        block_scores: float64 [raters, models], mean score of each rater, higher is better.
        models: names of the columns.
    """
    blocks, k = block_scores.shape
    ranks = stats.rankdata(-block_scores, axis=1)
    means = ranks.mean(axis=0)
    ties = sum(_ties(row) for row in ranks)
    scale = 1 - ties / (blocks * (k**3 - k))
    raw = 12 * blocks / (k * (k + 1)) * float(((means - (k + 1) / 2) ** 2).sum())
    statistic = raw / scale if scale > 0 else None
    limit = 0.0 if statistic is None else blocks * (k - 1) - statistic
    f = None if statistic is None or limit < 1e-9 else (blocks - 1) * statistic / limit
    error = np.sqrt(k * (k + 1) / (6 * blocks))
    pairs = {}
    for a, b in combinations(range(k), 2):
        distance = abs(means[a] - means[b]) / error * np.sqrt(2)
        pairs[f"{models[a]}|{models[b]}"] = float(stats.studentized_range.sf(distance, k, np.inf))
    return Friedman(
        blocks=blocks, statistic=statistic,
        p=None if statistic is None else float(stats.chi2.sf(statistic, k - 1)),
        iman_davenport=f,
        iman_davenport_p=None if f is None
        else float(stats.f.sf(f, k - 1, (k - 1) * (blocks - 1))),
        mean_ranks=dict(zip(models, map(float, means), strict=True)),
        critical_difference=critical_difference(k, blocks), nemenyi=pairs,
    )  # fmt: skip
