"""The terminal: how wide it is, whether it takes colours, and tables that fit it.

Where stdout is no terminal, lines are as long as they need to be, so that a pipe or a file gets a
row a line; `COLUMNS` sets a width in either case. `NO_COLOR` takes away colours and weights.
"""

from __future__ import annotations

import errno
import os
import sys
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aubench.plain_text import printable

WIDE = 10_000
GAP = 2
DASH = "—"
LEAST = 24
"""Columns that a column of prose keeps where a table has one."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let the command end it as it ends every other output."""
        raise BrokenPipeError(errno.EPIPE, "stdout is closed")


def console() -> Console:
    """Return the console of stdout."""
    plain = bool(os.environ.get("NO_COLOR"))
    free = not os.environ.get("COLUMNS") and not sys.stdout.isatty()
    return _Console(
        width=WIDE if free else None,
        color_system=None if plain else "auto",
        highlight=False,
        markup=False,
        emoji=False,
    )


@dataclass(frozen=True)
class Grid:
    """A table to be printed; the first column names the rows.

    Attributes:
        heads: One a column.
        rows: One cell a column each; a row of one cell alone is the title of a section.
        title: Printed above.
        left: Columns that are aligned on the left; the first one always is.
        prose: Columns that may be folded; all others, numbers above all, never are.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str | Text]]
    title: str = ""
    left: Collection[int] = field(default=())
    prose: Collection[int] = field(default=())


def print_grid(grid: Grid, where: Console | None = None) -> None:
    """Print a table; one that is too wide is split into several, by columns.

    No number is cut. In a table that is split, rows with nothing but dashes are left out.
    """
    out = where or console()
    grid = replace(
        grid,
        title=printable(grid.title),
        heads=[printable(head) for head in grid.heads],
        rows=[[_printable(cell) for cell in row] for row in grid.rows],
    )
    blocks = _blocks(grid, out.width)
    for number, columns in enumerate(blocks):
        rows = grid.rows if len(blocks) == 1 else _told(grid.rows, columns)
        title = grid.title if number == 0 else f"{grid.title}, continued".removeprefix(", ")
        if title:
            out.print(Text(title, style="italic"))
        _print(out, _drawn(grid, columns, rows, out.width))
        if number < len(blocks) - 1:
            out.print()


def _printable(cell: str | Text) -> str | Text:
    """Return a cell without control characters; styled text is our own but for its words."""
    if isinstance(cell, str):
        return printable(cell)
    return cell if printable(cell.plain) == cell.plain else Text(printable(cell.plain))


def _print(out: Console, table: Table) -> None:
    """Print a table; in a pipe or a file without the blanks that fill its last column."""
    if out.is_terminal:
        out.print(table, crop=False)
        return
    with out.capture() as caught:
        out.print(table, crop=False)
    lines = [line.rstrip() for line in caught.get().splitlines()]
    out.file.write("\n".join(lines) + "\n")


def _told(
    rows: Sequence[Sequence[str | Text]], columns: Sequence[int]
) -> list[Sequence[str | Text]]:
    """Return the rows that say something in these columns, and the sections that have some."""
    kept: list[Sequence[str | Text]] = []
    for row in rows:
        if len(row) == 1 and kept and len(kept[-1]) == 1:
            kept.pop()
        if len(row) == 1 or any(str(row[i]) != DASH for i in columns[1:]):
            kept.append(row)
    return kept[:-1] if kept and len(kept[-1]) == 1 else kept


def _widths(grid: Grid, column: int) -> tuple[int, int, int]:
    """Return the width of the longest cell, of the head's longest word, of the whole head."""
    cells = [cell_len(str(row[column])) for row in grid.rows if column < len(row)]
    words = [cell_len(word) for word in grid.heads[column].split()]
    return max(cells, default=0), max(words, default=0), cell_len(grid.heads[column])


def _least(grid: Grid, column: int) -> int:
    cell, word, _ = _widths(grid, column)
    return max(word, min(cell, LEAST) if column in grid.prose else cell)


def _blocks(grid: Grid, room: int) -> list[list[int]]:
    """Return the columns of each part; the first column is in every one."""
    blocks = [[0]]
    used = start = _least(grid, 0)
    for column in range(1, len(grid.heads)):
        width = GAP + _least(grid, column)
        if used + width > room and len(blocks[-1]) > 1:
            blocks.append([0])
            used = start
        blocks[-1].append(column)
        used += width
    return blocks


def _drawn(
    grid: Grid, columns: Sequence[int], rows: Sequence[Sequence[str | Text]], room: int
) -> Table:
    """Return a part of a table as rich draws it."""
    natural = sum(max(_widths(grid, i)[::2]) + GAP for i in columns) - GAP
    least = sum(_least(grid, i) + GAP for i in columns) - GAP
    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, GAP, 0, 0),
        width=least if least > room else None,
    )
    heads = [[grid.heads[i]] for i in columns]
    if natural > room:
        heads = [
            textwrap.wrap(grid.heads[i], _least(grid, i), break_long_words=False) for i in columns
        ]
    tall = max(map(len, heads))
    for i, lines in zip(columns, heads, strict=True):
        table.add_column(
            Text("\n".join([""] * (tall - len(lines)) + lines)),
            justify="left" if i == 0 or i in grid.left else "right",
            overflow="fold",
            no_wrap=i not in grid.prose,
            min_width=_least(grid, i),
        )
    for row in rows:
        if len(row) == 1:
            table.add_row(row[0], *([""] * (len(columns) - 1)))
        else:
            table.add_row(*(_cell(row[i]) for i in columns))
    return table


def _cell(value: str | Text) -> Text:
    return value if isinstance(value, Text) else Text(value)
