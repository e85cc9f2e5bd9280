"""The words of all pages, a file per language."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from aubench.errors import AubenchError, suggest
from aubench.storage.text_files import parse_toml, read_text

FOLDER = Path(__file__).with_name("languages")
STRINGS = "strings.toml"
"""Words of a study of its own, in its folder."""
TABLES = ("page", "script", "admin", "errors", "consent")
Table = dict[str, str]


@dataclass(frozen=True)
class Language:
    """All words of one language.

    Attributes:
        code: Code for the attribute ``lang``, such as ``de``.
        tables: Words by table and key.
    """

    code: str
    tables: dict[str, Table]

    def error(self, key: str) -> str:
        """Return what a rater is told of a refusal."""
        return self.tables["errors"][key]


def shipped() -> list[str]:
    """Return the codes of the languages that are here."""
    return sorted(path.stem for path in FOLDER.glob("*.toml") if "." not in path.stem)


@lru_cache
def _shipped(code: str) -> Language:
    return parse((FOLDER / f"{code}.toml").read_text(encoding="utf-8"), f"{code}.toml")


def parse(text: str, name: str) -> Language:
    """Return the language of a text.

    Raises:
        AubenchError: It is no such file; names the key that lacks or is too much.
    """
    try:
        found = parse_toml(text)
    except ValueError as error:
        raise AubenchError(f"{name} is no TOML: {error}", f"begin with {FOLDER}/en.toml") from error
    code = found.pop("lang", None)
    if not isinstance(code, str) or not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]+)*", code):
        raise AubenchError(f'{name} has no lang = "…"', "state the code of the language")
    if name != "en.toml":
        _compare(found, _shipped("en").tables, name)
    return Language(code, found)


def _compare(found: dict[str, Table], wanted: dict[str, Table], name: str) -> None:
    for table, words in wanted.items():
        given = found.get(table, {})
        for key in given:
            if key not in words:
                raise AubenchError(f"{name}: {table}.{key} is no word of a page", "take it out")
        for key in words:
            if not isinstance(given.get(key), str):
                raise AubenchError(f"{name} lacks {table}.{key}", f"see {FOLDER}/en.toml")
            blanks = set(re.findall(r"{\w+}", words[key]))
            if set(re.findall(r"{\w+}", given[key])) != blanks:
                raise AubenchError(
                    f"{name}: {table}.{key} has other blanks than {sorted(blanks)}", "keep them"
                )
    for table in found:
        if table not in wanted:
            raise AubenchError(f"{name}: [{table}] is no table of words", "take it out")


def find(wanted: str) -> tuple[Language, str | None]:
    """Return a shipped language by its code, or that of a file with the file's text.

    Raises:
        AubenchError: There is no such language or file.
    """
    if wanted in shipped():
        return _shipped(wanted), None
    path = Path(wanted)
    if path.suffix != ".toml":
        raise AubenchError(
            f"no language '{wanted}'{suggest(wanted, shipped())}",
            f"one of {', '.join(shipped())}, or a file like {FOLDER}/en.toml",
        )
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise AubenchError(f"cannot read {path}: {error}") from error
    return parse(text, str(path)), text


def of_study(study: Path, code: str) -> Language:
    """Return the words of a study: those in its folder, else the shipped ones of its language.

    Raises:
        AubenchError: Its own file is damaged, or the language is not here.
    """
    own = study / STRINGS
    return find(str(own))[0] if own.is_file() else find(code)[0]
