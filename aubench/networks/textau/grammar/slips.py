"""Spelling slips, and words that nobody knows."""

from __future__ import annotations

from random import Random


def slip(text: str, rng: Random) -> str:
    """Return a text with one or two slips in words of five letters or more."""
    words = text.split(" ")
    long = [k for k, word in enumerate(words) if len(word) > 4 and word.isalpha()]
    for k in rng.sample(long, min(len(long), rng.randint(1, 2))):
        word = words[k]
        at = rng.randrange(1, len(word) - 1)
        kind = rng.randrange(4)
        if kind == 0:
            word = word[:at] + word[at + 1 :]
        elif kind == 1:
            word = word[:at] + word[at] + word[at:]
        elif kind == 2:
            word = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        else:
            word = word[:at] + rng.choice("abcdefghijklmnopqrstuvwxyz") + word[at + 1 :]
        words[k] = word
    return " ".join(words)


def pseudo_word(rng: Random) -> str:
    """Return a word that nobody knows."""
    onset = (
        "b",
        "c",
        "d",
        "f",
        "g",
        "l",
        "m",
        "n",
        "p",
        "r",
        "s",
        "t",
        "v",
        "st",
        "tr",
        "pl",
        "sh",
        "gr",
    )
    return "".join(
        rng.choice(onset) + rng.choice("aeiou") for _ in range(rng.randint(1, 3))
    ) + rng.choice(("", "n", "r", "ly", "ed", "s"))
