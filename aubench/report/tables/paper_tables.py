"""The paper's six tables from reported values and from records."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from aubench.errors import AubenchError
from aubench.report.tables import measured_tables
from aubench.report.tables.boards import Boards
from aubench.report.tables.cells import shown_as
from aubench.report.tables.paper import Paper, PaperColumn, PaperRow, PaperTable, load_paper
from aubench.report.tables.table import EMPTY, Cell, Column, Row, Table, ranked

if TYPE_CHECKING:
    from aubench.metrics.metric import ScoreFacts

Which = Literal["reported", "measured", "both"]


def build(number: int, boards: Boards, which: Which = "both", paper: Paper | None = None) -> Table:
    """Return one of the paper's tables.

    Args:
        number: 1 to 6.
        boards: Boards where measured values come from.
        which: Reported values, measured ones, or each in columns of its own.
        paper: Reported values, the shipped ones by default.

    Raises:
        AubenchError: Nothing measured belongs to that table.
    """
    printed = (paper or load_paper()).of(number)
    parts: list[Table] = []
    if which != "measured":
        parts.append(reported(printed, (paper or load_paper()).source.note))
    if which != "reported":
        measured = measured_tables.BUILDERS[number](printed, boards)
        if measured is None and which == "measured":
            raise AubenchError(
                f"nothing measured for table {number} on {boards.dataset}",
                measured_tables.REMEDIES[number],
            )
        if number == 4 and measured and parts:
            parts[0] = measured_tables.on_wins(parts[0])  # one scale for both halves
        parts += [measured] if measured else []
    return parts[0] if len(parts) == 1 else side_by_side(*parts)


def reported(printed: PaperTable, note: str) -> Table:
    """Return a table of the paper as printed."""
    columns = tuple(
        Column(c.key, c.title, "reported", c.higher, _facts(c).multiple, informative=c.informative)
        for c in printed.columns
    )
    rows = tuple(
        Row(
            row.label,
            tuple(_reported(printed, row, c.key) for c in printed.columns),
            row.section,
            row.key,
            notes=(row.note,) if row.note else (),
        )
        for row in printed.rows
    )
    about = [f"Reported: as printed in the paper, {printed.place}"]
    if printed.data:
        about[0] += f"; data: {printed.data}" + (f", N = {printed.n:,}" if printed.n else "")
    if printed.n:
        about.append(note)
    general = (". ".join([*about, *printed.notes]).replace("..", "."),)
    table = Table(
        printed.number, printed.title, printed.corner, columns, rows, general, printed.across
    )
    return ranked(table)


def _facts(column: PaperColumn) -> ScoreFacts:
    """Return how a printed column is shown: in the scale of what is measured beside it."""
    return shown_as(column.metric or column.key)


def _reported(printed: PaperTable, row: PaperRow, key: str) -> Cell:
    column = next(c for c in printed.columns if c.key == key)
    metric = column.metric or (key if column.higher is not None else "")
    facts, value = _facts(column), row.values.get(key)
    return Cell(
        value=None if value is None else value * facts.scale,
        unit=facts.multiple,
        words=row.words.get(key, ""),
        metric=metric,
        id=f"{metric}|reported|table={printed.number}" if metric else "",
        higher=column.higher,
        digits=max(0, column.digits - facts.exponent),
        n=printed.n,
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
