"""Files of AU codes as coders left them: with and without header, BOM, CRLF, repeated frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aubench.facs import AUS
from aubench.facs.coding import UNKNOWN, parse_intensity, parse_occurrence
from aubench.storage.tables import Lines, parse_number, split_lines

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

BP4D_PLUS = (1, 2, 4, 5, 6, 7, *range(9, 21), 22, 23, 24, *range(27, 40))
"""Columns of BP4D+."""

HEADERLESS: dict[int, tuple[int, ...]] = {len(AUS): AUS, len(BP4D_PLUS): BP4D_PLUS}
"""AUs of a file without header, by the number of its columns after the frame."""


class CodingError(ValueError):
    """A file that holds no codes; says which line and why."""


@dataclass(frozen=True)
class Coding:
    """Codes of a sequence.

    Attributes:
        aus: AU numbers of the columns.
        frames: Sorted, distinct; int32 [N].
        values: float32 [N, K], NaN where unknown.
        repeated: Frames that the file names more than once with different codes; the codes that
            differ are unknown.
    """

    aus: tuple[int, ...]
    frames: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]
    repeated: tuple[int, ...] = ()


def read_lines(data: bytes) -> Lines:
    """Return the lines of a coder's file, separated as any table, or by spaces.

    Raises:
        CodingError: The file is empty or no text.
    """
    try:
        found = split_lines(data, spaced=True)
    except ValueError as error:
        raise CodingError(str(error)) from error
    if not found.lines:
        raise CodingError("is empty")
    return found


def read_occurrence(data: bytes, columns: tuple[int, ...] | None = None) -> Coding:
    """Return AU occurrence of a file: frame, then 0, 1 or 9 for each AU; 9 is unknown.

    A first line with anything but codes after its first cell is the header, AU numbers with or
    without letters. Without one the columns are those given, else follow from their number.

    Raises:
        CodingError: Names the line that is at fault.
    """
    found = read_lines(data)
    (line, head), *rest = found.lines
    if any(_code(cell, found.separator) is None for cell in head[1:]) or len(head) == 1:
        aus = tuple(_au(cell, line) for cell in head[1:])
        if not aus or len(set(aus)) < len(aus):
            raise CodingError(f"line {line}: a header that names no AU, or one twice")
        return _coding(Lines(found.separator, rest), aus, parse_occurrence)
    known = columns or HEADERLESS.get(len(head) - 1)
    if known is None or len(known) != len(head) - 1:
        raise CodingError(f"has no header and {len(head) - 1} columns, whose AUs are not known")
    return _coding(found, known, parse_occurrence)


def _code(cell: str, separator: str) -> int | None:
    """Return an occurrence, None of a cell that is none, such as an AU's number in a header."""
    try:
        return parse_occurrence(cell, separator)
    except ValueError:
        return None


def read_intensity(data: bytes, au: int) -> Coding:
    """Return one AU's intensity: lines of frame and 0 to 5, 9 unknown; a header may come first.

    Raises:
        CodingError: Names the line that is at fault.
    """
    found = read_lines(data)
    if _number(found.lines[0][1][0]) is None:
        found = Lines(found.separator, found.lines[1:])
    return _coding(found, (au,), parse_intensity)


def read_intensities(data: bytes) -> Coding:
    """Return intensities of a file with a header of AU numbers.

    Raises:
        CodingError: Names the line that is at fault, or an AU that the header names twice.
    """
    found = read_lines(data)
    (line, head), *rest = found.lines
    aus = tuple(_au(cell, line) for cell in head[1:])
    if len(set(aus)) < len(aus):
        raise CodingError(f"line {line}: a header that names an AU twice")
    return _coding(Lines(found.separator, rest), aus, parse_intensity)


def _coding(found: Lines, aus: tuple[int, ...], value: Callable[[str, str], float]) -> Coding:
    import numpy as np

    rows = found.lines
    if not rows:
        raise CodingError("holds no frame")
    frames, values = np.empty(len(rows), np.int32), np.empty((len(rows), len(aus)), np.float32)
    for i, (number, cells) in enumerate(rows):
        while len(cells) > len(aus) + 1 and not cells[-1]:
            cells = cells[:-1]  # a full line says all of its codes, so that none has moved
        if len(cells) != len(aus) + 1:
            raise CodingError(f"line {number} has {len(cells)} cells, not {len(aus) + 1}")
        frame = _number(cells[0])
        if frame is None or not 0 <= frame < 2**31 or frame != int(frame):
            raise CodingError(f"line {number}: '{cells[0]}' is no frame number")
        frames[i] = int(frame)
        for k, cell in enumerate(cells[1:]):
            try:
                code = value(cell, found.separator) if cell else None
            except ValueError:
                code = None
            if code is None:
                raise CodingError(f"line {number}: '{cell}' is no code of AU{aus[k]}")
            values[i, k] = np.nan if code == UNKNOWN else code
    return _merged(aus, frames, values)


def _merged(
    aus: tuple[int, ...], frames: npt.NDArray[np.int32], values: npt.NDArray[np.float32]
) -> Coding:
    """Sort by frame; where a frame is coded twice, keep the codes that agree."""
    import numpy as np

    order = np.argsort(frames, kind="stable")
    frames, values = frames[order], values[order]
    distinct, first = np.unique(frames, return_index=True)
    if len(distinct) == len(frames):
        return Coding(aus, frames, values)
    out, twice = values[first].copy(), []
    ends = [*first[1:], len(frames)]
    for i, (start, end) in enumerate(zip(first, ends, strict=True)):
        same = (values[start:end] == values[start]).all(0) | np.isnan(values[start:end]).all(0)
        if not same.all():
            out[i, ~same] = np.nan
            twice.append(int(distinct[i]))
    return Coding(aus, distinct, out, tuple(twice))


def _number(cell: str) -> float | None:
    try:
        return parse_number(cell)
    except ValueError:
        return None


def _au(cell: str, line: int) -> int:
    word = cell.strip().upper().removeprefix("AU").lstrip("_ ")
    if not word.isdigit():
        raise CodingError(f"line {line}: '{cell}' is no AU")
    return int(word)
