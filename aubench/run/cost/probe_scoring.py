"""How scoring grows: the real scorers on features of a probe, repeated with noise."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aubench.metrics import registry
from aubench.run.cost.cost_curves import Curve
from aubench.stage_times import Spent

if TYPE_CHECKING:
    from aubench.metrics.evaluation_data import EvaluationData
    from aubench.metrics.metric import Metric

MOST = 1000
"""Largest number of images whose scoring is tried."""


@dataclass(frozen=True)
class ScoreCurves:
    """What scoring costs by group of metrics, and the memory of all of them together."""

    seconds: dict[str, Curve]
    processor: dict[str, Curve]
    memory: Curve


def score_curves(
    measured: EvaluationData,
    metrics: Sequence[str],
    count: int,
    observed: Callable[[int, Callable[[], object]], tuple[Spent, object]],
    sheet: Callable[[], object] | None = None,
) -> ScoreCurves:
    """Return what scoring costs at growing numbers of images, up to ``count``."""
    top = max(64, min(count, MOST))
    sizes = [top // 8, top // 4, top // 2, top]
    seen: dict[str, list[Spent]] = {}
    _score(enlarged(measured, sizes[0]), metrics, sheet)  # warms up
    for n in sizes:
        whole = enlarged(measured, n)
        for name, call in _scorers(whole, metrics, sheet).items():
            seen.setdefault(name, []).append(observed(n, call)[0])
    numbers = tuple(map(float, sizes))
    return ScoreCurves(
        {name: Curve(numbers, tuple(s.seconds for s in spent)) for name, spent in seen.items()},
        {
            name: Curve(numbers, tuple(s.processor_seconds for s in spent))
            for name, spent in seen.items()
        },
        _memory_curve(measured, metrics, sizes),
    )


def _scorers(
    data: EvaluationData, metrics: Sequence[str], sheet: Callable[[], object] | None
) -> dict[str, Callable[[], object]]:
    chosen = registry.chosen(metrics)
    calls: dict[str, Callable[[], object]] = {}
    for metric in chosen:
        others = [other for other in chosen if other is not metric]
        calls[metric.name] = partial(_scored, metric, data, others)
    if sheet is not None:
        calls["contact sheet"] = sheet
    return calls


def _scored(metric: Metric, data: EvaluationData, others: Sequence[Metric]) -> None:
    metric.score(data)
    metric.strata(data)
    metric.groups(data, others)


def _score(
    data: EvaluationData, metrics: Sequence[str], sheet: Callable[[], object] | None
) -> None:
    for call in _scorers(data, metrics, sheet).values():
        call()


def _memory_curve(measured: EvaluationData, metrics: Sequence[str], sizes: Sequence[int]) -> Curve:
    values = []
    for n in sizes:
        tracemalloc.start()
        try:
            _score(enlarged(measured, n), metrics, None)
            values.append(float(tracemalloc.get_traced_memory()[1]))
        finally:
            tracemalloc.stop()
    return Curve(tuple(map(float, sizes)), tuple(values))


def enlarged(data: EvaluationData, n: int) -> EvaluationData:
    """Return measurements of ``n`` images that repeat those given, with a little noise."""
    rows = np.arange(n) % len(data.generated_rows)
    draw = np.random.default_rng(n)

    def noisy(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        taken: npt.NDArray[Any] = array[rows]
        if array.ndim < 2 or array.shape[1] <= data.labels.shape[1]:
            return taken  # probabilities stay what they are
        spread = 0.05 * (float(array.std()) or 1.0)
        noise = draw.standard_normal(taken.shape, dtype=np.float32)
        return np.asarray(taken + noise * np.float32(spread))

    def grown(table: dict[str, Any]) -> dict[str, Any]:
        return {
            net: {name: noisy(a) for name, a in arrays.items()} for net, arrays in table.items()
        }

    def listed(values: Sequence[str]) -> list[str]:
        return [values[int(i)] for i in rows]

    references = data.references
    return replace(
        data,
        generated=grown(data.generated),
        targets=grown(data.targets),
        generated_rows=np.arange(n),
        labels=data.labels[rows],
        target_au_probabilities=data.target_au_probabilities[rows],
        subjects=listed(data.subjects),
        strata=listed(data.strata),
        pairs={name: values[rows] for name, values in data.pairs.items()},
        references=None if references is None else replace(references, rows=references.rows[rows]),
        attributes={name: listed(values) for name, values in data.attributes.items()},
    )
