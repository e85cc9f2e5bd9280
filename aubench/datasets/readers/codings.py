"""Files of AU codes as coders left them: with and without header, BOM, CRLF, repeated frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aubench.facs import AUS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

UNKNOWN = -1
"""In labels int8; the files say 9."""

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


def read_text(data: bytes) -> list[tuple[int, list[str]]]:
    """Return (line number, cells) of every line that is not empty.

    Cells are separated by comma, semicolon, tab or spaces.

    Raises:
        CodingError: The file is empty or no text.
    """
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise CodingError("is not text") from error
    if "\0" in text:
        raise CodingError("is not text")
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        for mark in ",;\t":
            if mark in line:
                cells = [cell.strip().strip('"') for cell in line.split(mark)]
                break
        else:
            cells = line.split()
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            rows.append((number, cells))
    if not rows:
        raise CodingError("is empty")
    return rows


def read_occurrence(data: bytes, columns: tuple[int, ...] | None = None) -> Coding:
    """Return AU occurrence of a file: frame, then 0, 1 or 9 for each AU; 9 is unknown.

    A first line with anything but codes after its first cell is the header, AU numbers with or
    without letters. Without one the columns are those given, else follow from their number.

    Raises:
        CodingError: Names the line that is at fault.
    """
    rows = read_text(data)
    head = rows[0][1]
    if any(_number(cell) not in (0.0, 1.0, 9.0) for cell in head[1:]) or len(head) == 1:
        aus = tuple(_au(cell, rows[0][0]) for cell in head[1:])
        if not aus or len(set(aus)) < len(aus):
            raise CodingError(f"line {rows[0][0]}: a header that names no AU, or one twice")
        rows = rows[1:]
    else:
        found = columns or HEADERLESS.get(len(head) - 1)
        if found is None or len(found) != len(head) - 1:
            raise CodingError(f"has no header and {len(head) - 1} columns, whose AUs are not known")
        aus = found
    return _coding(rows, aus, _occurrence)


def read_intensity(data: bytes, au: int) -> Coding:
    """Return one AU's intensity: lines of frame and 0 to 5, 9 unknown; a header may come first.

    Raises:
        CodingError: Names the line that is at fault.
    """
    rows = read_text(data)
    if any(_number(cell) is None for cell in rows[0][1]):
        rows = rows[1:]
    return _coding(rows, (au,), _intensity)


def read_intensities(data: bytes) -> Coding:
    """Return intensities of a file with a header of AU numbers.

    Raises:
        CodingError: Names the line that is at fault.
    """
    rows = read_text(data)
    aus = tuple(_au(cell, rows[0][0]) for cell in rows[0][1][1:])
    return _coding(rows[1:], aus, _intensity)


def _coding(
    rows: Sequence[tuple[int, list[str]]],
    aus: tuple[int, ...],
    value: Callable[[str], float | None],
) -> Coding:
    import numpy as np

    if not rows:
        raise CodingError("holds no frame")
    frames, values = np.empty(len(rows), np.int32), np.empty((len(rows), len(aus)), np.float32)
    for i, (number, cells) in enumerate(rows):
        if len(cells) != len(aus) + 1:
            raise CodingError(f"line {number} has {len(cells)} cells, not {len(aus) + 1}")
        frame = _number(cells[0])
        if frame is None or not 0 <= frame < 2**31 or frame != int(frame):
            raise CodingError(f"line {number}: '{cells[0]}' is no frame number")
        frames[i] = int(frame)
        for k, cell in enumerate(cells[1:]):
            found = value(cell)
            if found is None:
                raise CodingError(f"line {number}: '{cell}' is no code of AU{aus[k]}")
            values[i, k] = found
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
        return float(cell)
    except ValueError:
        return None


def _au(cell: str, line: int) -> int:
    word = cell.strip().upper().removeprefix("AU").lstrip("_ ")
    if not word.isdigit():
        raise CodingError(f"line {line}: '{cell}' is no AU")
    return int(word)


def _occurrence(cell: str) -> float | None:
    found = _number(cell)
    if found == 9 or found == UNKNOWN or cell.lower() == "nan":
        return float("nan")
    return found if found in (0.0, 1.0) else None


def _intensity(cell: str) -> float | None:
    found = _number(cell)
    if found == 9 or found == UNKNOWN or cell.lower() == "nan":
        return float("nan")
    return found if found is not None and 0 <= found <= 5 else None
