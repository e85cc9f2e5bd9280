"""The table model: cells that know value, interval, unit, direction, metric id and footnotes.

Builders fill it, renderers only draw it. What is best is decided here, among values of one metric
id and one source; controls are yardsticks and never ranked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

Source = Literal["reported", "measured", ""]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


PLACES = {1: "¹", 2: "²"}
"""Marks of the best and the second, where no weight can be shown, as in a file."""


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        value: Number in the unit of the cell, None where there is none.
        interval: 95 % interval in the same unit.
        words: Shown in place of a number.
        metric: Metric, such as ``fid``; ``id`` says how it was measured.
        unit: Unit, such as ``10⁻³``, empty for plain numbers.
        higher: Whether more is better; None where nothing is.
        digits: Decimals to show.
        n: Number of samples, None where not said.
        source: Who states it.
        notes: Footnotes of this cell.
        rank: 1 best, 2 second, 0 other.
        tied: The paired difference to the best has an interval that holds zero.
    """

    value: float | None = None
    interval: tuple[float, float] | None = None
    words: str = ""
    metric: str = ""
    id: str = ""
    unit: str = ""
    higher: bool | None = None
    digits: int = 3
    n: int | None = None
    source: Source = ""
    notes: tuple[str, ...] = ()
    rank: int = 0
    tied: bool = False


EMPTY = Cell()


@dataclass(frozen=True)
class Column:
    """A column: one metric from one source.

    Attributes:
        key: Key of the metric or method within its source.
        title: Title without unit, arrow or mark.
        informative: False marks a metric that tells nothing on faces.
    """

    key: str
    title: str
    source: Source = ""
    higher: bool | None = None
    unit: str = ""
    informative: bool = True
    notes: tuple[str, ...] = ()

    @property
    def arrow(self) -> str:
        """Return the direction as an arrow, empty where there is none."""
        return {True: "↑", False: "↓", None: ""}[self.higher]


@dataclass(frozen=True)
class Row:
    """A row; ``control`` rows are never ranked, ``key`` names the record behind it."""

    label: str
    cells: tuple[Cell, ...]
    section: str = ""
    key: str = ""
    control: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table with its caption and the notes that hold for all of it."""

    number: int
    title: str
    corner: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    general: tuple[str, ...] = ()
    across: bool = False
    label: str = field(default="")

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(
                    f"row '{row.label}': {len(row.cells)} cells of {len(self.columns)}"
                )
            for cell, column in zip(row.cells, self.columns, strict=True):
                if cell.source != column.source and cell != EMPTY:
                    raise ValueError(f"row '{row.label}': {cell.source} cell under {column.source}")

    def notes(self) -> dict[str, str]:
        """Return the mark of each footnote, in reading order."""
        seen: dict[str, str] = {}
        for text in self._texts():
            if text not in seen:
                seen[text] = _mark(len(seen))
        return seen

    def _texts(self) -> Iterator[str]:
        for column in self.columns:
            yield from column.notes
        for row in self.rows:
            yield from row.notes
            for cell in row.cells:
                yield from cell.notes

    def sections(self) -> Iterator[tuple[str, list[Row]]]:
        """Yield runs of rows of one section, in order."""
        start = 0
        for i in range(1, len(self.rows) + 1):
            if i == len(self.rows) or self.rows[i].section != self.rows[start].section:
                yield self.rows[start].section, list(self.rows[start:i])
                start = i


def _mark(index: int) -> str:
    name = LETTERS[index % 26]
    return name if index < 26 else LETTERS[index // 26 - 1] + name


Tied = Callable[[Row, Row, Cell], bool | None]
"""Given the best row, another row and the other's cell: a tie, no tie, or unknown."""


def ranked(table: Table, tied: Tied | None = None) -> Table:
    """Return the table with best, second and ties marked.

    Args:
        table: Table as built.
        tied: Decides ties by paired differences; without it none is marked.
    """
    cells = [list(row.cells) for row in table.rows]
    for group in _groups(table):
        order = _order(group, cells)
        if len(group) < 2:
            continue
        for rank, places in enumerate(order[:2], 1):
            for i, j in places:
                cells[i][j] = replace(cells[i][j], rank=rank)
        best = order[0][0]
        for i, j in (place for places in order[1:] for place in places):
            if tied and tied(table.rows[best[0]], table.rows[i], cells[i][j]):
                cells[i][j] = replace(cells[i][j], tied=True)
    rows = [replace(row, cells=tuple(new)) for row, new in zip(table.rows, cells, strict=True)]
    return replace(table, rows=tuple(rows))


Place = tuple[int, int]


def _groups(table: Table) -> list[list[Place]]:
    """Return places whose values may be compared: one line, one source, one metric id."""
    found: dict[tuple[object, ...], list[Place]] = {}
    for i, row in enumerate(table.rows):
        for j, (cell, column) in enumerate(zip(row.cells, table.columns, strict=True)):
            if cell.value is None or cell.higher is None or row.control or not column.informative:
                continue
            line = i if table.across else j
            found.setdefault((line, cell.source, cell.id), []).append((i, j))
    return list(found.values())


def _order(places: Sequence[Place], cells: list[list[Cell]]) -> list[list[Place]]:
    """Return the places from best to worst; values equal as printed share a rank."""
    by_value: dict[float, list[Place]] = {}
    for i, j in places:
        cell = cells[i][j]
        assert cell.value is not None
        by_value.setdefault(round(cell.value, cell.digits), []).append((i, j))
    higher = cells[places[0][0]][places[0][1]].higher
    return [by_value[value] for value in sorted(by_value, reverse=bool(higher))]


def number(value: float, digits: int) -> str:
    """Return a number with fixed decimals and thousands apart, without the sign of a zero."""
    text = f"{value:,.{digits}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text


def marks(table: Table, notes: Sequence[str]) -> str:
    """Return the footnote marks of some notes, ``a,c``."""
    known = table.notes()
    return ",".join(known[note] for note in notes)
