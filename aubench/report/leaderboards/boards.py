"""A protocol's leaderboard as a table: a column for each metric id, controls last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from aubench.comparison.pairs import Pairs
from aubench.metrics.action_units.au_scores import PER_AU
from aubench.metrics.registry import headline
from aubench.protocols.sealed_draws import drawn_from
from aubench.records.record import Record
from aubench.report.tables.boards import dagger, seen_in_training
from aubench.report.tables.cells import cell_of, column_of, shown_as
from aubench.report.tables.table import Cell, Column, Row, Table, ranked


def columns_of(
    records: Sequence[Record], metrics: Iterable[str] | None = None
) -> list[tuple[str, str]]:
    """Return (metric, id) pairs that have a value; another id of a metric is another column.

    Args:
        records: Records of one protocol.
        metrics: Metrics in reading order; by default the headline ones, then all others.
    """
    rows = [row for record in records for row in record.scores if row.value is not None]
    names = dict.fromkeys(headline()) | dict.fromkeys(
        row.metric for row in rows if not row.metric.startswith(PER_AU)
    )
    found: dict[tuple[str, str], None] = {}
    for name in names if metrics is None else metrics:
        for row in rows:
            if row.metric == name:
                found[name, row.id] = None
    return list(found)


def board(
    name: str,
    records: Sequence[Record],
    pairs: Pairs,
    metrics: Iterable[str] | None = None,
    fresh: Sequence[Record] = (),
) -> Table:
    """Return the table of one protocol.

    Args:
        name: Title.
        records: Records of one protocol and data set.
        pairs: Paired differences, for ties.
        metrics: Metrics to list; all by default.
        fresh: Records of fresh draws of the protocol, for a column of their own.
    """
    columns, places = [], columns_of(records, metrics)
    for metric, id_ in places:
        row = next(r for record in records for r in record.scores if r.id == id_)
        columns.append(column_of(f"{metric}|{id_}", row))
    leading = _unmeasured(places, metrics)
    columns = [*leading, *columns]
    rows = []
    for record in sorted(records, key=lambda r: (r.model.control, r.model.name)):
        dashes = (Cell(source="measured") for _ in leading)
        cells = (*dashes, *(_cell(record, metric, id_) for metric, id_ in places))
        rows.append(
            Row(
                record.model.name,
                cells,
                "controls" if record.model.control else "",
                record.model.name,
                record.model.control,
                dagger(record),
            )
        )
    by_name = {record.model.name: record for record in records}
    unknown: set[str] = set()

    def tied(best: Row, row: Row, cell: Cell) -> bool | None:
        found = pairs.tie(cell.metric, by_name[best.key], by_name[row.key])
        if found is None and cell.interval is not None:
            unknown.add(row.key)
        return found

    table = ranked(Table(0, name, "model", tuple(columns), tuple(rows)), tied)
    if fresh:
        table = _with_fresh(table, records, fresh)
    if not unknown:
        return table
    text = f"Not compared in pairs with the best in every metric: {', '.join(sorted(unknown))}."
    return replace(table, general=(text,))


def fresh_of(protocol: str, found: Mapping[str, Iterable[Record]]) -> list[Record]:
    """Return the records of fresh draws of a protocol among those of a data set."""
    return [
        record
        for name, records in found.items()
        if drawn_from(name.partition("@")[0]) == protocol
        for record in records
    ]


def _with_fresh(table: Table, records: Sequence[Record], fresh: Sequence[Record]) -> Table:
    """Return the table with the score that leads on a fresh draw, and how ranks change there.

    Of several draws the newest counts. Models that are on both are ranked, controls are not.
    """
    name = headline()[0]
    facts, newest = (
        shown_as(name),
        {r.model.name: r for r in sorted(fresh, key=lambda r: r.created)},
    )
    draws = sorted({record.protocol.name for record in newest.values()})
    sides = [
        {
            record.model.name: score.value
            for record in side
            if (score := record.score(name)) is not None and score.value is not None
        }
        for side in (records, newest.values())
    ]
    models = [
        record.model.name
        for record in records
        if not record.model.control and all(record.model.name in side for side in sides)
    ]
    places = [sorted(models, key=lambda m: side[m], reverse=True) for side in sides]
    cells = {}
    for row in table.rows:
        value = sides[1].get(row.key)
        if value is None:
            cells[row.key] = Cell(source="measured")
            continue
        text = facts.text(value)
        if row.key in models:
            before, after = (place.index(row.key) + 1 for place in places)
            text += f" (rank {before} → {after})"
        cells[row.key] = Cell(words=text, source="measured")
    note = f"{facts.title} on {', '.join(draws)}, whose subjects and samples were sealed."
    column = Column("fresh|", "fresh", "measured", notes=(note,))
    rows = tuple(replace(row, cells=(*row.cells, cells[row.key])) for row in table.rows)
    return replace(table, columns=(*table.columns, column), rows=rows)


UNMEASURED = "These records were made before it was measured; run the models again."


def _unmeasured(places: Sequence[tuple[str, str]], metrics: Iterable[str] | None) -> list[Column]:
    """Return the column of the score that leads, where no record holds it."""
    name = headline()[0]
    if any(metric == name for metric, _ in places) or name not in (metrics or headline()):
        return []
    facts = shown_as(name)
    notes = (UNMEASURED,)
    return [Column(f"{name}|", facts.label, "measured", facts.higher_is_better, notes=notes)]


def _cell(record: Record, metric: str, id_: str) -> Cell:
    score = record.score(metric)
    if score is None or score.value is None or score.id != id_:
        return Cell(metric=metric, source="measured")
    cell, seen = cell_of(score), seen_in_training(record, id_)
    if not seen:
        return cell
    note = f"The model was trained with {', '.join(seen)}, which this score asks."
    return replace(cell, notes=(*cell.notes, note))
