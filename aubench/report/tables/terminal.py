"""Records as tables in the terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from aubench.errors import AubenchError, suggest
from aubench.metrics.action_units.au_scores import PER_AU
from aubench.metrics.registry import heading, headline
from aubench.plain_text import printable
from aubench.records.record import Record, ScoreRow
from aubench.report.tables.boards import copied, seen_in_training
from aubench.report.tables.cells import disagreeing, shown_as
from aubench.report.tables.table import PLACES

if TYPE_CHECKING:
    from aubench.console import Grid


def format_score(row: ScoreRow | None, *, interval: bool = True) -> str:
    """Return a number with its interval, or a dash where it was not measured."""
    if row is None or row.value is None:
        return "—"
    facts = shown_as(row.metric)
    text = facts.text(row.value)
    if interval and row.ci is not None:
        low, high = facts.clipped(row.ci)
        text += f" [{facts.text(low)}, {facts.text(high)}]"
    return text + (APART if disagreeing(row) else "")


def _title(row: ScoreRow) -> str:
    mark = "" if row.informative else "*"
    return f"{heading(row.metric)} {arrow_of(row)}{mark}"


def arrow_of(row: ScoreRow) -> str:
    """Return the direction of a score, or what it should come to."""
    return replace(shown_as(row.metric), higher_is_better=row.higher_is_better).arrow


LEADING = "au_skill"
APART = " ≠"
DISAGREEMENT = "≠ families of readers disagree by more than their intervals; see the record's note"
UNINFORMATIVE = "* not informative on faces"


def _heading(record: Record) -> str:
    counts, protocol = record.counts, record.protocol
    text = (
        f"{record.model.name} on {protocol.dataset}/{protocol.name} {protocol.version}, "
        f"N = {counts.generated} of {counts.asked}, {counts.failed} failed, {protocol.size} px"
    )
    if counts.unsupported:
        text += f", {counts.unsupported} unsupported and left out"
    return text + (", LIMITED RUN" if counts.limited else "")


def record_grid(record: Record, *, ids: bool = False) -> Grid:
    """Return the scores of a record, one a row, with interval and note or metric id."""
    from aubench.console import Grid

    rows = [
        (_title(row), format_score(row), row.id if ids else row.note)
        for row in record.scores
        if ids or not row.metric.startswith(PER_AU)
    ]
    heads = ("metric", "value [95 %]", "id" if ids else "note")
    return Grid(heads, rows, _heading(record), left=(1, 2), prose=(2,))


def print_record(record: Record, *, ids: bool = False) -> None:
    """Print the scores of one run."""
    from aubench.console import console, print_grid

    out = console()
    print_grid(record_grid(record, ids=ids), out)
    if not all(row.informative for row in record.scores):
        out.print(UNINFORMATIVE)
    per_au = [row for row in record.scores if row.metric.startswith(PER_AU)]
    if per_au and not ids:
        line = ", ".join(f"AU{r.metric.removeprefix(PER_AU)} {format_score(r)}" for r in per_au)
        out.print(f"  F1 of each AU: {line}")
    for line in _by_au(record):
        out.print(printable(line))
    for name, rows in record.subsets.items():
        if OF_AU.fullmatch(name) and not ids:
            continue
        line = ", ".join(f"{heading(r.metric)} {format_score(r)}" for r in rows)
        out.print(printable(f"  {name} (n = {rows[0].n if rows else 0}): {line}"))
    if record.model.metrics_in_training:
        seen = ", ".join(record.model.metrics_in_training)
        out.print(printable(f"† {record.model.name} was trained with {seen}"))
    if copied(record) and not record.model.control:
        out.print(f"! {copied(record)}")


BRIEF = ("au_skill", "motion_gain", "motion_distance", "identity", "fid")
"""Seen, moved, how far off, still that person, and a face like the others."""


def print_brief(record: Record) -> None:
    """Print the most telling scores of one run, those that it has."""
    from aubench.console import Grid, print_grid

    found = [row for name in BRIEF if (row := record.score(name)) is not None]
    rows = [
        (_title(row), format_score(row), row.note if row.value is None else "") for row in found
    ]
    heads = ("metric", "value [95 %]", "")
    print_grid(Grid(heads, rows, _heading(record), left=(1, 2), prose=(2,)))


OF_AU = re.compile(r"AU\d+")


def _by_au(record: Record) -> list[str]:
    """Return a line a score that the record's subsets have of single AUs."""
    parts = {name: rows for name, rows in record.subsets.items() if OF_AU.fullmatch(name)}
    scores = dict.fromkeys(row.metric for rows in parts.values() for row in rows)
    lines = []
    for metric in scores:
        cells = [
            f"{name} {format_score(row, interval=False)}"
            for name, rows in parts.items()
            for row in rows
            if row.metric == metric
        ]
        lines.append(f"  {heading(metric)} of each AU: {', '.join(cells)}")
    return lines


