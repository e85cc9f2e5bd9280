"""Tables that people write, by hand, from a spreadsheet or from pandas: one reader for all.

Cells are separated by commas, semicolons or tabs, whichever the header uses; a line ``sep=;``
before it says so. A cell that holds a separator, a line break or a quotation mark stands in
quotation marks, its own doubled. Every line has as many cells as the header.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aubench.errors import AubenchError, suggest
from aubench.storage.text_files import decode_text, read_text

SEPARATORS = "\t;,"
"""In the order of preference where a line holds as many of two."""

SAID = re.compile(r'"?sep=([,;\t])"?[,;\t]*(?:\r\n|\r|\n)', re.IGNORECASE)
"""The first line by which spreadsheets are told the separator."""

BREAK = re.compile(r"\r\n|\r|\n")
MISSING = frozenset({"", "nan", "na", "n/a", "#n/a", "<na>", "null", "?"})
"""What pandas and spreadsheets write where there is no value, in small letters."""

NAMELESS = re.compile(r"Unnamed: \d+")
"""What pandas calls a column without a name."""

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
DECIMAL_COMMA = re.compile(r"([+-]?\d+),(\d+)", re.ASCII)


class TableError(ValueError):
    """A table that cannot be read.

    Args:
        reason: Says the line and why, without the name of the file.
        remedy: What to do about it.
    """

    def __init__(self, reason: str, remedy: str | None = None) -> None:
        super().__init__(reason)
        self.remedy = remedy

    def of(self, path: Path) -> AubenchError:
        """Return the error that names the file."""
        return AubenchError(f"{path} {self}", self.remedy)


@dataclass(frozen=True)
class Lines:
    """The lines of a table that hold anything.

    Attributes:
        separator: What separates the cells; a space stands for any white space.
        lines: Number of the line, from 1, and its cells without white space around them.
    """

    separator: str
    lines: list[tuple[int, list[str]]]

    def checked(self) -> Lines:
        """Return the lines without columns that are empty from the header on.

        Raises:
            TableError: A line has another number of cells than the first, the header, or a value
                in a column without a name that is not the first; names the line.
        """
        (first, header), *rest = self.lines
        header = ["" if NAMELESS.fullmatch(name) else name for name in header]
        for line, cells in rest:
            if len(cells) != len(header):
                raise _count_error(line, len(cells), len(header), self.separator)
            for i, cell in enumerate(cells[1:], 1):
                if cell and not header[i]:
                    raise TableError(
                        f"line {line} has '{cell[:20]}' in cell {i + 1}, whose column has no name",
                        "name the column in the header",
                    )
        kept = [i for i, name in enumerate(header) if name or i == 0]
        lines = [(line, [cells[i] for i in kept]) for line, cells in [(first, header), *rest]]
        return Lines(self.separator, lines)


@dataclass(frozen=True, slots=True)
class Row:
    """A line below the header.

    Attributes:
        path: File of the table.
        line: Number of the line, from 1; the header is mostly 1.
        cells: Cells by column, without white space around them.
        separator: What separates the cells.
    """

    path: Path
    line: int
    cells: dict[str, str]
    separator: str

    def __getitem__(self, column: str) -> str:
        """Return a cell, empty where there is no such column."""
        return self.cells.get(column, "")

    def number(self, column: str) -> float:
        """Return the number of a cell, NaN where it is missing; see `parse_number`.

        Raises:
            ValueError: It is no number.
        """
        return parse_number(self[column], self.separator)

    def error(self, reason: str, remedy: str | None = None) -> AubenchError:
        """Return an error that names file and line."""
        return AubenchError(f"{self.path} line {self.line}: {reason}", remedy)


@dataclass(frozen=True)
class Table:
    """A table with a header.

    Attributes:
        path: Its file.
        columns: Names of the columns, each once.
        rows: Lines below the header that hold anything.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def require(self, *columns: str, remedy: str | None = None) -> None:
        """Refuse a table without some columns, or without rows.

        Raises:
            AubenchError: Names the first column that lacks, or says that there are no rows.
        """
        for name in columns:
            if name not in self.columns:
                near = suggest(name, self.columns)
                there = ", ".join(self.columns)[:120] or "none"
                raise AubenchError(
                    f"{self.path} has no column '{name}'{near}, but {there}",
                    remedy or f"its first line names the columns {', '.join(columns)}",
                )
        if not self.rows:
            raise AubenchError(f"{self.path} has no rows", "write one a line below the header")


def read_table(path: Path) -> Table:
    """Return a table with a header.

    A column without a name is left out if it is the first, where pandas writes numbers of rows,
    or empty.

    Raises:
        AubenchError: It cannot be read, is no text, names a column twice, has a quotation mark
            that is not closed, or a line with another number of cells than the header; the line
            is named.
    """
    try:
        return _table(path, split_lines(read_text(path)))
    except OSError as error:
        raise AubenchError(
            f"cannot read {path}: {error.strerror}", "name a table in CSV or TSV"
        ) from error
    except TableError as error:
        raise error.of(path) from error
    except ValueError as error:  # no text
        raise AubenchError(f"{path} {error}", "save the table as CSV in UTF-8") from error


