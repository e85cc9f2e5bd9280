"""How scoring grows: the real scorers on features of a probe, repeated with noise."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aubench.engine.cost_curves import Curve
from aubench.engine.costs import Spent

if TYPE_CHECKING:
    from aubench.engine.measured import Measured

MOST = 1000
"""Largest number of images whose scoring is tried."""


@dataclass(frozen=True)
class ScoreCurves:
    """What scoring costs by group of metrics, and the memory of all of them together."""

    seconds: dict[str, Curve]
    processor: dict[str, Curve]
    memory: Curve


def score_curves(
    measured: Measured,
    metrics: Sequence[str],
    count: int,
    observed: Callable[[int, Callable[[], object]], tuple[Spent, object]],
    sheet: Callable[[], None] | None = None,
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
        {name: Curve(numbers, tuple(s.processor_seconds for s in spent))
         for name, spent in seen.items()},
        _memory_curve(measured, metrics, sizes),
    )  # fmt: skip


def _scorers(
    m: Measured, metrics: Sequence[str], sheet: Callable[[], None] | None
) -> dict[str, Callable[[], object]]:
    from aubench.engine.scores_groups import group_scores
    from aubench.engine.scoring import SCORERS, subset_scores

    calls: dict[str, Callable[[], object]] = {
        name: partial(SCORERS[name], m) for name in metrics if name in SCORERS
    }
    calls["strata"] = partial(subset_scores, m, metrics)
    if "groups" in metrics:
        calls["groups"] = partial(group_scores, m, metrics)
    if sheet is not None and {"aaad", "au"}.intersection(metrics):
        calls["contact sheet"] = sheet
    return calls


def _score(m: Measured, metrics: Sequence[str], sheet: Callable[[], None] | None) -> None:
    for call in _scorers(m, metrics, sheet).values():
        call()


def _memory_curve(measured: Measured, metrics: Sequence[str], sizes: Sequence[int]) -> Curve:
    values = []
    for n in sizes:
        tracemalloc.start()
        try:
            _score(enlarged(measured, n), metrics, None)
            values.append(float(tracemalloc.get_traced_memory()[1]))
        finally:
            tracemalloc.stop()
    return Curve(tuple(map(float, sizes)), tuple(values))


def enlarged(m: Measured, n: int) -> Measured:
    """Return measurements of ``n`` images that repeat those given, with a little noise."""
    rows = np.arange(n) % len(m.kept)
    draw = np.random.default_rng(n)

    def noisy(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        taken: npt.NDArray[Any] = array[rows]
        if array.ndim < 2 or array.shape[1] <= m.labels.shape[1]:
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

    references = m.references
    return replace(
        m,
        generated=grown(m.generated),
        targets=grown(m.targets),
        kept=np.arange(n),
        labels=m.labels[rows],
        wanted=m.wanted[rows],
        subjects=listed(m.subjects),
        strata=listed(m.strata),
        pairs=replace(m.pairs, values={name: v[rows] for name, v in m.pairs.values.items()}),
        references=None if references is None else replace(references, rows=references.rows[rows]),
        attributes={name: listed(values) for name, values in m.attributes.items()},
    )
