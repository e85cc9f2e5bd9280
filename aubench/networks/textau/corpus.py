"""Texts to learn AUs from: our dictionary on AU sets, or a table of real texts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError
from aubench.facs import AUS, labels_of, parse_aus
from aubench.facs.coding import AuColumns, au_columns, in_order
from aubench.facs.describe import allocate, describe, wordings
from aubench.storage.tables import Row, read_table

Labels = npt.NDArray[np.uint8]

UNKNOWN_AU = 9
"""Label of an AU that nobody coded, as in BP4D's tables; it is masked, never taken for 0."""

HELD_OUT = 4
SEEN = (0, 1, 2, 3)
SHARE = 0.1
"""Share of the AU sets and of the sentences of a table that training never sees."""

MOST = 1000
"""Texts of a part that are scored, at most (each wording apart, with the dictionary)."""

PARTS = (
    "seen wordings",
    "held-out wordings",
    "seen wordings of unseen AU sets",
    "held-out wordings of unseen AU sets",
)


@dataclass(frozen=True)
class Part:
    """Texts that are scored together, and their labels uint8 [N, 12] (0, 1, 9 unknown)."""

    texts: tuple[str, ...]
    labels: Labels


@dataclass(frozen=True)
class Example:
    """A training text and what is known of it.

    Attributes:
        text: The text.
        labels: Uint8 [12], 0, 1 or 9 where unknown.
        sides: Uint8 [12], 0 for none told, 1 left, 2 right; None where nobody knows.
        levels: Uint8 [12], 0 for none told, 1 to 5 for A to E; None where nobody knows.
        drop: Whether words may be left out of the text without changing what it says.
    """

    text: str
    labels: Labels
    sides: Labels | None = None
    levels: Labels | None = None
    drop: bool = True


class Corpus(Protocol):
    """What a training needs of its texts.

    Attributes:
        name: Of the source.
        fingerprint: Digest of what may be learned from.
        held_out: What training never sees, in words.
        labels: Uint8 [S, 12] of the AU sets to learn, 0, 1 or 9 where unknown.
    """

    name: str
    fingerprint: str
    held_out: str
    labels: Labels

    def draw(self, row: int, rng: np.random.Generator) -> Example:
        """Return a random training text of one AU set."""

    def training_texts(self) -> list[str]:
        """Return every text, or sentence, that training may show."""

    def parts(self) -> dict[str, Part]:
        """Return the texts that are scored apart, by name."""

    def calibration(self) -> Part | None:
        """Return texts to calibrate probabilities on, of words that training never sees."""


def some(count: int) -> npt.NDArray[np.int64]:
    """Return at most ``MOST`` row numbers of ``count``, drawn at random, always the same."""
    return np.sort(np.random.default_rng(0).permutation(count)[:MOST])


def unseen_sets(
    known: Sequence[tuple[int, ...]], count: int | None = None
) -> list[tuple[int, ...]]:
    """Return at most ``count`` (else ``MOST``) AU sets that are not among the known ones."""
    every = [tuple(au for k, au in enumerate(AUS) if n >> k & 1) for n in range(1, 1 << len(AUS))]
    there = set(known)
    new = [aus for aus in every if aus not in there]
    order = np.random.default_rng(0).permutation(len(new))[: count or MOST]
    return [new[i] for i in order]


class Worded:
    """AU sets in the words of our dictionary; wording 4 of every construct is held out.

    AUs are described together as in the paper, as the shipped ``nano-dictionary`` has read them.
    """

    sets: list[tuple[int, ...]]
    name: str
    labels: npt.NDArray[np.uint8]

    held_out: str = f"wording {HELD_OUT} of every construct; AU sets that are not trained on"

    def __init__(self, sets: Sequence[tuple[int, ...]], name: str) -> None:
        self.sets, self.name = list(sets), name
        self.labels = np.stack([labels_of(aus) for aus in self.sets])
        texts = "\n".join(text for pair in sorted(wordings().items()) for text in pair[1])
        self.fingerprint: str = hashlib.sha256(
            texts.encode() + self.labels.tobytes()  # the dictionary and the AU sets
        ).hexdigest()

    def draw(self, row: int, rng: np.random.Generator) -> Example:
        """Return seen wordings of an AU set's constructs in random order."""
        constructs = list(allocate(self.sets[row], allocation="paper")) or [()]
        rng.shuffle(constructs)
        text = " ".join(wordings()[c][int(rng.integers(0, len(SEEN)))] for c in constructs)
        return Example(text, self.labels[row])

    def training_texts(self) -> list[str]:
        """Return the seen wordings of all constructs."""
        return [text for texts in wordings().values() for k, text in enumerate(texts) if k in SEEN]

    def parts(self) -> dict[str, Part]:
        """Return whole texts in one wording each, of AU sets trained on and of others."""
        known = [self.sets[i] for i in some(len(self.sets))]
        new = unseen_sets(self.sets)
        wanted = ((known, SEEN), (known, (HELD_OUT,)), (new, SEEN), (new, (HELD_OUT,)))
        return {
            name: Part(
                tuple(
                    describe(aus, variant=k, allocation="paper").text
                    for k in variants
                    for aus in sets
                ),
                np.stack([labels_of(aus) for _ in variants for aus in sets]),
            )
            for name, (sets, variants) in zip(PARTS, wanted, strict=True)
        }

    def calibration(self) -> Part | None:
        """Return nothing: texts of five wordings say little of how sure to be of others."""
        return None


