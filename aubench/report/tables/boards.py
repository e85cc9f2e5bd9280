"""All records of a data set, what was compared in pairs, and what their footnotes say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aubench.comparison.pairs import Pairs, read_pairs
from aubench.metrics.faces.target_likeness import alarming
from aubench.records.record import Record, read_record
from aubench.report.places import records as record_files
from aubench.report.places import roots
from aubench.report.tables.pool import by_digest
from aubench.study.analysis.results import RESULTS, StudyResults, read_results


@dataclass(frozen=True)
class Boards:
    """All records of a data set, by protocol and model, with what was compared in pairs.

    Records of another digest of a protocol stand under ``name@digest``.
    """

    dataset: str
    records: dict[str, dict[str, Record]]
    pairs: dict[str, Pairs]
    study: StudyResults | None = None

    def of(self, protocol: str) -> dict[str, Record]:
        """Return the records of a protocol by model name, none where there are none."""
        return self.records.get(protocol, {})


def read_boards(dataset: str, folder: Path | None = None, study: Path | None = None) -> Boards:
    """Read every record of a data set.

    Args:
        dataset: Name of the folder under the leaderboards.
        folder: Folder of the leaderboards, the usual ones by default.
        study: Results of a user study; by default ``auchs.json`` beside the protocols, if there.

    Raises:
        AubenchError: A record or the results cannot be read.
    """
    places = [root / dataset for root in roots(folder)]
    records = {
        title: {record.model.name: record for record in group}
        for name, paths in record_files(dataset, folder).items()
        for title, group in by_digest(name, map(read_record, paths.values())).items()
    } | {name: {} for name, paths in record_files(dataset, folder).items() if not paths}
    pairs = {
        title: Pairs(
            pair=[p for place in places for p in read_pairs(place / title.partition("@")[0]).pair]
        )
        for title in records
    }
    kept = [place / RESULTS for place in places if (place / RESULTS).is_file()]
    study = study or (kept[-1] if kept else None)
    results = read_results(study) if study else None
    return Boards(dataset, records, pairs, results)


def seen_in_training(record: Record, id_: str) -> list[str]:
    """Return the networks behind a metric id that the model has seen in training."""
    return [name for name in record.model.metrics_in_training if f"{name}@" in id_]


def dagger(record: Record) -> tuple[str, ...]:
    """Return the footnotes of a record: networks it has seen in training that also score it."""
    notes = []
    seen = {name: None for row in record.scores for name in seen_in_training(record, row.id)}
    if seen:
        verb = "score" if len(seen) > 1 else "scores"
        notes.append(f"Measured after training with {' and '.join(seen)}, which also {verb} it.")
    if record.counts.unsupported:
        notes.append(
            f"{record.counts.unsupported} of {record.counts.asked} samples ask for what the model "
            "is not made for and are left out."
        )
    if record.counts.failed:
        notes.append(f"{record.counts.failed} of {record.counts.asked} samples failed.")
    if not record.model.control:
        notes += [line for line in (looked_up(record), copied(record)) if line]
    return tuple(notes)


def looked_up(record: Record) -> str:
    """Return the remark on a model that was told sample ids, empty for others."""
    return "Was told sample ids: its images were found by them." if record.model.reads_ids else ""


def copied(record: Record) -> str:
    """Return the remark on images that are their targets, empty where there are hardly any."""
    counts = record.counts
    if not alarming(counts.like_targets, counts.generated):
        return ""
    return f"{counts.like_targets} of {counts.generated} images are their targets, or nearly."
