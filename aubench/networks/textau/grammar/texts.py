"""Any set of AUs to any number of texts."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from aubench.networks.textau.grammar.content import Sample, draw_aus, draw_content
from aubench.networks.textau.grammar.lexicon import Half, Lexicon
from aubench.networks.textau.grammar.prose import Prose
from aubench.networks.textau.grammar.sheets import Sheet
from aubench.networks.textau.grammar.slips import pseudo_word, slip

SHEETS = 0.13
"""Share of texts that are coding sheets."""


class Grammar:
    """Makes texts of one half of the lexicon."""

    def __init__(self, half: Half = "training") -> None:
        self.lexicon: Lexicon = Lexicon(half)

    def sample(self, seed: int | str) -> Sample:
        """Return the text of a seed."""
        rng = Random(seed)
        return self.describe(draw_aus(rng), rng)

    def describe(self, aus: Sequence[int], rng: Random) -> Sample:
        """Return a random text that says of exactly these AUs that they act."""
        content = draw_content(tuple(aus), rng)
        kind = Sheet if rng.random() < SHEETS else Prose
        text = kind(self.lexicon, rng, content).write()
        return content.sample(finish(text, rng))


def finish(text: str, rng: Random) -> str:
    """Return a text with its doubled articles mended, and sometimes with slips."""
    text = " ".join(text.split())
    text = (
        text.replace(" the the ", " the ").replace("the his ", "his ").replace("the her ", "her ")
    )
    if rng.random() < 0.05:
        text = text.replace(",", "")
    if rng.random() < 0.1:
        text = slip(text, rng)
    if rng.random() < 0.08:
        words = text.split(" ")
        words.insert(rng.randrange(len(words) + 1), pseudo_word(rng))
        text = " ".join(words)
    return text
