"""The Action Units (AUs) of the benchmark and how their sets are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from aubench.errors import AubenchError, suggest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

AUS: tuple[int, ...] = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
"""AU numbers in the order of every AU vector of this project (BP4D order)."""


def parse_aus(text: str) -> tuple[int, ...]:
    """Parse ``"6+12+15"`` (also ``AU6,AU12``) into AU numbers in vector order.

    ``"neutral"`` is the empty set.

    Raises:
        AubenchError: an AU is unknown, malformed or listed twice.
    """
    if text.strip().lower() in {"neutral", "0"}:
        return ()
    found: list[int] = []
    for part in text.replace(",", "+").split("+"):
        word = part.strip().upper().removeprefix("AU")
        if not word.isdigit() or int(word) not in AUS:
            known = ", ".join(map(str, AUS))
            near = suggest(word, map(str, AUS))
            raise AubenchError(f"unknown AU '{part.strip()}'{near}", f"the AUs are {known}")
        if int(word) in found:
            raise AubenchError(f"AU{int(word)} is listed twice in '{text}'", "name each AU once")
        found.append(int(word))
    return tuple(sorted(found))


def combination_name(labels: Sequence[int] | npt.NDArray[np.generic]) -> str:
    """Return ``"6+12+15"`` for a 0/1 vector [12] in ``AUS`` order, ``"neutral"`` for zeros."""
    return "+".join(str(au) for au, on in zip(AUS, labels, strict=True) if on) or "neutral"


def labels_of(aus: Iterable[int]) -> npt.NDArray[np.uint8]:
    """Return the 0/1 vector uint8 [12] of a set of AU numbers."""
    import numpy as np

    active = set(aus)
    return np.array([au in active for au in AUS], dtype=np.uint8)
