"""Which constructs describe a set of AUs, and in which words (paper, 3.1 and supplement)."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from aubench.errors import AubenchError
from aubench.facs import AUS, Facs, load_facs, parse_aus
from aubench.facs.describe.grades import gradable, grade_sentence, grades_of

WORDINGS = 5

Allocation = Literal["conflicts", "paper"]
"""Which AUs are described together: opposed ones first, or as the paper has it."""

OPPOSED_FIRST = ((12, 15), (1, 4), (10, 15), (12, 17), (12, 23), (12, 24), (10, 17), (15, 17))
"""Opposed AUs in the order in which they are taken together; the corners of the mouth come first,
since one sentence that lifts them and another that lowers them cannot both be true."""


@dataclass(frozen=True)
class Description:
    """A set of AUs in words.

    Attributes:
        text: One sentence a construct; where intensities are told, one more that grades the AUs.
        aus: The active AUs.
        constructs: AU sets, combinations first, each described as one.
        muscles: That act, in the order of the AUs.
        conflicts: Opposed pairs that are active, with the reason.
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


def allocate(
    aus: Iterable[int], facs: Facs | None = None, allocation: Allocation = "conflicts"
) -> tuple[tuple[int, ...], ...]:
    """Return the constructs that describe a set of AUs.

    With ``conflicts`` each pair of opposed AUs is first taken together, in the largest combination
    that holds both, and its AUs are done with. With ``paper`` nothing comes first, so that a smile
    that ``6+7+12`` describes may stand beside drooping corners that ``15`` does.

    Then combinations of four and three are taken greedily, largest first and ties in the order of
    the table, and their AUs are done with; then every pair inside what is left, so that pairs may
    share an AU; then single AUs.

    Args:
        aus: Active AUs.
        facs: Table of combinations, the shipped one by default.
        allocation: What comes first.
    """
    table = facs or load_facs()
    left: set[int] = set(aus)
    chosen: list[tuple[int, ...]] = []
    for pair in OPPOSED_FIRST if allocation == "conflicts" else ():
        holding = [c.aus for c in table.combinations if left.issuperset(c.aus)]
        holding = [combination for combination in holding if set(pair) <= set(combination)]
        if holding:
            largest = max(holding, key=len)
            chosen.append(largest)
            left -= set(largest)
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
    allocation: Allocation = "conflicts",
) -> Description:
    """Put a set of AUs into words.

    Args:
        aus: AU numbers.
        seed: Draws the wording of each construct, and of the grades.
        variant: 0 to 4, the same wording of every construct, in place of the seed.
        facs: Table of AUs, the shipped one by default.
        intensities: 0 to 5 by AU. An AU of intensity 0 is not mentioned; the others are graded
            trace, slight, marked, severe or maximum, in a sentence of their own. An AU without
            intensity, or with NaN, is mentioned and not graded. None grades nothing.
        allocation: Which AUs are described together, see `allocate`.

    Raises:
        AubenchError: No such variant, a combination of the table has no wordings, an intensity
            is outside 0..5 or belongs to an AU that is not among ``aus``.
    """
    if variant is not None and not 0 <= variant < WORDINGS:
        raise AubenchError(f"no wording {variant}", f"choose 0 to {WORDINGS - 1}")
    table, named = facs or load_facs(), set(aus)
    known = grades_of(named, intensities or {})
    levels = {au: level for au, level in known.items() if level}
    active = tuple(au for au in AUS if au in named and known.get(au) != 0)
    constructs = allocate(active, table, allocation)
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
