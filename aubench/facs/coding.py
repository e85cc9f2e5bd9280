"""Codes of AUs as people write them: names of columns, occurrence and intensity."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from aubench.errors import AubenchError
from aubench.facs.action_units import AUS
from aubench.storage.tables import Row, Table, parse_number

OCCURRENCE = re.compile(r"AU_?0*(\d+)", re.ASCII | re.IGNORECASE)
INTENSITY = re.compile(r"(?:I_?0*(\d+)|AU_?0*(\d+)_(?:intensity|r))", re.ASCII | re.IGNORECASE)
ALMOST = re.compile(r"AU\W*_?\W*(\d+)\W*(?:_c)?", re.ASCII | re.IGNORECASE)
"""A column that means an AU and is not named as one, such as ``Au 12`` or OpenFace's ``AU12_c``."""

GRADES = {letter: float(i) for i, letter in enumerate("ABCDE", 1)}
"""Intensities in the letters of FACS."""

UNKNOWN = -1
"""An occurrence that nobody coded; files say 9, -1 or nothing."""

CODED_UNKNOWN = (9.0, -1.0)


@dataclass(frozen=True)
class AuColumns:
    """The columns of a table that code AUs, by AU.

    Attributes:
        occurrence: Columns of occurrence, such as ``AU1`` or ``AU01``.
        intensity: Columns of intensity, such as ``I12``, ``AU12_r`` or ``AU12_intensity``.
    """

    occurrence: dict[int, str]
    intensity: dict[int, str]

    def labels(self, row: Row) -> dict[int, int]:
        """Return occurrence by AU: 0, 1 or -1 where unknown.

        Raises:
            AubenchError: Names the line and column that holds anything else.
        """
        return {au: _cell(row, name, "occurrence") for au, name in self.occurrence.items()}

    def grades(self, row: Row) -> dict[int, float]:
        """Return intensity by AU: 0 to 5, NaN where unknown.

        Raises:
            AubenchError: Names the line and column that holds anything else.
        """
        return {au: _grade(row, name) for au, name in self.intensity.items()}


def au_columns(table: Table) -> AuColumns:
    """Return the columns that code AUs.

    Raises:
        AubenchError: Two columns code the same, or one means an AU and is not named as one.
    """
    found: tuple[dict[int, str], dict[int, str]] = ({}, {})
    for name in table.columns:
        for kind, pattern in zip(found, (OCCURRENCE, INTENSITY), strict=True):
            match = pattern.fullmatch(name)
            if match is None:
                continue
            au = int(next(group for group in match.groups() if group))
            if au in kind:
                what = "AU" if kind is found[0] else "the intensity of AU"
                raise AubenchError(
                    f"{table.path} has two columns for {what}{au}: {kind[au]} and {name}",
                    "leave one of them out",
                )
            kind[au] = name
    taken = {*found[0].values(), *found[1].values()}
    for name in table.columns:
        almost = ALMOST.fullmatch(name)
        if almost and name not in taken:
            raise AubenchError(
                f"{table.path}: column '{name}' would be no AU", f"name it AU{int(almost[1])}"
            )
    return AuColumns(*found)


def in_order(values: dict[int, int], unknown: int = UNKNOWN) -> Sequence[int]:
    """Return occurrence in the order of every AU vector, ``unknown`` where it is not known."""
    known = (values.get(au, UNKNOWN) for au in AUS)
    return [unknown if value == UNKNOWN else value for value in known]


def parse_occurrence(cell: str, separator: str = ",") -> int:
    """Return 0, 1, or -1 where a cell says 9, -1 or nothing.

    Raises:
        ValueError: It says anything else.
    """
    word = {"true": "1", "false": "0"}.get(cell.strip().lower(), cell)
    value = parse_number(word, separator)
    if value != value or value in CODED_UNKNOWN:
        return UNKNOWN
    if value not in (0.0, 1.0):
        raise ValueError(f"'{cell}' is no occurrence")
    return int(value)


def parse_intensity(cell: str, separator: str = ",") -> float:
    """Return 0 to 5, also of the letters A to E, or NaN where a cell says 9, -1 or nothing.

    Raises:
        ValueError: It says anything else.
    """
    letter = GRADES.get(cell.strip().upper())
    if letter is not None:
        return letter
    value = parse_number(cell, separator)
    if value in CODED_UNKNOWN:
        return float("nan")
    if value < 0 or value > 5:
        raise ValueError(f"'{cell}' is no intensity")
    return value


def _cell(row: Row, name: str, what: str) -> int:
    try:
        return parse_occurrence(row[name], row.separator)
    except ValueError as error:
        word = row[name][:20]
        graded = word.upper() in GRADES or word in ("2", "3", "4", "5")
        remedy = "write 0, 1, or 9 for unknown"
        if graded:
            remedy += f"; an intensity has a column of its own, such as I{_number(name)}"
        raise row.error(f"{name} is '{word}'", remedy) from error


def _grade(row: Row, name: str) -> float:
    try:
        return parse_intensity(row[name], row.separator)
    except ValueError as error:
        raise row.error(
            f"{name} is '{row[name][:20]}'", "write 0 to 5, A to E, or nothing"
        ) from error


def _number(name: str) -> str:
    found = re.search(r"\d+", name)
    return str(int(found[0])) if found else ""
