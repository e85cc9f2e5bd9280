"""What a record comes to, in sentences for whoever reads no tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aubench.metrics.registry import facts_of, heading
from aubench.records.record import Record, ScoreRow
from aubench.report.tables.terminal import LEADING

CEILING, FLOOR = "aaad_ceiling", "aaad_floor"
"""AAAD of the targets themselves, and of targets given to the wrong samples."""
APART = 0.05
"""A ceiling no further above the floor tells nothing apart."""


def in_words(record: Record) -> list[str]:
    """Return one line on what a run comes to, and a warning where its readers are blind here."""
    row = record.score(LEADING)
    lines = []
    if row is not None and row.value is not None:
        lines.append(
            f"AU skill {row.value:.2f} of what the targets reach, by the family of readers that "
            "sees least; the targets have 1, copying the reference has 0"
        )
    blind = _blind(record, row)
    if blind:
        lines.append(f"these detectors see nothing on these faces: {blind}")
    return lines


def _blind(record: Record, row: ScoreRow | None) -> str:
    if row is not None and row.value is None and "too little" in row.note:
        return row.note
    high, low = record.score(CEILING), record.score(FLOOR)
    if high is None or low is None or high.value is None or low.value is None:
        return ""
    if high.value - low.value >= APART:
        return ""
    return (
        f"AAAD of the targets is {high.value:.3f}, of targets given to the wrong samples "
        f"{low.value:.3f}"
    )


def copying_in_words(records: Mapping[str, Record], models: Sequence[str]) -> list[str]:
    """Return five lines on what values are good, and on what copying the reference wins.

    Args:
        records: Of the controls ``oracle``, ``copy-reference`` and ``decals``, and of models, by
            name, on the same samples.
        models: Which of them are models, best first.
    """
    found = {name: _values(record) for name, record in records.items()}
    ceiling, floor = found["oracle"], found["copy-reference"]
    best = found[models[0]]
    lines = [
        f"AU skill says how much of the commanded motion is seen: the renderer itself has "
        f"{_figure(ceiling, LEADING)} (ceiling), a face that does not move "
        f"{_figure(floor, LEADING)} (floor).",
        "Models: "
        + ", ".join(f"{name} {_figure(found[name], LEADING)}" for name in models)
        + f"; pasting the mean difference of each AU has {_figure(found['decals'], LEADING)}: a "
        "model below that does no better than pasting.",
    ]
    wins = [
        f"{heading(name)} {_figure(floor, name)} against {_figure(best, name)}"
        for name in BLIND_TO_MOTION
        if name in floor and name in best and _better(name, floor[name], best[name])
    ]
    lines.append(
        f"Copying the reference beats {models[0]} where nobody looks at muscles: {', '.join(wins)}."
        if wins
        else f"Copying the reference beats {models[0]} nowhere."
    )
    looked = [LEADING, *(name for name in ("motion_gain",) if name in floor and name in best)]
    lost, won = (
        ", ".join(f"{heading(name)} {_figure(values, name)}" for name in looked)
        for values in (floor, best)
    )
    lines.append(f"It loses where they do: {lost}; {models[0]} has {won}.")
    count = records["oracle"].counts.asked
    lines.append(
        f"{count} samples of {records['oracle'].protocol.name}, too few to rank anything: "
        "`aubench run --model NAME --protocol test2k` does, and says how sure it is."
    )
    return lines


BLIND_TO_MOTION = ("fid", "ssim", "identity")


def _better(name: str, one: float, other: float) -> bool:
    facts = facts_of(name)
    return facts is not None and (one > other if facts.higher_is_better else one < other)


def _values(record: Record) -> dict[str, float]:
    return {row.metric: row.value for row in record.scores if row.value is not None}


def _figure(values: Mapping[str, float], name: str) -> str:
    value = values.get(name)
    if value is None:
        return "—"
    text = f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
    return text.removeprefix("-") if float(text) == 0 else text
