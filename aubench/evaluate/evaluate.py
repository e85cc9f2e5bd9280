"""Images to scores: what the metrics need is measured once, then each metric is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aubench.evaluate.collect import Evaluation, collect_evaluation_data
from aubench.metrics.contact_sheet import write_grid
from aubench.metrics.evaluation_data import EvaluationData
from aubench.metrics.metric import Metric
from aubench.records.record import ScoreRow
from aubench.stage_times import Meter

GRID = "grid.png"
SHOWN = 16
"""Samples on the sheet."""

Families = dict[str, list[ScoreRow]]


@dataclass(frozen=True)
class Scored:
    """Scores of a run and what measured them.

    Attributes:
        rows: Of the record.
        subsets: By stratum of the protocol.
        groups: By group of subjects.
        networks: Id and digest of each network.
        target_source: What AAAD compared with.
        artefacts: Files written beside the record.
        unsure_texts: Texts that the classifier could not read, None where it read none.
        like_targets: Images that are their targets, or nearly.
    """

    rows: list[ScoreRow]
    subsets: Families
    groups: Families
    networks: dict[str, str]
    target_source: str
    artefacts: list[Path]
    unsure_texts: int | None = None
    like_targets: int | None = None


def score(evaluation: Evaluation, meter: Meter | None = None) -> Scored:
    """Measure what the metrics need, once, and compute them.

    Writes ``grid.png`` and the artefacts of the metrics into the run folder.

    Raises:
        AubenchError: Too few images, or an unknown metric.
    """
    meter = meter or Meter(None)
    with meter.stage("measure"):
        data = collect_evaluation_data(evaluation)
    with meter.stage("score"):
        meter.count(len(data.generated_rows))
        rows, subsets, groups = scores_of(data, evaluation.chosen)
        folder = evaluation.folder.path
        artefacts = [write_sheet(data, folder / GRID, evaluation.model)]
        for metric in evaluation.chosen:
            artefacts += metric.artefacts(data, folder)
    digests = {name: tag for name, tag in data.network_ids.items() if tag}
    if data.extractor:
        digests["extractor"] = data.extractor
    counted = data.unsure_texts, data.like_targets
    return Scored(rows, subsets, groups, digests, data.target_source, artefacts, *counted)


def scores_of(
    data: EvaluationData, metrics: Sequence[Metric]
) -> tuple[list[ScoreRow], Families, Families]:
    """Return the rows of a record, those of its strata and those of groups of subjects.

    A metric that gives none of them gets rows without a value: what was asked for never vanishes.
    """
    rows: list[ScoreRow] = []
    subsets: Families = {}
    groups: Families = {}
    for metric in metrics:
        own, parts = metric.score(data), metric.strata(data)
        split = metric.groups(data, [other for other in metrics if other is not metric])
        if not (own or parts or split):
            own = metric.without_value(data, "it gave no score of these samples")
        rows += [_with_reference(row, data) for row in own]
        for families, found in ((subsets, parts), (groups, split)):
            for name, more in found.items():
                kept = [_with_reference(row, data) for row in more]
                families.setdefault(name, []).extend(kept)
    return rows, subsets, groups


def _with_reference(row: ScoreRow, data: EvaluationData) -> ScoreRow:
    """Return a row whose id names the samples by the digest of their protocol.

    A row that only says why there is no value names nothing.
    """
    if row.is_void or f"ref={data.reference_set}" in row.id:
        return row
    return row.model_copy(update={"id": f"{row.id}|ref={data.reference_set}"})


def write_sheet(data: EvaluationData, path: Path, model: str) -> Path:
    """Write samples evenly spread over the run: reference, target, generated; return the file.

    Under each stand the commanded AUs and, where detectors have looked, those detected.
    """
    assert data.faces is not None
    kept, judge = data.generated_rows, data.independent_detector
    rows = kept[np.linspace(0, len(kept) - 1, min(SHOWN, len(kept))).astype(int)]
    pictures = [
        (data.faces.reference(i), data.faces.target(i), data.faces.generated(i))
        for i in map(int, rows)
    ]
    title = f"{model}, {data.reference_set}"
    detected = None
    if judge in data.generated:
        detected = list(data.detected(judge)[rows])
        title += f", detected by {judge}"
    write_grid(path, pictures, list(data.labels[rows]), detected, title)
    return path
