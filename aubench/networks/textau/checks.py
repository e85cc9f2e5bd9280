"""What a text classifier cannot be asked: nothing, too much, or another language."""

from __future__ import annotations

import re
from functools import lru_cache

from aubench.errors import AubenchError
from aubench.facs.describe import wordings
from aubench.networks.textau.classifier import Reading, Tokens

LETTERS = 0.85
"""Least share of letters a to z."""

KNOWN = 0.2
"""Least share of words that are known, in a text of at least ``ENOUGH`` words."""

ENOUGH = 4

_COMMON = """
a an the this that these those it its he she they his her their him them you your we our i my and or
but not no nor so if then than as at by for from in into of off on onto out over to up down under
with without within between above below across around near is are was were be been being has have
had do does did can could may might will would shall should must both each all some any few more
most less very too only just also there here when where while which who what how one two left right
side sides person man woman face facial expression eye eyes eyebrow eyebrows eyelid eyelids mouth
nose jaw jaws forehead look looks looking open opened closed wide slightly strongly smile smiles
smiling grin grins grinning frown frowns frowning scowl scowls squint squints squinting furrowed
clenched wrinkled raised lowered happy sad angry afraid surprised disgusted happiness sadness anger
fear surprise disgust contempt neutral
"""
COMMON = frozenset(_COMMON.split())
"""English words of any text, beside those of our dictionary."""


@lru_cache(maxsize=1)
def vocabulary() -> frozenset[str]:
    """Return the words of our AU descriptions, and common English ones."""
    texts = " ".join(text for group in wordings().values() for text in group)
    return COMMON | frozenset(words(texts))


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, in any script."""
    return re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", text.lower())


def check_language(text: str) -> str | None:
    """Return why a text may not be English, None if nothing speaks against it.

    A cheap test, not a language model: it counts letters outside a to z, and words that neither our
    dictionary nor a short list of common English words has. English of another subject passes by
    its common words; a few words in a row that are all unknown are warned of in any language.
    """
    letters = [c for c in text.lower() if c.isalpha()]
    plain = sum("a" <= c <= "z" for c in letters)
    if not letters:
        return "it has no letters"
    if plain < LETTERS * len(letters):
        return f"{len(letters) - plain} of its {len(letters)} letters are not among a to z"
    found = words(text)
    known = sum(word in vocabulary() for word in found)
    if not known:
        return f"none of its words is known ({len(found)})"
    if len(found) >= ENOUGH and known < KNOWN * len(found):
        return f"only {known} of its {len(found)} words are known"
    return None


def check_text(text: str, tokens: Tokens) -> list[str]:
    """Return warnings about a text, none if it is as it should be.

    Raises:
        AubenchError: The text is empty.
    """
    if not text.strip():
        raise AubenchError("the text is empty", "describe a face in English")
    out = []
    count, start = tokens.cut(text)
    if start is not None:
        rest = text[start:].split()
        nth = len(text[:start].split()) + (start == 0 or text[start - 1].isspace())
        quote = " ".join(rest[:6]) + (" …" if len(rest) > 6 else "")
        out.append(
            f"the text has {count} tokens and {tokens.length} are read: cut from word {nth} on, "
            f"'{quote}'"
        )
    reason = check_language(text)
    if reason:
        out.append(f"the text may not be English: {reason}; the classifier knows only English")
    return out


def check_reading(text: str, reading: Reading) -> str | None:
    """Return why a reading is not to be relied on, None where it is as sure as it can be.

    A text is not read where it may not be English, or where the classifier itself gives less than
    even odds that all twelve AUs are right.
    """
    reason = check_language(text)
    if reason:
        return reason
    if reading.unsure:
        return f"all twelve AUs are right with a probability of {reading.certainty:.2f} only"
    return None
