"""JSON of others: no key twice, no number that is none, not without end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

MOST_BYTES = 16 << 20
"""Bytes of a record; one of all metrics with all groups has less than one MiB."""


def read_json(path: Path, most: int = MOST_BYTES) -> tuple[str, Any]:
    """Return the text of a file and what it holds.

    Raises:
        OSError: It cannot be read.
        ValueError: It is larger than ``most`` bytes, not UTF-8, no JSON, nested too deep, has a
            key twice, or NaN or an infinite number.
    """
    with path.open("rb") as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise ValueError(f"larger than {most >> 20} MiB")
    text = data.decode("utf-8")
    try:
        return text, json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key '{twice}' twice")
    return found


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")
