"""How strong each AU is, in words: trace, slight, marked, severe, maximum (FACS A to E)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from aubench.errors import AubenchError
from aubench.facs import AUS

GRADES = ("trace", "slight", "marked", "severe", "maximum")
"""Words of the FACS levels A, B, C, D, E, which are the intensities 1 to 5."""


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    path = Path(__file__).with_name("grades.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _strength() -> re.Pattern[str]:
    return re.compile(_table()["strength"])


def gradable(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the wordings that tell no strength of their own."""
    return tuple(text for text in texts if not _strength().search(text.lower()))


def grade_of(intensity: float) -> int:
    """Return the nearest FACS level, 1 to 5, of an intensity above 0; what is under A is A."""
    return max(1, int(intensity + 0.5))


def grades_of(aus: Iterable[int], intensities: Mapping[int, float]) -> dict[int, int]:
    """Return the level, 0 to 5, of each AU whose intensity is known; 0 is absent.

    Args:
        aus: active AUs.
        intensities: 0 to 5 by AU; NaN, or no entry, is unknown.

    Raises:
        AubenchError: an intensity is outside 0..5, or above 0 for an AU that is not active.
    """
    active, levels = set(aus), {}
    for au, value in intensities.items():
        if value != value:  # NaN: the AU is active, and nobody knows how strongly
            continue
        if not 0 <= value <= 5:
            raise AubenchError(f"intensity {value:g} of AU{au} is out of range", "give 0 to 5")
        if value > 0 and au not in active:
            raise AubenchError(f"AU{au} has an intensity but is not among the AUs", "name it")
        if au in active:
            levels[au] = grade_of(value) if value > 0 else 0
    return levels


def grade_sentence(levels: Mapping[int, int], choice: int) -> str:
    """Return one sentence that grades AUs, the strongest first.

    Args:
        levels: 1 to 5 by AU, at least one.
        choice: 0 to 4, which of the five sentences.
    """
    nouns, form = _table()["nouns"], _table()["sentences"][choice]
    ordered = sorted(levels, key=lambda au: (-levels[au], AUS.index(au)))
    clauses = []
    for level, group in groupby(ordered, key=lambda au: levels[au]):
        named = [str(nouns[str(au)]) for au in group]
        verb = form["verb"][len(named) > 1]
        clauses.append(f"{_listed(named, ' and ')} {verb} {form['grades'][level - 1]}")
    sentence = _listed(clauses, ", and ")
    return sentence[0].upper() + sentence[1:] + "."


def _listed(parts: Sequence[str], last: str) -> str:
    return last.join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]
