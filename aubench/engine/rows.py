"""Rows of a record: a number, or None with the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from aubench.engine.measured import Measured
from aubench.record import ScoreRow


def row(metric: str, id_: str, value: float | None, n: int, *, up: bool, **more: Any) -> ScoreRow:
    """Return a row; a value that is not finite becomes None, with a note.

    Args:
        metric: short name, the same in every run.
        id_: how it was measured; rows of different ids are never compared.
        value: the number.
        n: samples behind it.
        up: whether higher is better.
        more: ``ci``, ``note``, ``informative``.
    """
    if value is not None and not np.isfinite(value):
        value, more["note"] = None, more.get("note") or "undefined on these samples"
    return ScoreRow(metric=metric, id=id_, value=value, n=n, higher_is_better=up, **more)


def missing(m: Measured, metrics: Sequence[tuple[str, bool]], reason: str) -> list[ScoreRow]:
    """Return rows without a value for (metric, higher is better) and the reason as their note."""
    return [row(name, name, None, len(m.kept), up=up, note=reason) for name, up in metrics]


def failed_note(m: Measured, worst: str) -> str:
    """Return what failed samples counted as, empty where none failed."""
    failed = len(m.labels) - len(m.kept)
    return f"{failed} failed samples count as {worst}" if failed else ""
