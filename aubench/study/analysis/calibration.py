"""``aubench study calibrate``: which automatic scores say what raters say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError
from aubench.metrics.statistics.resampling import recentred
from aubench.storage.files import write_text
from aubench.study.analysis.answers import Ranked
from aubench.study.analysis.intervals import draw
from aubench.study.analysis.terminal import grid, number

Floats = npt.NDArray[np.float64]
CALIBRATION = "calibration.json"


@dataclass(frozen=True)
class Level:
    """Agreement at one level.

    Attributes:
        plain: Pearson correlation with the raters' mean.
        corrected: The same divided by the square root of the raters' reliability.
        low, high: 95 % interval of ``corrected``, over raters and items; None: too few.
    """

    plain: float | None
    corrected: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Calibrated:
    """One automatic score against raters.

    Attributes:
        name: Metric.
        sample: Faces of one prompt, each compared with the others of that prompt.
        system: Means of models; three models at least.
    """

    name: str
    sample: Level
    system: Level


@dataclass(frozen=True)
class Reliability:
    """Share of the raters' means that is no noise, of single faces and of models."""

    sample: float
    system: float


def _centred(values: Floats) -> Floats:
    """Return values [I, M] less the mean of their item."""
    return np.asarray(values - values.mean(axis=1, keepdims=True), np.float64)


def reliability(scores: Floats) -> Reliability:
    """Return how reliable the means over raters are, by the spread of raters.

    Args:
        scores: float64 [R, I, M], NaN unknown.
    """
    count = (~np.isnan(scores)).sum(axis=0)
    noise = np.nanvar(scores, axis=0, ddof=1) / np.maximum(count, 1)
    means = _centred(np.nanmean(scores, axis=0))
    models = means.mean(axis=0)
    by_rater = np.nanmean(scores, axis=1)
    between = float(models.var(ddof=1))
    error = float((np.nanvar(by_rater, axis=0, ddof=1) / len(by_rater)).mean())
    whole = float((means**2).mean())
    sample = 1 - float(np.nanmean(noise)) / whole if whole > 0 else 0.0
    system = 1 - error / between if between > 0 else 0.0
    return Reliability(float(np.clip(sample, 0, 1)), float(np.clip(system, 0, 1)))


def _correlation(x: Floats, y: Floats, weight: Floats) -> float:
    x, y = x - np.average(x, weights=weight), y - np.average(y, weights=weight)
    below = np.sqrt((weight * x**2).sum() * (weight * y**2).sum())
    return float((weight * x * y).sum() / below) if below > 0 else float("nan")


def _both(scores: Floats, values: Floats, raters: Floats, items: Floats) -> tuple[float, float]:
    """Return the correlations of single faces and of models, raters and items weighted."""
    known = ~np.isnan(scores)
    weight = raters[:, None, None] * known
    count = weight.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (weight * np.where(known, scores, 0.0)).sum(axis=0) / count
    whole = np.isfinite(mean).all(axis=1) & (items > 0)
    x, y, by = _centred(values[whole]), _centred(mean[whole]), items[whole]
    if len(x) < 2:
        return float("nan"), float("nan")
    sample = _correlation(x.ravel(), y.ravel(), np.repeat(by, x.shape[1]))
    if x.shape[1] < 3:
        return sample, float("nan")
    value, score = (np.average(part, axis=0, weights=by) for part in (x, y))
    return sample, _correlation(value, score, np.ones(x.shape[1]))


def calibrate(
    ranked: Ranked, values: Mapping[str, Floats], draws: int = 500, seed: int = 0
) -> tuple[list[Calibrated], Reliability]:
    """Return the agreement of each automatic score with the raters, the nearest first.

    Args:
        ranked: Judgements after exclusion.
        values: Values by metric, float64 [items, models], higher is better, NaN unknown.
        draws: Draws of raters and items.
        seed: Seed of the draws.
    """
    scores = ranked.scores
    sure = reliability(scores)
    ones = np.ones(len(ranked.raters)), np.ones(len(ranked.items))
    drawn = draw(ranked.combinations, len(ranked.raters), draws, seed)
    found = []
    for name, whole in values.items():
        rows = np.isfinite(whole).all(axis=1)
        if rows.sum() < 2:
            continue
        part, kept = scores[:, rows], whole[rows]
        value = _both(part, kept, ones[0], ones[1][rows])
        replicates = np.array(
            [
                _both(part, kept, raters, items[rows])
                for raters, items in zip(drawn.raters, drawn.items, strict=True)
            ]
        )
        levels = [
            _level(value[i], replicates[:, i], share)
            for i, share in enumerate((sure.sample, sure.system))
        ]
        found.append(Calibrated(name, *levels))
    return sorted(found, key=lambda one: -(one.sample.corrected or -2.0)), sure


def _level(value: float, replicates: Floats, share: float) -> Level:
    if not np.isfinite(value):
        return Level(None, None)
    if share <= 0:
        return Level(value, None)
    root = float(np.sqrt(share))
    # Raters who are drawn twice bring their noise twice, which lowers every draw.
    span = recentred(replicates / root, value / root)
    low, high = (None, None) if span is None else span
    return Level(value, value / root, low, high)


def by_item(
    ranked: Ranked, per_model: Mapping[str, Mapping[str, Mapping[str, float]]]
) -> dict[str, Floats]:
    """Return values as arrays [items, models], of metrics that every model has.

    Args:
        ranked: Judgements, which name items and models.
        per_model: Values by model, metric and sample, higher is better.

    Raises:
        AubenchError: No metric is known of all models.
    """
    names = set.intersection(*(set(per_model[model]) for model in ranked.models))
    if not names:
        raise AubenchError("no metric has values of every model", "measure all runs alike")
    return {
        name: np.array(
            [
                [per_model[model][name].get(item, np.nan) for model in ranked.models]
                for item in ranked.items
            ]
        )
        for name in sorted(names)
    }


def write(found: list[Calibrated], sure: Reliability, path: Path) -> None:
    """Write the table as JSON."""
    data = {"reliability": asdict(sure), "metrics": [asdict(one) for one in found]}
    write_text(path, json.dumps(data, indent=1) + "\n")


def text(found: list[Calibrated], sure: Reliability) -> str:
    """Return the table."""
    rows = [["", "faces: r", "corrected", "95 %", "models: r", "corrected", "95 %"]]
    for one in found:
        row = [one.name]
        for level in (one.sample, one.system):
            span = "—" if level.low is None else f"[{level.low:.2f}, {level.high:.2f}]"
            row += [number(level.plain, 2), number(level.corrected, 2), span]
        rows.append(row)
    return "\n".join(
        [
            *grid(rows),
            f"reliability of the raters' means: faces {sure.sample:.2f}, models {sure.system:.2f}; "
            "corrected: r divided by its square root",
        ]
    )
