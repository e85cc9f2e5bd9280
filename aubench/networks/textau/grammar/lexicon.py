"""Words and templates of the grammar, with a share of each list held out."""

from __future__ import annotations

import hashlib
import re
import tomllib
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any, Literal

Half = Literal["training", "held-out"]
"""Which words a text is made of: those to train on, or held-out ones wherever a list has some."""

HELD_OUT_SHARE = 0.1
SMALLEST = 5
"""Lists shorter than this are not cut: their words would be missed altogether."""

FREE = (
    "others.codes",
    "say.irrelevant",
    "levels.plain",
    *(
        f"words.{name}"
        for name in [
            "person",
            "subject",
            "name",
            "adjective",
            "colour",
            "garment",
            "place",
            "light",
            "emotion",
            "feeling",
            "unit",
            "units",
        ]
    ),
)
"""What says nothing of the twelve AUs is not held out."""

SLOT = re.compile(r"\{(\w+)\}")


@lru_cache(maxsize=1)
def _tables() -> dict[str, tuple[str, ...]]:
    """Return every list of both files by its dotted name."""
    out: dict[str, tuple[str, ...]] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else key, inner)
        else:
            out[prefix] = tuple(str(item) for item in value)

    for name in ("lexicon.toml", "templates.toml"):
        path = Path(__file__).with_name(name)
        walk("" if name == "lexicon.toml" else "say", tomllib.loads(path.read_text("utf-8")))
    return out


def fingerprint() -> str:
    """Return the digest of the words and templates, and of what is held out of them."""
    text = "\n".join(f"{key}: {items}" for key, items in sorted(_tables().items()))
    return hashlib.sha256(f"{HELD_OUT_SHARE} {SMALLEST} {FREE}\n{text}".encode()).hexdigest()


def is_held_out(key: str, item: str) -> bool:
    """Say whether an item of a list belongs to those that training never shows."""
    digest = hashlib.sha256(f"{key}/{item}".encode()).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT_SHARE * 2**32


class Lexicon:
    """The words of one half.

    Args:
        half: ``training`` never gives a held-out item; ``held-out`` gives one wherever there is.
    """

    def __init__(self, half: Half = "training") -> None:
        self.half: Half = half
        self._lists: dict[str, tuple[str, ...]] = {
            key: self._choose(key, items) for key, items in _tables().items()
        }

        self.groups: tuple[tuple[int, ...], ...] = tuple(
            tuple(int(au) for au in key.split(".")[1].split("+"))
            for key in self._lists
            if key.startswith("together.") and key.endswith(".results")
        )

    def _choose(self, key: str, items: tuple[str, ...]) -> tuple[str, ...]:
        if key.startswith(FREE) or len(set(items)) < SMALLEST:
            return items
        new = tuple(item for item in items if is_held_out(key, item))
        old = tuple(item for item in items if item not in new)
        if not new or not old:
            return items
        return new if self.half == "held-out" else old

    def has(self, key: str) -> bool:
        """Say whether there is such a list."""
        return key in self._lists

    def items(self, key: str) -> tuple[str, ...]:
        """Return a list of this half."""
        return self._lists[key]

    def pick(self, key: str, rng: Random) -> str:
        """Return a random item of a list with its ``{slots}`` of words filled."""
        text = rng.choice(self._lists[key])
        return self.fill(text, rng) if "{" in text else text

    def fill(self, text: str, rng: Random) -> str:
        """Return a text whose ``{slots}`` of words are filled; other slots stay."""
        while True:
            new = SLOT.sub(lambda m: self._slot(m, rng), text)
            if new == text:
                return text
            text = new

    def _slot(self, match: re.Match[str], rng: Random) -> str:
        name = match[1]
        if name == "number":
            return str(rng.choice((rng.randint(1, 60), rng.randint(1, 1200), rng.randint(1, 27))))
        if name == "frame":
            return rng.choice(self._lists["say.irrelevant.frames"])
        items = self._lists.get(f"words.{name}")
        return rng.choice(items) if items else match[0]
