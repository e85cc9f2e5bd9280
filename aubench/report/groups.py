"""Scores of groups of subjects in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aubench.record import Record
from aubench.report.terminal import TITLES, format_score

if TYPE_CHECKING:
    from rich.table import Table

DIFFERS = "differs"


def groups_table(record: Record) -> Table:
    """Return the scores by group, a row a metric; a star marks what differs from the others."""
    from rich.table import Table

    names = list(record.groups)
    table = Table(title="by subject", box=None, title_justify="left", pad_edge=False)
    for column in ("metric", *names):
        table.add_column(column, overflow="fold", justify="left")
    metrics = dict.fromkeys(row.metric for rows in record.groups.values() for row in rows)
    for metric in metrics:
        cells = []
        for name in names:
            row = next((r for r in record.groups[name] if r.metric == metric), None)
            mark = "*" if row is not None and row.note.startswith(DIFFERS) else ""
            cells.append(format_score(row, interval=False) + mark)
        table.add_row(TITLES.get(metric, metric), *cells)
    return table


def print_groups(record: Record) -> None:
    """Print the scores of the groups of subjects, if the run has them."""
    from rich.console import Console

    if not record.groups:
        return
    console = Console()
    console.print(groups_table(record), markup=False)
    console.print(
        "* differs from all other subjects, p < 0.05 after Holm's adjustment for every "
        "comparison of the run; intervals are in record.json",
        markup=False,
    )
