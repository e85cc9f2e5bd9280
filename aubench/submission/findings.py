"""What a verification finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["holds", "fails", "open"]


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    verdict: Verdict
    what: str


def holds(what: str) -> Finding:
    """Return what is as it should be."""
    return Finding("holds", what)


def fails(what: str) -> Finding:
    """Return what is not."""
    return Finding("fails", what)


def is_open(what: str) -> Finding:
    """Return what could not be checked, or is for a person to judge."""
    return Finding("open", what)
