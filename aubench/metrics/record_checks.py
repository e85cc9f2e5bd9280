"""Records of others: what no run writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import isfinite

from aubench.metrics.registry import facts_of
from aubench.records.record import Record, ScoreRow


def impossible(record: Record) -> Iterator[str]:
    """Yield what a record says that cannot be, each by the name of its score."""
    yield from _counts(record)
    yield from _rows("", record.scores)
    for name, rows in (*record.subsets.items(), *record.groups.items()):
        yield from _rows(f"{name} ", rows)


def _counts(record: Record) -> Iterator[str]:
    c = record.counts
    told = (c.unsure_texts or 0, c.like_targets or 0)
    if (
        min(c.asked, c.generated, c.failed, c.unsupported, *told) < 0
        or c.asked != c.generated + c.failed + c.unsupported
    ):
        yield (
            f"{c.generated} generated, {c.failed} failed and {c.unsupported} unsupported samples "
            f"of {c.asked} asked for"
        )


def _rows(where: str, rows: list[ScoreRow]) -> Iterator[str]:
    for kind, names in (
        ("score", [row.metric for row in rows]),
        ("metric id", [row.id for row in rows]),
    ):
        twice = [name for name, count in Counter(names).items() if count > 1]
        yield from (f"{where}{kind} '{name}' is there twice" for name in twice)
    for row in rows:
        yield from (f"{where}{row.metric}: {text}" for text in _row(row))


def _row(row: ScoreRow) -> Iterator[str]:
    facts = facts_of(row.metric)
    if row.value is not None and not isfinite(row.value):
        yield f"value {row.value}"
    elif row.value is not None and facts is not None and not facts.possible(row.value):
        low, high = facts.bounds
        yield f"value {row.value:g}, it lies in {low:g} to {high:g}"
    if row.ci is not None and not (all(map(isfinite, row.ci)) and row.ci[0] <= row.ci[1]):
        yield f"interval {row.ci[0]:g} to {row.ci[1]:g}"
    if row.n < 0:
        yield f"n = {row.n}"
    if facts is not None and row.higher_is_better is not facts.higher_is_better:
        yield f"higher_is_better is {row.higher_is_better}"
