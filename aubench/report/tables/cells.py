"""Scores of records as cells and columns, in the unit in which the metric shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from aubench.metrics.action_units.au_skill import DISAGREE
from aubench.metrics.metric import ScoreFacts
from aubench.metrics.registry import facts_of
from aubench.records.record import ScoreRow
from aubench.report.tables.table import Cell, Column, Row


def shown_as(name: str) -> ScoreFacts:
    """Return how a score is shown; one of no installed metric by its bare name."""
    return facts_of(name) or ScoreFacts(name, True)


def cell_of(score: ScoreRow) -> Cell:
    """Return the cell of one number, in the unit in which it is shown."""
    facts = shown_as(score.metric)
    scale = facts.scale
    ends = None if score.ci is None else facts.clipped(score.ci)
    return Cell(
        value=None if score.value is None else score.value * scale,
        interval=None if ends is None else (ends[0] * scale, ends[1] * scale),
        metric=score.metric,
        id=score.id,
        unit=facts.multiple,
        higher=score.higher_is_better if facts.ideal is None else None,
        digits=facts.digits,
        n=score.n,
        source="measured",
        notes=(score.note,) if disagreeing(score) else (),
    )


def disagreeing(score: ScoreRow | None) -> bool:
    """Return whether families of readers differ on a score by more than their intervals."""
    return score is not None and score.note.startswith(DISAGREE)


def measured_cell(score: ScoreRow | None, name: str) -> Cell:
    """Return the cell of a score; a dash with its reason where it could not be measured."""
    if score is None:
        return Cell(source="measured", metric=name, digits=shown_as(name).digits)
    note = (score.note,) if score.value is None and score.note else ()
    return replace(cell_of(score), notes=note)


def column_of(key: str, score: ScoreRow) -> Column:
    """Return the column of a score, with unit and direction."""
    facts = shown_as(score.metric)
    higher = score.higher_is_better if facts.ideal is None else None
    return Column(key, facts.label, "measured", higher, facts.multiple, score.informative)


def measured_columns(rows: Sequence[Row], metrics: Sequence[str]) -> tuple[Column, ...]:
    """Return the columns of metrics; without a direction where nothing was measured."""
    found = []
    for j, name in enumerate(metrics):
        facts = shown_as(name)
        higher = next((r.cells[j].higher for r in rows if r.cells[j].higher is not None), None)
        found.append(
            Column(name, facts.label, "measured", higher, facts.multiple, facts.informative)
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
