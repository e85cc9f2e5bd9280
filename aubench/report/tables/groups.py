"""Scores of groups of subjects in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aubench.metrics.registry import heading
from aubench.records.record import Record
from aubench.report.tables.terminal import format_score

if TYPE_CHECKING:
    from aubench.console import Grid

DIFFERS = "differs"


def groups_grid(record: Record) -> Grid:
    """Return the scores by group, a row a metric; a star marks what differs from the others."""
    from aubench.console import Grid

    metrics = dict.fromkeys(row.metric for rows in record.groups.values() for row in rows)
    table = []
    for metric in metrics:
        cells = [heading(metric)]
        for rows in record.groups.values():
            row = next((r for r in rows if r.metric == metric), None)
            mark = "*" if row is not None and row.note.startswith(DIFFERS) else ""
            cells.append(format_score(row, interval=False) + mark)
        table.append(cells)
    heads = ("metric", *record.groups)
    return Grid(heads, table, "by subject", left=range(len(heads)))


def print_groups(record: Record) -> None:
    """Print the scores of the groups of subjects, if the run has them."""
    from aubench.console import console, print_grid

    if not record.groups:
        return
    out = console()
    print_grid(groups_grid(record), out)
    out.print(
        "* differs from all other subjects, p < 0.05 after Holm's adjustment for every "
        "comparison of the run; intervals are in record.json"
    )