def sentences(text: str) -> list[str]:
    """Return the sentences of a text in lower case, white space made single."""
    flat = " ".join(text.lower().split())
    return [part for part in re.split(r"(?<=[.!?])\s+", flat) if part]


def hold_out(names: Sequence[str], share: float, seed: int) -> set[str]:
    """Return a share of the names, at least one of several, drawn by digest and so order-free."""
    ranked = sorted(set(names), key=lambda n: hashlib.sha256(f"{seed}/{n}".encode()).digest())
    return set(ranked[: max(1, round(share * len(ranked)))]) if len(ranked) > 1 else set()


class Table:
    """Texts with AU labels, of a data set or a CSV file, such as those of BP4D-AUText.

    A tenth of the AU sets is held out, and a tenth of all sentences: a text with such a sentence is
    no training text. Where labels are partly unknown, an AU set that could be a held-out one is
    left out altogether.
    """

    name: str
    labels: npt.NDArray[np.uint8]

    held_out: str = f"{SHARE:.0%} of the AU sets; {SHARE:.0%} of the sentences"

    @classmethod
    def of_file(cls, path: Path, seed: int, limit: int | None = None) -> Self:
        """Return the texts of a CSV file; see ``read_labelled_texts``."""
        texts, labels = read_labelled_texts(path)
        return cls(path.name, texts, labels, seed, limit)

    def __init__(
        self, name: str, texts: Sequence[str], labels: Labels, seed: int, limit: int | None = None
    ) -> None:
        self.name: str = name
        rows = list(dict.fromkeys(zip(texts, map(bytes, labels), strict=True)))
        names = sorted({key for _, key in rows})[:limit]
        kept = set(names)
        rows = [row for row in rows if row[1] in kept]
        out = hold_out([key.hex() for key in names], SHARE, seed)
        unseen = {key for key in names if key.hex() in out}
        dropped = could_be(set(names) - unseen, unseen)
        strange = hold_out([s for text, _ in rows for s in sentences(text)], SHARE, seed)
        self._cells: dict[str, list[tuple[str, bytes]]] = {name: [] for name in PARTS}
        for text, key in rows:
            if key not in dropped:
                new = any(s in strange for s in sentences(text))
                self._cells[PARTS[2 * (key in unseen) + new]].append((text, key))
        self._texts: dict[bytes, list[str]] = {}
        for text, key in self._cells[PARTS[0]]:
            self._texts.setdefault(key, []).append(text)
        if not self._texts:
            raise AubenchError(
                f"{name} leaves no training text once AU sets and sentences are held out",
                "give more texts, several of each AU set",
            )
        self._keys = sorted(self._texts)
        self.labels = np.stack([np.frombuffer(key, np.uint8) for key in self._keys])
        self.fingerprint: str = hashlib.sha256(repr(rows).encode()).hexdigest()

    def draw(self, row: int, rng: np.random.Generator) -> Example:
        """Return one of the training texts of an AU set."""
        texts = self._texts[self._keys[row]]
        return Example(texts[int(rng.integers(0, len(texts)))], self.labels[row])

    def training_texts(self) -> list[str]:
        """Return all training texts."""
        return [text for texts in self._texts.values() for text in texts]

    def parts(self) -> dict[str, Part]:
        """Return training texts, and texts with held-out sentences, AU sets, or both."""
        out = {}
        for name, cell in self._cells.items():
            chosen = [cell[i] for i in some(len(cell))]
            labels = np.frombuffer(b"".join(key for _, key in chosen), np.uint8)
            out[name] = Part(tuple(text for text, _ in chosen), labels.reshape(-1, len(AUS)))
        return out

    def calibration(self) -> Part | None:
        """Return nothing: the held-out sentences are few, and scored."""
        return None


def could_be(keys: set[bytes], unseen: set[bytes]) -> set[bytes]:
    """Return those label rows that agree with an unseen one wherever both are known."""
    if not keys or not unseen:
        return set()
    other = np.stack([np.frombuffer(key, np.uint8) for key in sorted(unseen)])
    found = set()
    for key in keys:
        row = np.frombuffer(key, np.uint8)
        unknown = (row == UNKNOWN_AU) | (other == UNKNOWN_AU)
        if (unknown | (row == other)).all(1).any():
            found.add(key)
    return found


def read_labelled_texts(path: Path) -> tuple[list[str], Labels]:
    """Read texts and labels uint8 [N, 12] (9 unknown) from a table.

    Columns: ``text``, and ``AU1`` … ``AU24`` with 0, 1, or 9 or nothing where unknown (an AU
    without a column is unknown), or ``combination`` such as ``6+12`` or ``neutral``; other columns
    are passed over.

    Raises:
        AubenchError: The file cannot be read, or a row is wrong; file, line and column are named.
    """
    table = read_table(path)
    coded = au_columns(table)
    by_aus = any(au in coded.occurrence for au in AUS)
    table.require("text", *(() if by_aus else ("combination",)))
    labels = [_labels(row, coded) if by_aus else _combination(row) for row in table.rows]
    return [_text(row) for row in table.rows], np.stack(labels)


def _text(row: Row) -> str:
    text = " ".join(row["text"].split())
    if not text:
        raise row.error("the text is empty", "remove the row")
    return text


def _combination(row: Row) -> Labels:
    try:
        return labels_of(parse_aus(row["combination"]))
    except AubenchError as error:
        raise row.error(error.message, error.hint) from error


def _labels(row: Row, coded: AuColumns) -> Labels:
    out = np.array(in_order(coded.labels(row), UNKNOWN_AU), np.uint8)
    if (out == UNKNOWN_AU).all():
        raise row.error("no AU is known", "remove the row")
    return out
