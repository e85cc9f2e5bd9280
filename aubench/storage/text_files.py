"""Text that people write: whatever byte order mark an editor leaves; TOML and JSON of any depth."""

from __future__ import annotations

import codecs
import json
import tomllib
from pathlib import Path
from typing import Any, NoReturn

from aubench.errors import AubenchError

LARGEST = 1 << 28
"""Bytes of a text file, at most: far more than people write, and no device without an end."""

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
ARCHIVE = b"PK\x03\x04"


def decode_text(data: bytes) -> str:
    """Return the text of UTF-8, or of UTF-16 or UTF-32 with a byte order mark, without the mark.

    Raises:
        ValueError: It is no such text; says why, and in which line.
    """
    if data.startswith(ARCHIVE):
        raise ValueError("is a spreadsheet or an archive, not text")
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding.removesuffix("-sig")
        line = error.object.count(b"\n", 0, error.start) + 1
        where = f"line {line} " if name == "utf-8" else ""
        raise ValueError(f"{where}is not {name.upper()} text") from error
    if "\0" in text:
        raise ValueError("is not text")
    return text.lstrip("\ufeff")  # some editors write the mark twice


def check_utf8(*names: str) -> None:
    """Refuse names of files that are not UTF-8, before what keeps them is written.

    Raises:
        AubenchError: Names the first, its bytes escaped.
    """
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            shown = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
            raise AubenchError(f"the name '{shown}' is not UTF-8", "give it another") from error


def read_bytes(path: Path, most: int = LARGEST) -> bytes:
    """Return what a file holds.

    Raises:
        OSError: It cannot be read.
        ValueError: It has more than ``most`` bytes.
    """
    with path.open("rb") as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise ValueError(f"has more than {most >> 20} MiB")
    return data


def read_text(path: Path) -> str:
    """Return the text of a file; see `decode_text`.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not text, or too large.
    """
    return decode_text(read_bytes(path))


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not text or not TOML, or its values lie too deep in each other.
    """
    return parse_toml(read_text(path))


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text.

    Raises:
        ValueError: It is not TOML, or its values lie too deep in each other.
    """
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("its values lie too deep in each other") from error


def read_json(path: Path, most: int = LARGEST, *, strict: bool = False) -> Any:
    """Return what a JSON file holds; ``strict`` as in `parse_json`.

    Raises:
        OSError: It cannot be read.
        ValueError: It has more than ``most`` bytes, is not text or not JSON, or its values lie too
            deep in each other.
    """
    return parse_json(decode_text(read_bytes(path, most)), strict=strict)


def parse_json(text: str, *, strict: bool = False) -> Any:
    """Return what a JSON text holds.

    Args:
        text: The text.
        strict: Refuse what readers of JSON do not agree on, as in files of others: a key twice in
            one object, and numbers that are none.

    Raises:
        ValueError: It is not JSON, or its values lie too deep in each other.
    """
    hooks: dict[str, Any] = {"object_pairs_hook": _once, "parse_constant": _refuse}
    try:
        return json.loads(text, **(hooks if strict else {}))
    except RecursionError as error:
        raise ValueError("its values lie too deep in each other") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key '{twice}' twice")
    return found


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")
