"""Which constructs describe a set of AUs, and in which words (paper, §3.1 and supplement)."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from aubench.describe.grades import gradable, grade_sentence, grades_of
from aubench.errors import AubenchError
from aubench.facs import AUS, Facs, load_facs, parse_aus

WORDINGS = 5


@dataclass(frozen=True)
class Description:
    """A set of AUs in words.

    Attributes:
        text: one sentence a construct; where intensities are told, one more that grades the AUs.
        aus: the active AUs.
        constructs: AU sets, combinations first, each described as one.
        muscles: that act, in the order of the AUs.
        conflicts: opposed pairs that are active, with the reason.
        levels: FACS level, 1 (A, trace) to 5 (E, maximum), of the AUs that the text grades.
    """

    text: str
    aus: tuple[int, ...]
    constructs: tuple[tuple[int, ...], ...]
    muscles: tuple[str, ...]
    conflicts: dict[tuple[int, ...], str]
    levels: dict[int, int] = field(default_factory=dict)


@lru_cache(maxsize=1)
def _dictionary() -> dict[str, Any]:
    path = Path(__file__).with_name("dictionary.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def wordings() -> dict[tuple[int, ...], tuple[str, ...]]:
    """Return the five wordings of each construct; the empty construct is the neutral face."""
    data = _dictionary()
    out: dict[tuple[int, ...], tuple[str, ...]] = {(): tuple(data["neutral"]["wordings"])}
    out |= {parse_aus(name): tuple(texts) for name, texts in data["constructs"].items()}
    return out


@lru_cache(maxsize=1)
def _phrases() -> dict[int, re.Pattern[str]]:
    return {int(au): re.compile(text) for au, text in _dictionary()["phrases"].items()}


def mentioned(text: str) -> frozenset[int]:
    """Return the AUs whose action a text in our wording speaks of."""
    lower = text.lower()
    return frozenset(au for au, pattern in _phrases().items() if pattern.search(lower))


def allocate(aus: Iterable[int], facs: Facs | None = None) -> tuple[tuple[int, ...], ...]:
    """Return the constructs that describe a set of AUs.

    Combinations of four and three are taken greedily, largest first and ties in the order of the
    table, and their AUs are done with; then every pair inside what is left, so that pairs may
    share an AU; then single AUs.

    Args:
        aus: active AUs.
        facs: table of combinations, the shipped one by default.
    """
    table = facs or load_facs()
    left, chosen = set(aus), []
    for combination in sorted(table.combinations, key=lambda c: -len(c.aus)):
        if len(combination.aus) >= 3 and left.issuperset(combination.aus):
            chosen.append(combination.aus)
            left -= set(combination.aus)
    pairs = [c.aus for c in table.combinations if len(c.aus) == 2 and left.issuperset(c.aus)]
    covered = {au for pair in pairs for au in pair}
    singles = [(au,) for au in AUS if au in left - covered]
    return tuple([*chosen, *pairs, *singles])


def _pick(seed: int, key: object, count: int = WORDINGS) -> int:
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    return digest[0] % count


def describe(
    aus: Iterable[int],
    seed: int = 0,
    variant: int | None = None,
    facs: Facs | None = None,
    intensities: Mapping[int, float] | None = None,
) -> Description:
    """Put a set of AUs into words.

    Args:
        aus: AU numbers.
        seed: draws the wording of each construct, and of the grades.
        variant: 0 to 4, the same wording of every construct, in place of the seed.
        facs: table of AUs, the shipped one by default.
        intensities: 0 to 5 by AU. An AU of intensity 0 is not mentioned; the others are graded
            trace, slight, marked, severe or maximum, in a sentence of their own. An AU without
            intensity, or with NaN, is mentioned and not graded. None grades nothing.

    Raises:
        AubenchError: no such variant, a combination of the table has no wordings, an intensity
            is outside 0..5 or belongs to an AU that is not among ``aus``.
    """
    if variant is not None and not 0 <= variant < WORDINGS:
        raise AubenchError(f"no wording {variant}", f"choose 0 to {WORDINGS - 1}")
    table, named = facs or load_facs(), set(aus)
    known = grades_of(named, intensities or {})
    levels = {au: level for au, level in known.items() if level}
    active = tuple(au for au in AUS if au in named and known.get(au) != 0)
    constructs = allocate(active, table)
    sentences = [_sentence(c, seed, variant, bool(levels)) for c in constructs or ((),)]
    if levels:
        choice = variant if variant is not None else _pick(seed, "grades")
        sentences.append(grade_sentence(levels, choice))
    muscles = tuple(dict.fromkeys(m for au in active for m in table.actions[au].muscles))
    return Description(
        " ".join(sentences), active, constructs, muscles, table.conflicts_in(active), levels
    )


def _sentence(construct: tuple[int, ...], seed: int, variant: int | None, graded: bool) -> str:
    """Return a wording of a construct; if it is graded, one that tells no strength of its own."""
    if construct not in wordings():
        name = "+".join(map(str, construct))
        raise AubenchError(f"combination {name} has no wordings", "add it to the dictionary")
    texts = wordings()[construct]
    if variant is not None:
        return texts[variant]
    if graded:
        texts = gradable(texts)
    return texts[_pick(seed, construct, len(texts))]
