"""Landmarks that come with the data, in place of a face finder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aubench.datasets.readers.codings import CodingError, read_lines
from aubench.errors import AubenchError
from aubench.storage.tables import parse_number

if TYPE_CHECKING:
    from aubench.datasets.readers.sequences import Coded

FIVE: dict[int, tuple[tuple[int, ...], ...]] = {
    5: ((0,), (1,), (2,), (3,), (4,)),
    49: (tuple(range(19, 25)), tuple(range(25, 31)), (13,), (31,), (37,)),
    66: (tuple(range(36, 42)), tuple(range(42, 48)), (30,), (48,), (54,)),
    68: (tuple(range(36, 42)), tuple(range(42, 48)), (30,), (48,), (54,)),
}
"""By the number of points, those whose mean is an eye, the nose tip, a corner of the mouth."""


class Landmarks:
    """A folder with ``F001_T1.csv`` for each sequence: frame, then x, y of 5, 49, 66 or 68 points.

    49 points are the common scheme without the outline of the face, 66 and 68 the one with it.

    Raises:
        AubenchError: There is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise AubenchError(f"no folder {folder}", "--landmarks takes F001_T1.csv and the like")
        self._folder = folder
        self._read: dict[str, dict[int, tuple[float, ...]]] = {}

    def points(self, sequence: Coded, row: int) -> tuple[float, ...] | None:
        """Return ten numbers, five points as of `aubench.datasets.alignment.Face`; None if unknown.

        Raises:
            AubenchError: Names the line of a file that is at fault.
        """
        name = "_".join(part for part in (sequence.subject, sequence.task) if part)
        if name not in self._read:
            self._read = {name: _table(self._folder / f"{name}.csv")}
        return self._read[name].get(int(sequence.frames[row]))


def _table(path: Path) -> dict[int, tuple[float, ...]]:
    if not path.is_file():
        return {}
    out = {}
    try:
        found = read_lines(path.read_bytes())
    except CodingError as error:
        raise AubenchError(f"{path} {error}") from error
    for i, (number, cells) in enumerate(found.lines):
        if i == 0 and not cells[0].lstrip("-").isdecimal():
            continue  # the header
        try:
            points = [parse_number(cell, found.separator) for cell in cells[1:]]
            if any(value != value for value in points):
                raise ValueError("a coordinate is missing")
            out[int(cells[0])] = five(points)
        except ValueError as error:
            raise AubenchError(f"{path} line {number}: {error}") from error
    return out


def five(values: list[float]) -> tuple[float, ...]:
    """Return five points of x, y of 5, 49, 66 or 68.

    Raises:
        ValueError: Another number of values.
    """
    scheme = FIVE.get(len(values) // 2) if len(values) % 2 == 0 else None
    if scheme is None:
        raise ValueError(f"{len(values)} numbers are not 5, 49, 66 or 68 points")
    out: list[float] = []
    for group in scheme:
        out += [sum(values[2 * i + axis] for i in group) / len(group) for axis in (0, 1)]
    return tuple(out)