def _table(path: Path, found: Lines) -> Table:
    if not found.lines:
        return Table(path, (), ())
    (_, header), *rest = found.checked().lines
    start = 0 if header[0] else 1
    columns = tuple(header[start:])
    for i, name in enumerate(columns):
        if name in columns[:i]:
            raise TableError(f"has two columns '{name}'", "leave one of them out")
    rows = tuple(
        Row(path, line, dict(zip(columns, cells[start:], strict=True)), found.separator)
        for line, cells in rest
    )
    return Table(path, columns, rows)


def _count_error(line: int, found: int, wanted: int, separator: str) -> TableError:
    mark = {"\t": "a tab", " ": "a blank"}.get(separator, f"'{separator}'")
    remedy = (
        f"put a cell that holds {mark} into quotation marks"
        if found > wanted
        else "write all of its cells, empty where there is nothing"
    )
    plural = "" if found == 1 else "s"
    return TableError(f"line {line} has {found} cell{plural} where the header has {wanted}", remedy)


def split_lines(text: str | bytes, *, spaced: bool = False) -> Lines:
    """Return the lines that hold anything, and what separates their cells.

    Args:
        text: Of the table, or its bytes.
        spaced: White space separates cells where the first line has no separator.

    Raises:
        ValueError: Bytes are no text.
        TableError: A quotation mark is not closed or stands inside a cell, a cell seems to hold
            whole lines, or is too long; the line is named.
    """
    text = decode_text(text) if isinstance(text, bytes) else text
    said = SAID.match(text)
    start = said.end() if said else 0
    before = 1 if said else 0
    body = text[start:]
    first = next((line for line in BREAK.split(body) if line.strip()), "")
    if said is None and spaced and not any(mark in first for mark in SEPARATORS):
        lines = enumerate(BREAK.split(body), 1)
        return Lines(" ", [(n, words) for n, line in lines if (words := line.split())])
    separator = said[1] if said else _separator(first)
    _check_quotes(body, separator, before)
    return Lines(separator, list(_cells(body, separator, before)))


def _separator(header: str) -> str:
    plain = _quoted(SEPARATORS).sub("", header)
    return max(SEPARATORS, key=plain.count) if any(m in plain for m in SEPARATORS) else ","


def _quoted(separators: str) -> re.Pattern[str]:
    """Return what matches a cell in quotation marks, between separators or line ends."""
    outside = rf"[^{separators}\r\n]"
    return re.compile(rf'(?<!{outside})"(?:[^"]|"")*+"(?!{outside})')


def _check_quotes(text: str, separator: str, before: int) -> None:
    """Refuse quotation marks that csv would take as they come."""
    if '"' not in text:
        return
    plain = _quoted(separator).sub(lambda found: re.sub(r"[^\r\n]", " ", found[0]), text)
    at = plain.find('"')
    if at >= 0:
        line = len(BREAK.findall(plain[:at])) + 1 + before
        raise TableError(
            f"line {line} has a quotation mark that is not closed, or stands inside a cell",
            "put the whole cell into quotation marks, and double those inside",
        )


def _cells(text: str, separator: str, before: int) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    swallowed, line = None, before + 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                swallowed = swallowed or _swallowed(cells, separator)
                if any(swallowed(cell.strip()) for cell in cells):
                    raise TableError(
                        f"line {line} opens a cell in quotation marks that seems to hold lines",
                        "close it in its line",
                    )
                yield line, [cell.strip() for cell in cells]
            line = before + reader.line_num + 1
    except csv.Error as error:
        raise TableError(f"line {line} cannot be read: {error}", "mend that line") from error


def _swallowed(header: Sequence[str], separator: str) -> Callable[[str], bool]:
    """Return what tells a cell that seems to hold whole lines.

    Two stray quotation marks in different lines make one cell of all that lies between them, and
    what is left may have the right number of cells. Such a cell has a line break, and at least as
    many separators as a line. A comma before a blank is one of prose, unless the header has it too.
    """
    if any(BREAK.search(name.strip()) for name in header):
        return lambda cell: BREAK.search(cell) is not None
    prose = r"(?!\s)" if len(header) == 2 else "(?! )"  # a line of two cells ends in no empty one
    airy = any(name.startswith(" ") for name in header[1:])
    mark = re.compile(re.escape(separator) + ("" if airy else prose))
    return lambda cell: (
        BREAK.search(cell) is not None and len(mark.findall(cell)) >= len(header) - 1
    )


def parse_number(cell: str, separator: str = ",") -> float:
    """Return a number as pandas and spreadsheets write it, NaN where it is missing.

    Args:
        cell: Such as ``3``, ``3.0``, `` 3 ``, ``3,5`` or nothing.
        separator: What separates cells; where it is no comma, numbers may have a decimal comma.

    Raises:
        ValueError: It is no number.
    """
    word = plain_number(cell, separator)
    return float("nan") if word is None else float(word)


def plain_number(cell: str, separator: str = ",") -> str | None:
    """Return the digits of a number with a decimal point, None where it is missing.

    Raises:
        ValueError: It is no number.
    """
    word = cell.strip()
    if word.lower() in MISSING:
        return None
    if separator != "," and DECIMAL_COMMA.fullmatch(word):
        word = word.replace(",", ".")
    if not NUMBER.fullmatch(word):
        raise ValueError(f"'{word[:20]}' is no number")
    return word
