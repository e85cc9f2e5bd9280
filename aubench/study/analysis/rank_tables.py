"""Audit of published tables of mean ranks or rank scores: what arithmetic alone can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

from aubench.errors import AubenchError
from aubench.storage.files import shipped
from aubench.storage.tables import TableError, plain_number, split_lines
from aubench.storage.text_files import read_text, read_toml

LARGEST = 1000
"""Denominators tried when looking for the number of rankings behind a table."""


@dataclass(frozen=True)
class RankTable:
    """A table of mean scores from 1 to k, a row a condition, a column a model.

    Attributes:
        means: The row of means over the other rows, where the table has one.
        decimals: Digits after the point, the same for all values.
    """

    name: str
    models: tuple[str, ...]
    rows: dict[str, tuple[Decimal, ...]]
    means: tuple[Decimal, ...] | None
    decimals: int

    @property
    def k(self) -> int:
        """Models that were ranked."""
        return len(self.models)

    @property
    def half(self) -> Fraction:
        """Half a unit of the last digit: how far rounding can move a value."""
        return Fraction(1, 2 * 10**self.decimals)


def table_from_rows(name: str, rows: Sequence[Sequence[str]], separator: str = ",") -> RankTable:
    """Return the table of rows of text; the first row names the models, the first column rows.

    A last row whose name begins with ``mean`` or ``average`` is the row of means. Where cells are
    separated by anything but commas, numbers may have a decimal comma.

    Raises:
        AubenchError: Names the row and column that is no number, or what is missing.
    """
    filled = [[cell.strip() for cell in row] for row in rows if any(cell.strip() for cell in row)]
    if len(filled) < 2 or len(filled[0]) < 3:
        raise AubenchError(f"{name} is no rank table", "give two models and one row at least")
    models = tuple(filled[0][1:])
    twice = next((model for i, model in enumerate(models) if model in models[:i]), None)
    if twice is not None:
        raise AubenchError(f"{name} has two columns '{twice}'", "leave one of them out")
    values: dict[str, tuple[Decimal, ...]] = {}
    for row in filled[1:]:
        if len(row) != len(models) + 1:
            raise AubenchError(
                f"{name}, row '{row[0]}' has {len(row) - 1} values", f"the header has {len(models)}"
            )
        if row[0] in values:
            raise AubenchError(f"{name}, row '{row[0]}' occurs twice", "leave one out")
        values[row[0]] = tuple(
            _number(f"{name}, row '{row[0]}', column '{model}'", cell, separator)
            for model, cell in zip(models, row[1:], strict=True)
        )
    decimals = max(_decimals(value) for row in values.values() for value in row)
    last = list(values)[-1]
    means = values.pop(last) if last.lower().startswith(("mean", "average")) else None
    if not values:
        raise AubenchError(f"{name} has no row but '{last}'", "give one above it")
    return RankTable(name, models, values, means, decimals)


def _number(place: str, cell: str, separator: str) -> Decimal:
    try:
        digits = plain_number(cell, separator)
        if digits is None:
            raise ValueError
        return Decimal(digits)
    except ValueError as error:
        raise AubenchError(f"{place}: '{cell[:20]}' is no number", "write a mean") from error


def _decimals(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def read_rank_table(path: Path) -> RankTable:
    """Read a table from CSV, TSV or Markdown.

    Raises:
        AubenchError: The file cannot be read, or is no such table.
    """
    try:
        text = read_text(path)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if lines and lines[0].startswith("|"):
            return table_from_rows(str(path), _markdown(lines))
        found = split_lines(text)
        rows = [cells for _, cells in found.checked().lines] if found.lines else []
    except OSError as error:
        raise AubenchError(f"cannot read {path}: {error.strerror}", "name a table") from error
    except TableError as error:
        raise error.of(path) from error
    except ValueError as error:
        raise AubenchError(f"{path} {error}", "save the table as CSV in UTF-8") from error
    return table_from_rows(str(path), rows, found.separator)


def _markdown(lines: Sequence[str]) -> list[list[str]]:
    """Return the cells of the lines, without the line of dashes below the header."""
    cells = [line.strip("|").split("|") for line in lines]
    return [row for row in cells if not all(set(cell.strip()) <= set(":-") for cell in row)]


@dataclass(frozen=True)
class Finding:
    """One thing that arithmetic says of a table; ``fault`` if complete rankings forbid it."""

    where: str
    what: str
    fault: bool


def on_grid(value: Decimal, denominator: int, half: Fraction, *, ties: bool = False) -> bool:
    """Whether a mean of ``denominator`` ranks can be printed as this value.

    Either way of rounding a five is admitted; with ties mean ranks go in halves.
    """
    steps = denominator * (2 if ties else 1)
    exact = Fraction(value)
    return floor((exact + half) * steps) >= ceil((exact - half) * steps)


def denominators(table: RankTable, largest: int = LARGEST) -> list[int]:
    """Return the numbers of rankings, up to ``largest``, whose means can print every value."""
    values = [value for row in table.rows.values() for value in row]
    return [n for n in range(1, largest + 1) if all(on_grid(v, n, table.half) for v in values)]


def audit(table: RankTable, raters: int | None = None, items: int | None = None) -> list[Finding]:
    """Return everything that complete rankings would forbid, and what they would need.

    Args:
        table: Mean scores, 1 to k, either end the best.
        raters: Raters who ranked.
        items: Images of each model in a row.
    """
    found = _range(table) + _sums(table) + _means(table)
    if raters is not None:
        found += _grid(table, raters, items or 1)
    return found + _needed(table, raters)


def _range(table: RankTable) -> list[Finding]:
    low, high = 1 - table.half, table.k + table.half
    return [
        Finding(f"{name}, {model}", f"{value} is outside 1 to {table.k}", True)
        for name, row in table.rows.items()
        for model, value in zip(table.models, row, strict=True)
        if not low <= Fraction(value) <= high
    ]


def _sums(table: RankTable) -> list[Finding]:
    right = Fraction(table.k * (table.k + 1), 2)
    slack = table.k * table.half
    found = []
    for name, row in table.rows.items():
        total = sum(row, Decimal(0))
        off = Fraction(total) - right
        if abs(off) > slack:
            what = (
                f"sums to {total}, complete rankings of {table.k} sum to {float(right):g} "
                f"(off by {float(off):+.{table.decimals}f}, rounding explains {float(slack):.4g})"
            )
            found.append(Finding(name, what, True))
        else:
            found.append(Finding(name, f"sums to {total}: as it must", False))
    return found


def _means(table: RankTable) -> list[Finding]:
    if table.means is None:
        return []
    found = []
    for column, (model, stated) in enumerate(zip(table.models, table.means, strict=True)):
        exact = sum((Fraction(row[column]) for row in table.rows.values()), Fraction(0))
        exact /= len(table.rows)
        if abs(exact - Fraction(stated)) > 2 * table.half:
            what = f"is {stated}, the mean of its rows is {float(exact):.{table.decimals + 1}f}"
            found.append(Finding(f"mean of {model}", what, True))
    if not found:
        found.append(Finding("row of means", "agrees with the rows", False))
    return found


def _grid(table: RankTable, raters: int, items: int) -> list[Finding]:
    count = raters * items
    words = f"{raters} raters × {items} items = {count} rankings"
    values = [
        (f"{name}, {model}", value)
        for name, row in table.rows.items()
        for model, value in zip(table.models, row, strict=True)
    ]
    off = [(where, v) for where, v in values if not on_grid(v, count, table.half)]
    tied = [(where, v) for where, v in off if not on_grid(v, count, table.half, ties=True)]
    if not off:
        return [Finding("grid", f"every value is a mean of {words}", False)]
    listed = ", ".join(f"{value} ({where})" for where, value in off[:3])
    more = f" and {len(off) - 3} more" if len(off) > 3 else ""
    what = (
        f"{len(off)} of {len(values)} values are no mean of {words}, {len(tied)} not even with "
        f"ties: {listed}{more}"
    )
    return [Finding("grid", what, True)]


def _needed(table: RankTable, raters: int | None) -> list[Finding]:
    fit = denominators(table)
    found = [
        Finding(
            "rankings a row",
            f"numbers up to {LARGEST} that print every value: "
            + (", ".join(map(str, fit[:12])) + (" …" if len(fit) > 12 else "") if fit else "none"),
            False,
        )
    ]
    if raters is not None:
        own = [n for n in fit if n % raters == 0]
        what = (
            f"smallest multiple of {raters} raters among them: {own[0]} "
            f"({own[0] // raters} rankings each)"
            if own
            else f"no multiple of {raters} raters among them"
        )
        found.append(Finding("rankings a row", what, False))
    unit = _unit(table)
    if unit > 1:
        grid = 10**table.decimals // unit
        what = f"every value is a multiple of {unit} in the last digit: a 1/{grid} grid"
        found.append(Finding("last digits", what, False))
    return found


def _unit(table: RankTable) -> int:
    """Return the largest of 2, 4, 5, 10 … that divides every value in units of the last digit."""
    scale = 10**table.decimals
    numbers = [int(value * scale) for row in table.rows.values() for value in row]
    return max(u for u in (1, 2, 4, 5, 10, 20, 25, 50, 100) if all(n % u == 0 for n in numbers))


def paper_table() -> RankTable:
    """Return the paper's Table 4 as ``leaderboards/paper.toml`` reports it.

    Raises:
        AubenchError: The file is missing or has no such table.
    """
    path = shipped("leaderboards") / "paper.toml"
    try:
        tables = read_toml(path)["table"]
        table = next(entry for entry in tables if entry["number"] == 4)
        columns = [(entry["key"], entry["title"], entry["digits"]) for entry in table["columns"]]
        rows = [["", *(title for _, title, _ in columns)]]
        for entry in table["rows"]:
            values = [f"{entry['values'][key]:.{digits}f}" for key, _, digits in columns]
            rows.append([entry["label"], *values])
    except OSError as error:
        raise AubenchError(f"cannot read {path}: {error.strerror}", "restore it") from error
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise AubenchError(f"{path} has no Table 4 of models by digits", "restore it") from error
    return table_from_rows("the paper's Table 4", rows)
