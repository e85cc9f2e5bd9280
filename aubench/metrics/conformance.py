"""What a metric has to keep to; the tests of a scaffolded package call this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.metrics.evaluation_data import Arrays, EvaluationData
from aubench.metrics.metric import Metric, PairBatch
from aubench.metrics.registry import metric
from aubench.records.record import ScoreRow

SAMPLES, SIDE = 24, 64


def check_metric(name: str) -> list[str]:
    """Check an installed metric on plausible measurements; return the names of its scores.

    The samples are of eight subjects; the generator is taken to have failed on two of them.

    Args:
        name: Of its entry point.

    Raises:
        AubenchError: It is not installed, or says what is wrong with its rows.
    """
    found = metric(name)
    whole = _measurements(found)
    for data in (whole, _with_failures(whole)):
        rows = found.score(data)
        _check_rows(found, rows)
        if rows != found.score(replace(data)):
            raise AubenchError(f"metric '{name}' gives other scores of equal data")
        for score, values in found.per_sample(data).items():
            if score not in found.scores or np.shape(values) != (len(data),):
                raise AubenchError(
                    f"metric '{name}' gives '{score}' of {np.shape(values)} samples, not "
                    f"({len(data)},)"
                )
    return list(found.scores)


def _check_rows(found: Metric, rows: list[ScoreRow]) -> None:
    if not rows:
        raise AubenchError(f"metric '{found.name}' gives no row", "give one with the reason")
    for row in rows:
        where = f"metric '{found.name}', score '{row.metric}'"
        if row.metric not in found.scores:
            raise AubenchError(f"{where}: it is not among its scores")
        if row.value is None and not row.note:
            raise AubenchError(f"{where}: neither a value nor a reason")
        if row.value is not None and row.ci and not row.ci[0] <= row.ci[1]:
            raise AubenchError(f"{where}: the interval {row.ci} is no interval")


def _with_failures(data: EvaluationData) -> EvaluationData:
    """Return the same where the generator failed on the first two samples."""
    generated = {
        network: {name: array[2:] for name, array in arrays.items()}
        for network, arrays in data.generated.items()
    }
    pairs = {name: values[2:] for name, values in data.pairs.items()}
    return replace(data, generated=generated, pairs=pairs, generated_rows=data.generated_rows[2:])


def _measurements(found: Metric) -> EvaluationData:
    """Return features, probabilities and the metric's own values on pairs of random images."""
    draw = np.random.default_rng(5)
    labels = (draw.random((SAMPLES, len(AUS))) < 0.4).astype(np.uint8)
    images = draw.integers(0, 256, (3, SAMPLES, SIDE, SIDE, 3)).astype(np.uint8)
    step = found.pair_step(SIDE, "cpu")
    pairs: Arrays = {}
    if step is not None:
        pairs = step.compute(PairBatch(images[0], images[1], images[2], labels))

    def side() -> dict[str, Arrays]:
        seen: Mapping[str, tuple[int, ...]] = {"features": (SAMPLES, 16), "logits": (SAMPLES, 5)}
        return {
            "net": {name: draw.normal(size=shape) for name, shape in seen.items()},
            "nano-a": {"probabilities": draw.random((SAMPLES, len(AUS)))},
            "nano-b": {"probabilities": draw.random((SAMPLES, len(AUS)))},
        }

    return EvaluationData(
        generated=side(),
        targets=side(),
        generated_rows=np.arange(SAMPLES),
        labels=labels,
        target_au_probabilities=labels.astype(np.float32),
        subjects=[f"S{i % 8}" for i in range(SAMPLES)],
        thresholds=dict.fromkeys(("nano-a", "nano-b"), np.full(len(AUS), 0.5, np.float32)),
        pairs=pairs,
        reference_set="made-up",
        extractor="net|clean",
        network_ids={name: f"{name}@0 0" for name in ("net", "nano-a", "nano-b")},
        target_source="labels",
        strata=["all"] * SAMPLES,
        unavailable=dict.fromkeys(
            ("identity", "legibility", "memorisation", "lookalikes"), "not among these data"
        ),
    )
