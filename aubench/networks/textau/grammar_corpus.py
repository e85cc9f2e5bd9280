"""The texts that the shipped classifier learns from: our dictionary and the grammar, mixed."""

from __future__ import annotations

import hashlib
from random import Random

import numpy as np
import numpy.typing as npt

from aubench.facs import AUS, labels_of
from aubench.facs.describe import allocate, describe, wordings
from aubench.facs.describe.grades import gradable, grade_sentence
from aubench.networks.textau.corpus import HELD_OUT, SEEN, Example, Part
from aubench.networks.textau.grammar import Grammar, Sample, draw_aus, fingerprint

ROWS = 51_200
"""Texts of an epoch; each epoch has others."""

DICTIONARY_SHARE = 0.2
GRADED_SHARE = 0.2
EVALUATED = 2_000
FIRST_EVALUATED = 10**12
"""Seeds of texts that are scored; training draws lower ones."""


class GrammarCorpus:
    """Texts of the grammar, and a fifth of them in our wordings, drawn anew each epoch.

    Held out are a tenth of the grammar's words and templates, and wording 4 of every construct.
    """

    name: str = "our dictionary and the grammar"
    held_out: str = (
        f"wording {HELD_OUT} of every construct; a tenth of the grammar's words and templates"
    )
    labels: npt.NDArray[np.uint8]

    def __init__(self, limit: int | None = None) -> None:
        self._grammar = Grammar()
        self.labels = np.zeros((limit or ROWS, len(AUS)), np.uint8)
        texts = "\n".join(text for pair in sorted(wordings().items()) for text in pair[1])
        self.fingerprint: str = hashlib.sha256(f"{fingerprint()}\n{texts}".encode()).hexdigest()

    def draw(self, row: int, rng: np.random.Generator) -> Example:
        """Return a new text; the row does not matter."""
        chance = Random(int(rng.integers(0, FIRST_EVALUATED)))
        if chance.random() < DICTIONARY_SHARE:
            return _example(dictionary_text(chance), drop=chance.random() < 0.3)
        return _example(self._grammar.describe(draw_aus(chance), chance))

    def training_texts(self) -> list[str]:
        """Return texts for a tokenizer: some of the grammar, and the seen wordings."""
        ours = [text for texts in wordings().values() for text in texts[: len(SEEN)]]
        return ours * 10 + [self._grammar.sample(seed).text for seed in range(30_000)]

    def parts(self) -> dict[str, Part]:
        """Return texts of our wordings and of the grammar, seen and held out."""
        rng = Random(FIRST_EVALUATED)
        sets = [_dictionary_aus(rng) for _ in range(EVALUATED // 2)]
        out = {}
        for name, variants in (("seen wordings", SEEN), ("held-out wordings", (HELD_OUT,))):
            texts = tuple(describe(aus, variant=k).text for k in variants for aus in sets)
            out[name] = Part(texts, np.stack([labels_of(aus) for _ in variants for aus in sets]))
        out["grammar, seen words"] = _part(self._grammar, 0)
        out["grammar, held-out words"] = _part(Grammar("held-out"), 0)
        return out

    def calibration(self) -> Part:
        """Return texts of held-out words, other ones than those that are scored."""
        return _part(Grammar("held-out"), EVALUATED)


def _part(grammar: Grammar, first: int) -> Part:
    samples = [grammar.sample(FIRST_EVALUATED + first + k) for k in range(EVALUATED)]
    labels = np.stack([labels_of(sample.aus) for sample in samples])
    return Part(tuple(sample.text for sample in samples), labels)


def _example(sample: Sample, drop: bool = False) -> Example:
    sides, levels = np.zeros(len(AUS), np.uint8), np.zeros(len(AUS), np.uint8)
    for au, side in sample.sides.items():
        sides[AUS.index(au)] = ("", "left", "right").index(side)
    for au, level in sample.levels.items():
        levels[AUS.index(au)] = level
    return Example(sample.text, labels_of(sample.aus), sides, levels, drop)


def _dictionary_aus(rng: Random) -> tuple[int, ...]:
    if rng.random() < 0.6:
        return draw_aus(rng)
    return tuple(sorted(rng.sample(AUS, rng.randint(3, 9))))


def dictionary_text(rng: Random) -> Sample:
    """Return a random set of AUs in seen wordings of our dictionary, some with levels."""
    aus = _dictionary_aus(rng)
    graded = bool(aus) and rng.random() < GRADED_SHARE
    constructs = list(allocate(aus, allocation="paper")) or [()]
    rng.shuffle(constructs)
    sentences = []
    for construct in constructs:
        seen = wordings()[construct][: len(SEEN)]
        sentences.append(rng.choice((gradable(seen) if graded else seen) or seen))
    levels = {au: rng.randint(1, 5) for au in aus if rng.random() < 0.8} if graded else {}
    if levels:
        sentences.append(grade_sentence(levels, rng.choice(SEEN)))
    return Sample(" ".join(sentences), aus, {}, levels)