def board_columns(
    records: Sequence[Record], metrics: Sequence[str] | None = None
) -> list[tuple[str, str]]:
    """Return (metric, id) pairs in reading order; another id of a metric is another column."""
    seen: dict[tuple[str, str], None] = {}
    for metric in headline() if metrics is None else metrics:
        for record in records:
            row = record.score(metric)
            if row is not None and row.value is not None:
                seen[(metric, row.id)] = None
    return list(seen)


def check_columns(records: Sequence[Record], metrics: Sequence[str]) -> None:
    """Refuse a metric that no record holds.

    Raises:
        AubenchError: Names it, and those there are.
    """
    known = sorted({row.metric for record in records for row in record.scores})
    for metric in metrics:
        if metric not in known:
            raise AubenchError(
                f"no record holds the metric '{metric}'{suggest(metric, known)}",
                f"choose from {', '.join(known)}",
            )


def told_apart(ids: Sequence[str]) -> list[str]:
    """Return what tells metric ids apart, in brief, ``text-nano``; empty for one alone."""
    parts = [id_.split("|") for id_ in ids]
    if len({len(words) for words in parts}) > 1:
        return list(ids) if len(ids) > 1 else [""]
    differing = [words for words in zip(*parts, strict=True) if len(set(words)) > 1]
    brief = []
    for words in differing:
        short = [word.removeprefix("target=").partition("@")[0] for word in words]
        brief.append(short if len(set(short)) == len(set(words)) else words)
    return [", ".join(words) for words in zip(*brief, strict=True)] if brief else [""] * len(ids)


def board_grid(
    name: str, records: Sequence[Record], columns: Sequence[tuple[str, str]], *, ids: bool = False
) -> Grid:
    """Return one protocol's table with a column for each (metric, id); controls come last."""
    from aubench.console import Grid

    heads = ["model"]
    for i, (metric, id_) in enumerate(columns):
        row = next(r for record in records if (r := record.score(metric)) is not None)
        twins = [other for name, other in columns if name == metric]
        mark = told_apart(twins)[twins.index(id_)]
        marks = [word for word in (mark, str(i + 1) if ids else "") if word]
        heads.append(_title(row) + "".join(f" ({word})" for word in marks))
    rows, places = [], _places(records, columns)
    for record in sorted(records, key=lambda r: (r.model.control, r.model.name)):
        mark = "†" if record.model.metrics_in_training else ""
        kind = " (control)" if record.model.control else ""
        cells = [record.score(metric) for metric, _ in columns]
        rows.append(
            [
                record.model.name + mark + kind,
                *(
                    _marked(record, cell if cell and cell.id == id_ else None)
                    + places.get((record.model.name, id_), "")
                    for cell, (_, id_) in zip(cells, columns, strict=True)
                ),
            ]
        )
    return Grid(heads, rows, name)


RANKED = "¹ best, ² second of the models; controls are not ranked"


def _places(
    records: Sequence[Record], columns: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """Return the marks of the best and the second model by name and metric id."""
    out: dict[tuple[str, str], str] = {}
    for metric, id_ in columns:
        if shown_as(metric).ideal is not None:
            continue
        found = [
            (row.value if row.higher_is_better else -row.value, record.model.name)
            for record in records
            if not record.model.control
            and (row := record.score(metric)) is not None
            and row.value is not None
            and row.id == id_
        ]
        if len(found) > 1:
            best = sorted(found, reverse=True)
            out |= {
                (name, id_): mark for (_, name), mark in zip(best, PLACES.values(), strict=False)
            }
    return out


def _marked(record: Record, row: ScoreRow | None) -> str:
    """Return a number, with a dagger where a network behind it was seen in training."""
    seen = row is not None and row.value is not None and seen_in_training(record, row.id)
    return format_score(row) + ("†" if seen else "")


def print_board(
    name: str,
    records: Sequence[Record],
    *,
    ids: bool = False,
    metrics: Sequence[str] | None = None,
) -> None:
    """Print one protocol's table and what its marks mean."""
    from aubench.console import console, print_grid

    columns, out = board_columns(records, metrics), console()
    print_grid(board_grid(name, records, columns, ids=ids), out)
    rows = [record.score(metric) for record in records for metric, _ in columns]
    if not all(row.informative for row in rows if row is not None):
        out.print(UNINFORMATIVE)
    if _places(records, columns):
        out.print(RANKED)
    led = any(metric == LEADING for metric, _ in columns)
    if not led and (metrics is None or LEADING in metrics):
        out.print(f"{heading(LEADING)}: —, no record here holds it; run the models again")
    if any(map(disagreeing, rows)):
        out.print(DISAGREEMENT)
    if any(record.model.metrics_in_training for record in records):
        out.print("† trained with a network that also scores; see the record")
    if ids:
        for i, (metric, metric_id) in enumerate(columns):
            line = printable(f"({i + 1}) {heading(metric)}: {metric_id}")
            out.print(line, soft_wrap=True)
    out.print()
