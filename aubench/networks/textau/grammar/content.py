"""What a text is to say: which AUs act, how strongly, on which side, and which are denied."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from aubench.facs import AUS
from aubench.networks.textau.grammar.phrases import Side

SIZES = (7, 27, 26, 17, 10, 5, 3, 2, 1.5, 1, 0.5)
"""Weights of sets of 0, 1, 2 … AUs."""

USUAL = (
    (1, 2),
    (1, 4),
    (1, 2, 4),
    (6, 12),
    (12, 14),
    (12, 15),
    (15, 17),
    (4, 7),
    (6, 7, 12),
    (23, 24),
    (17, 24),
    (17, 23),
    (12, 24),
    (12, 23),
    (10, 12),
    (4, 10),
    (4, 24),
    (14, 17),
    (10, 17),
    (6, 7),
    (4, 6, 7, 10),
    (4, 6, 7),
    (7, 12),
    (4, 15),
    (1, 4, 15),
    (1, 4, 15, 17),
    (4, 23),
    (4, 7, 23, 24),
    (6, 12, 17),
    (1, 2, 12),
    (4, 17),
    (14, 24),
    (14, 23),
    (10, 15, 17),
    (4, 7, 10),
    (10, 14),
)
"""Sets that people write of more often than of others."""


@dataclass(frozen=True)
class Sample:
    """A text and what it says.

    Attributes:
        text: The text.
        aus: AUs that it says to act.
        sides: ``left`` or ``right`` by AU, where told.
        levels: 1 to 5 by AU, where told.
    """

    text: str
    aus: tuple[int, ...]
    sides: dict[int, Side] = field(default_factory=dict)
    levels: dict[int, int] = field(default_factory=dict)


def draw_aus(rng: Random) -> tuple[int, ...]:
    """Return a random set of AUs."""
    if rng.random() < 0.35:
        chosen = set(rng.choice(USUAL))
        if rng.random() < 0.25:
            chosen.add(rng.choice(AUS))
        return tuple(au for au in AUS if au in chosen)
    size = rng.choices(range(len(SIZES)), SIZES)[0]
    return tuple(sorted(rng.sample(AUS, size)))


@dataclass
class Content:
    """What a text is to say.

    Attributes:
        aus: AUs that act.
        sides: Of those whose side is told.
        levels: Of those whose level is told.
        denied: AUs that the text says not to act.
        others: Whether it speaks of actions beyond the twelve.
    """

    aus: tuple[int, ...]
    sides: dict[int, Side] = field(default_factory=dict)
    levels: dict[int, int] = field(default_factory=dict)
    denied: list[int] = field(default_factory=list)
    others: bool = False

    def sample(self, text: str) -> Sample:
        """Return a text with what it says."""
        return Sample(text, self.aus, self.sides, self.levels)


def draw_content(aus: tuple[int, ...], rng: Random) -> Content:
    """Return random things to say of a set of AUs."""
    told = rng.random()
    out = Content(aus)
    for au in aus:
        if told < 0.14 and rng.random() < 0.8:
            out.sides[au] = rng.choice(("left", "right"))
        if 0.08 < told < 0.34 and rng.random() < 0.8:
            out.levels[au] = rng.randint(1, 5)
    rest = [au for au in AUS if au not in aus]
    count = rng.choices((0, 1, 2, 3), (55, 25, 13, 7) if aus else (20, 35, 25, 20))[0]
    out.denied = rng.sample(rest, min(count, len(rest)))
    out.others = rng.random() < 0.22
    return out
