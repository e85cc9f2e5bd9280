"""What the viewer shows of one or several runs of the same samples."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aubench.comparison.comparison import check
from aubench.comparison.runs import Run
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.metrics import registry
from aubench.metrics.evaluation_data import EvaluationData
from aubench.report.viewer.contours import CONTOURS

if TYPE_CHECKING:
    from aubench.metrics.metric import ScoreFacts

LANDMARKER = "mp-face"
SUB_PIXELS = 16
"""Points are kept as whole numbers of this part of a pixel."""
Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Contents:
    """What the page is made of; N samples.

    Attributes:
        runs: The runs, of the same samples.
        rows: Rows of the samples that are shown, int64 [N].
        document: What the page reads: names, texts, scores, readings and points.
    """

    runs: Sequence[Run]
    rows: npt.NDArray[np.int64]
    document: dict[str, Any]


def contents(runs: Sequence[Run], limit: int | None = None) -> Contents:
    """Gather what is known of the samples of runs.

    Args:
        runs: Finished runs of the same samples; each is a model of the page.
        limit: Show so many samples, spread evenly over the protocol.

    Raises:
        AubenchError: The runs are not of the same samples, two are of one model, or what was
            measured is missing.
    """
    names = [run.name for run in runs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise AubenchError(f"two of the runs are of model '{twice}'", "give one of each")
    for other in runs[1:]:
        check(runs[0], other)
    count = len(runs[0].ids)
    shown = min(limit or count, count)
    rows = np.unique(np.linspace(0, count - 1, shown).round().astype(np.int64))
    data = [run.evaluation_data(run.metrics()) for run in runs]
    readers = _shared_readers(data)
    document = _about(runs[0]) | {
        "models": [_model(run, one, rows) for run, one in zip(runs, data, strict=True)],
        "samples": _samples(runs[0], rows),
        "readers": _readers(data[0], readers),
        "readings": {
            name: {
                "targets": _bytes(data[0].targets[name]["probabilities"][rows]),
                "models": [_bytes(one.probabilities(name)[rows]) for one in data],
            }
            for name in readers
        },
        "scores": _scores(runs, data, rows),
        "points": _points(data, rows),
        "contours": CONTOURS,
        "subPixels": SUB_PIXELS,
    }
    return Contents(runs, rows, document)


def _about(run: Run) -> dict[str, Any]:
    from aubench.datasets import restricted

    protocol = run.protocol
    return {
        "dataset": protocol.dataset,
        "protocol": protocol.name,
        "version": run.record.protocol.version,
        "sha256": protocol.sha256[:12],
        "size": run.record.protocol.size,
        "of": len(run.ids),
        "restricted": restricted(protocol.dataset),
        "aus": list(AUS),
    }


def _model(run: Run, data: EvaluationData, rows: npt.NDArray[np.int64]) -> dict[str, Any]:
    made = np.isin(rows, data.generated_rows)
    told = run.folder.failures | run.folder.unsupported
    reasons = {
        str(i): told.get(run.ids[row], "no image") for i, row in enumerate(rows) if not made[i]
    }
    return {
        "name": run.name,
        "control": run.record.model.control,
        "seenInTraining": list(run.record.model.metrics_in_training),
        "missing": reasons,
    }


def _samples(run: Run, rows: npt.NDArray[np.int64]) -> dict[str, Any]:
    frame = run.samples.frame.iloc[rows]
    levels = run.samples.intensities()[rows]
    labels = run.samples.labels()[rows]
    references = list(dict.fromkeys(str(key) for key in frame["reference"]))
    at = {key: i for i, key in enumerate(references)}
    return {
        "id": [str(one) for one in frame["sample_id"]],
        "subject": [str(one) for one in frame["subject"]],
        "combination": [str(one) for one in frame["combination"]],
        "stratum": [str(one) for one in frame["strata"]],
        "text": [str(one) for one in frame["text"]],
        "reference": [at[str(key)] for key in frame["reference"]],
        "references": len(references),
        "labels": ["".join(map(str, row)) for row in labels],
        "levels": [[None if np.isnan(v) else round(float(v), 2) for v in row] for row in levels],
    }


def _shared_readers(data: Sequence[EvaluationData]) -> list[str]:
    """Return the readers of AUs that have looked at the faces of all runs."""
    found = [name for name in data[0].readers().values() if name in data[0].targets]
    return [name for name in found if all(name in one.generated for one in data)]


def _readers(data: EvaluationData, shared: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "role": role,
            "family": data.families.get(name, ""),
            "knows": [bool(known) for known in data.knows(name)],
            "thresholds": [round(float(t), 3) for t in data.thresholds[name]],
        }
        for role, name in data.readers().items()
        if name in shared
    ]


def _bytes(probabilities: Floats) -> str:
    """Return probabilities [N, 12] as base64 of uint8, 255 for 1."""
    values = np.clip(np.nan_to_num(probabilities), 0, 1) * 255
    return base64.b64encode(values.round().astype(np.uint8).tobytes()).decode()


def _scores(
    runs: Sequence[Run], data: Sequence[EvaluationData], rows: npt.NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Return the scores that have a value a sample in all runs, in the order of the tables."""
    shared = set.intersection(*(set(run.metrics()) for run in runs))
    out = []
    for metric in registry.installed():
        if metric.name not in shared:
            continue
        found = [metric.per_sample(one) for one in data]
        for name in found[0]:
            facts = metric.scores.get(name)
            if facts is None or facts.whole_set or any(name not in one for one in found):
                continue
            out.append(_score(name, facts, [one[name][rows] for one in found]))
    return out


def _score(name: str, facts: ScoreFacts, values: Sequence[Floats]) -> dict[str, Any]:
    return {
        "name": name,
        "title": facts.heading,
        "higher": facts.higher_is_better,
        "digits": facts.digits,
        "models": [
            [None if not np.isfinite(v) else round(float(v * facts.scale), 6) for v in one]
            for one in values
        ],
    }


def _points(data: Sequence[EvaluationData], rows: npt.NDArray[np.int64]) -> dict[str, Any] | None:
    """Return the contours' points of reference, target and generated faces, where measured."""
    if any(LANDMARKER not in one.generated or one.reference_arrays is None for one in data):
        return None
    first = data[0]
    assert first.reference_arrays is not None
    kept = sorted({point for line in CONTOURS.values() for point in line})
    made = []
    for one in data:
        points = one.generated[LANDMARKER]["points"]
        whole = np.full((len(one), *points.shape[1:]), np.nan, np.float32)
        whole[one.generated_rows] = points
        made.append(_coordinates(whole[rows][:, kept]))
    seen = first.reference_arrays.of_samples(LANDMARKER)["points"]
    return {
        "kept": kept,
        "reference": _coordinates(seen[rows][:, kept]),
        "targets": _coordinates(first.targets[LANDMARKER]["points"][rows][:, kept]),
        "models": made,
    }


def _coordinates(points: Floats) -> str:
    """Return x and y of points [N, P, 3] in pixels as base64 of int16; the least for none."""
    least = np.iinfo(np.int16).min
    values = np.where(np.isfinite(points), points * SUB_PIXELS, least)[..., :2]
    whole = np.clip(values.round(), least, -least - 1).astype("<i2")
    return base64.b64encode(whole.tobytes()).decode()
