"""The paper's six tables from reported values and from records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from aubench.errors import AubenchError
from aubench.record import Record, ScoreRow, read_record
from aubench.report.pairs import Pairs, read_pairs
from aubench.report.paper import Paper, PaperRow, PaperTable, load_paper
from aubench.report.places import records as record_files
from aubench.report.places import roots
from aubench.report.table import EMPTY, Cell, Column, Row, Table, ranked
from aubench.study.results import RESULTS, StudyResults, read_results

Which = Literal["reported", "measured", "both"]
METRICS = ("fid", "kid", "is", "lpips", "aaad", "aaad_second")
TITLES = {"fid": "FID", "kid": "KID", "is": "IS", "lpips": "LPIPS", "aaad": "AAAD",
          "aaad_second": "AAAD, 2nd detector"}  # fmt: skip
DIGITS = {"fid": 2, "kid": 4}
MODEL = "vqauface"
WHOLE = "vqauface-anatomical-all"
"""The whole model as trained beside its ablations; where there is none, the shipped one."""
LABELS = "vqauface-labels"
"""The variant of VQ-AUFace that reads labels, Table 5."""


@dataclass(frozen=True)
class Boards:
    """All records of a data set, by protocol and model, with what was compared in pairs."""

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
        dataset: name of the folder under the leaderboards.
        folder: of the leaderboards, the usual ones by default.
        study: results of a user study; by default ``auchs.json`` beside the protocols, if there.

    Raises:
        AubenchError: a record or the results cannot be read.
    """
    places = [root / dataset for root in roots(folder)]
    records = {
        name: {record.model.name: record for record in map(read_record, paths.values())}
        for name, paths in record_files(dataset, folder).items()
    }
    pairs = {
        name: Pairs(pair=[pair for place in places for pair in read_pairs(place / name).pair])
        for name in records
    }
    kept = [place / RESULTS for place in places if (place / RESULTS).is_file()]
    study = study or (kept[-1] if kept else None)
    results = read_results(study) if study else None
    return Boards(dataset, records, pairs, results)


def build(number: int, boards: Boards, which: Which = "both", paper: Paper | None = None) -> Table:
    """Return one of the paper's tables.

    Args:
        number: 1 to 6.
        boards: where measured values come from.
        which: reported values, measured ones, or each in columns of its own.
        paper: reported values, the shipped ones by default.

    Raises:
        AubenchError: nothing measured belongs to that table.
    """
    told = (paper or load_paper()).of(number)
    parts: list[Table] = []
    if which != "measured":
        parts.append(reported(told, (paper or load_paper()).source.note))
    if which != "reported":
        from aubench.report import measured_tables

        measured = measured_tables.BUILDERS[number](told, boards)
        if measured is None and which == "measured":
            raise AubenchError(
                f"nothing measured for table {number} on {boards.dataset}",
                measured_tables.REMEDIES[number],
            )
        parts += [measured] if measured else []
    return parts[0] if len(parts) == 1 else side_by_side(*parts)


def reported(told: PaperTable, note: str) -> Table:
    """Return a table of the paper as printed."""
    columns = tuple(
        Column(c.key, c.title, "reported", c.higher, informative=c.informative)
        for c in told.columns
    )
    rows = tuple(
        Row(row.label, tuple(_reported(told, row, c.key) for c in told.columns), row.section,
            row.key, notes=(row.note,) if row.note else ())
        for row in told.rows
    )  # fmt: skip
    about = [f"Reported: as printed in the paper, {told.place}"]
    if told.data:
        about[0] += f"; data: {told.data}" + (f", N = {told.n:,}" if told.n else "")
    if told.n:
        about.append(note)
    general = (". ".join([*about, *told.notes]).replace("..", "."),)
    table = Table(told.number, told.title, told.corner, columns, rows, general, told.across)
    return ranked(table)


def _reported(told: PaperTable, row: PaperRow, key: str) -> Cell:
    column = next(c for c in told.columns if c.key == key)
    metric = column.metric or (key if column.higher is not None else "")
    return Cell(
        value=row.values.get(key),
        words=row.words.get(key, ""),
        metric=metric,
        id=f"{metric}|reported|table={told.number}" if metric else "",
        higher=column.higher,
        digits=column.digits,
        n=told.n,
        source="reported",
        notes=(row.missing[key],) if key in row.missing else (),
    )


def side_by_side(left: Table, right: Table) -> Table:
    """Join two tables by row key; rows of one alone follow, with the other's cells empty."""
    other = {row.key: row for row in right.rows}
    rows = []
    for row in left.rows:
        twin = other.pop(row.key, None)
        cells = twin.cells if twin else (EMPTY,) * len(right.columns)
        notes = row.notes + tuple(n for n in (twin.notes if twin else ()) if n not in row.notes)
        rows.append(replace(row, cells=row.cells + cells, notes=notes))
    for row in right.rows:
        if row.key in other:
            rows.append(replace(row, cells=(EMPTY,) * len(left.columns) + row.cells))
    return replace(
        left,
        columns=left.columns + right.columns,
        rows=tuple(rows),
        general=left.general + right.general,
    )


def measured_cell(score: ScoreRow | None, name: str) -> Cell:
    """Return the cell of a score; a dash with its reason where it could not be measured."""
    digits = DIGITS.get(name, 3)
    if score is None:
        return Cell(source="measured", metric=name, digits=digits)
    return Cell(
        value=score.value,
        interval=score.ci,
        metric=name,
        id=score.id,
        higher=score.higher_is_better,
        digits=digits,
        n=score.n,
        source="measured",
        notes=(score.note,) if score.value is None and score.note else (),
    )


def measured_columns(rows: Sequence[Row], metrics: Sequence[str]) -> tuple[Column, ...]:
    """Return the columns of metrics, with direction."""
    found = []
    for j, name in enumerate(metrics):
        higher = next((r.cells[j].higher for r in rows if r.cells[j].higher is not None), None)
        found.append(
            Column(name, TITLES.get(name, name), "measured", higher, informative=name != "is")
        )
    return tuple(found)


def with_id_notes(rows: Sequence[Row]) -> tuple[tuple[Row, ...], list[str]]:
    """Mark cells whose metric id differs from the most frequent one of their column's models.

    Returns:
        The rows, and the usual id of each column (empty where nothing was measured).
    """
    usual = []
    cells = [list(row.cells) for row in rows]
    for j in range(len(cells[0]) if cells else 0):
        measured = [(row, row.cells[j].id) for row in rows if row.cells[j].value is not None]
        ids = Counter(i for row, i in measured if not row.control) or Counter(
            i for _, i in measured
        )
        usual.append(ids.most_common(1)[0][0] if ids else "")
        for line in cells:
            if line[j].value is not None and line[j].id != usual[j]:
                note = f"Another metric id, not to be compared: {line[j].id}"
                line[j] = replace(line[j], notes=(*line[j].notes, note))
    return tuple(replace(r, cells=tuple(c)) for r, c in zip(rows, cells, strict=True)), usual


def dagger(record: Record) -> tuple[str, ...]:
    """Return the footnotes of a record: networks it has seen in training that also score it."""
    notes = []
    if record.model.metrics_in_training:
        seen = ", ".join(record.model.metrics_in_training)
        notes.append(f"Measured after training with {seen}, which also scores it.")
    if record.counts.unsupported:
        notes.append(
            f"{record.counts.unsupported} of {record.counts.asked} samples ask for what the model "
            "is not made for and are left out."
        )
    if record.counts.failed:
        notes.append(f"{record.counts.failed} of {record.counts.asked} samples failed.")
    return tuple(notes)
