"""A protocol's leaderboard as a table: a column for each metric id, controls last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aubench.record import Record, ScoreRow
from aubench.report.pairs import Pairs
from aubench.report.table import Cell, Column, Row, Table, ranked
from aubench.report.tables import dagger
from aubench.report.terminal import DIGITS, HEADLINE, SCALE, TITLES

HIDDEN = "au_f1_"
"""Rows of single AUs; a record's page shows them."""


def columns_of(
    records: Sequence[Record], metrics: Iterable[str] | None = None
) -> list[tuple[str, str]]:
    """Return (metric, id) pairs that have a value; another id of a metric is another column.

    Args:
        records: of one protocol.
        metrics: in reading order; by default the headline ones, then all others.
    """
    rows = [row for record in records for row in record.scores if row.value is not None]
    names = dict.fromkeys(HEADLINE) | dict.fromkeys(
        row.metric for row in rows if not row.metric.startswith(HIDDEN)
    )
    found: dict[tuple[str, str], None] = {}
    for name in names if metrics is None else metrics:
        for row in rows:
            if row.metric == name:
                found[name, row.id] = None
    return list(found)


def board(
    name: str, records: Sequence[Record], pairs: Pairs, metrics: Iterable[str] | None = None
) -> Table:
    """Return the table of one protocol.

    Args:
        name: title.
        records: of one protocol and data set.
        pairs: paired differences, for ties.
        metrics: which; all by default.
    """
    columns, places = [], columns_of(records, metrics)
    for metric, id_ in places:
        row = next(r for record in records for r in record.scores if r.id == id_)
        title = TITLES.get(metric, metric).replace(" ×10³", "")
        unit = "×10³" if metric in SCALE else ""
        columns.append(
            Column(f"{metric}|{id_}", title, "measured", row.higher_is_better, unit,
                   row.informative)
        )  # fmt: skip
    rows = []
    for record in sorted(records, key=lambda r: (r.model.control, r.model.name)):
        cells = tuple(_cell(record, metric, id_) for metric, id_ in places)
        rows.append(Row(record.model.name, cells, "controls" if record.model.control else "",
                        record.model.name, record.model.control, dagger(record)))  # fmt: skip
    by_name = {record.model.name: record for record in records}
    unknown: set[str] = set()

    def tied(best: Row, row: Row, cell: Cell) -> bool | None:
        found = pairs.tie(cell.metric, by_name[best.key], by_name[row.key])
        if found is None and cell.interval is not None:
            unknown.add(row.key)
        return found

    table = ranked(Table(0, name, "model", tuple(columns), tuple(rows)), tied)
    if not unknown:
        return table
    text = f"Not compared in pairs with the best in every metric: {', '.join(sorted(unknown))}."
    return Table(0, name, "model", table.columns, table.rows, (text,))


def _cell(record: Record, metric: str, id_: str) -> Cell:
    score = record.score(metric)
    if score is None or score.value is None or score.id != id_:
        return Cell(metric=metric, source="measured")
    return cell_of(score)


def cell_of(score: ScoreRow) -> Cell:
    """Return the cell of one number, in the unit in which it is shown."""
    scale = SCALE.get(score.metric, 1.0)
    return Cell(
        value=None if score.value is None else score.value * scale,
        interval=None if score.ci is None else (score.ci[0] * scale, score.ci[1] * scale),
        metric=score.metric,
        id=score.id,
        unit="×10³" if scale != 1 else "",
        higher=score.higher_is_better,
        digits=DIGITS.get(score.metric, 3),
        n=score.n,
        source="measured",
    )
