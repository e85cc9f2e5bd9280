"""Tables as text: terminal, Markdown, HTML, CSV. LaTeX has a module of its own.

Renderers only draw: what is best, tied or footnoted was decided before. The same table gives the
same bytes.
"""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aubench.plain_text import markdown_text, printable
from aubench.report.tables.table import PLACES, Cell, Column, Row, Table, marks, number

if TYPE_CHECKING:
    from rich.text import Text

REPORTED = "‡"
DASH = "—"
TIE = "≈"
TIED = (
    "≈ ties with the best (the interval of the paired difference holds zero); controls are not "
    "ranked"
)
LEGEND = f"**best**, second underlined, {TIED}"


def heading(column: Column) -> str:
    """Return title, unit, direction and source of a column."""
    text = f"{column.title} {column.unit}".strip()
    if column.arrow:
        text += f" {column.arrow}"
    if not column.informative:
        text += "*"
    return text + (REPORTED if column.source == "reported" else "")


def plain(cell: Cell) -> str:
    """Return value and interval, or words, or a dash."""
    if cell.value is None:
        return cell.words or DASH
    text = number(cell.value, cell.digits)
    if cell.interval:
        low, high = (number(bound, cell.digits) for bound in cell.interval)
        text += f" [{low}, {high}]"
    return text


def footer(table: Table, legend: str = LEGEND) -> list[str]:
    """Return the lines under a table: legend, what holds for all of it, footnotes."""
    lines = []
    if any(cell.rank for row in table.rows for cell in row.cells):
        lines.append(legend.replace("**", "") + ".")
    if any(column.source == "reported" for column in table.columns):
        lines.append(f"{REPORTED} reported by the paper, not measured here.")
    if any(not column.informative for column in table.columns):
        lines.append("* not informative on faces.")
    lines += table.general
    return lines + [f"({mark}) {text}" for text, mark in table.notes().items()]


def _label(table: Table, row: Row) -> str:
    note = f" ({marks(table, row.notes)})" if row.notes else ""
    return row.label + note


def _head(table: Table, column: Column) -> str:
    note = f" ({marks(table, column.notes)})" if column.notes else ""
    return heading(column) + note


def caption(table: Table) -> str:
    """Return number and title."""
    return f"Table {table.number}. {table.title}"


def markdown(table: Table) -> str:
    """Return a Markdown table with its notes."""
    lines = [f"**{markdown_text(caption(table))}**", ""]
    heads = [table.corner, *(markdown_text(_head(table, column)) for column in table.columns)]
    lines.append("| " + " | ".join(heads) + " |")
    ruler = ["---", *("---:" if c.higher is not None else "---" for c in table.columns)]
    lines.append("| " + " | ".join(ruler) + " |")
    for section, rows in table.sections():
        if section:
            lines.append(f"| *{markdown_text(section)}* |" + " |" * len(table.columns))
        for row in rows:
            cells = [
                markdown_text(_label(table, row)),
                *(_markdown_cell(table, cell) for cell in row.cells),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"{markdown_text(line)}  " for line in footer(table)]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_cell(table: Table, cell: Cell) -> str:
    text = plain(cell) if cell.value is not None else markdown_text(plain(cell))
    if cell.rank:
        value, _, rest = text.partition(" [")
        value = f"**{value}**" if cell.rank == 1 else f"<u>{value}</u>"
        text = value + (f" [{rest}" if rest else "")
    return text + (f" {TIE}" if cell.tied else "") + _suffix(table, cell)


def _suffix(table: Table, cell: Cell) -> str:
    return f" ({marks(table, cell.notes)})" if cell.notes else ""


def page(tables: Sequence[Table]) -> str:
    """Return a whole HTML page of tables that opens from disk."""
    body = "\n".join(map(html_table, tables))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>aubench tables</title>\n<style>\n{STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


STYLE = """\
:root { color-scheme: light dark; font: 16px/1.4 system-ui, sans-serif; }
figure { margin: 1em 0; overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .4em 0; }
th, td { padding: .25em .7em; text-align: right; white-space: nowrap; }
th:first-child, td.words { text-align: left; white-space: normal; }
thead th { border-bottom: 1px solid; vertical-align: bottom; }
tr.section th { font-style: italic; text-align: left; font-weight: 400; padding-top: .7em; }
.best { font-weight: 700; } .second { text-decoration: underline; }
small { opacity: .75; } figcaption { font-size: .85rem; max-width: 60em; }
"""


def html_table(table: Table) -> str:
    """Return a table as an HTML figure; cells carry value, interval and metric id as data."""
    out = ["<figure>", f"<table><caption>{html.escape(caption(table))}</caption>", "<thead><tr>"]
    out.append(f"<th>{html.escape(table.corner)}</th>")
    out += [f"<th>{html.escape(_head(table, column))}</th>" for column in table.columns]
    out.append("</tr></thead>\n<tbody>")
    for section, rows in table.sections():
        if section:
            span = len(table.columns) + 1
            out.append(f'<tr class="section"><th colspan="{span}">{html.escape(section)}</th></tr>')
        for row in rows:
            cells = "".join(_html_cell(table, cell) for cell in row.cells)
            out.append(f"<tr><th>{html.escape(_label(table, row))}</th>{cells}</tr>")
    notes = "<br>\n".join(html.escape(line) for line in footer(table))
    out.append(f"</tbody></table>\n<figcaption>{notes}</figcaption>\n</figure>")
    return "\n".join(out)


def _html_cell(table: Table, cell: Cell) -> str:
    if cell.value is None:
        text = html.escape((cell.words or DASH) + _suffix(table, cell))
        return f'<td class="words">{text}</td>' if cell.words else f"<td>{text}</td>"
    value, _, rest = plain(cell).partition(" [")
    kind = {1: ' class="best"', 2: ' class="second"'}.get(cell.rank, "")
    text = f"<span{kind}>{value}</span>" + (f" <small>[{rest}</small>" if rest else "")
    text += (f" {TIE}" if cell.tied else "") + html.escape(_suffix(table, cell))
    about = f' data-value="{cell.value!r}"' + (
        f' title="{html.escape(cell.id)}"' if cell.id else ""
    )
    return f"<td{about}>{text}</td>"


FIELDS = (
    "table",
    "section",
    "row",
    "row key",
    "column",
    "source",
    "metric",
    "id",
    "unit",
    "direction",
    "value",
    "low",
    "high",
    "n",
    "words",
    "rank",
    "tied",
    "notes",
)


def csv_table(table: Table, *, head: bool = True) -> str:
    """Return one line a cell, values at full precision."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if head:
        writer.writerow(FIELDS)
    for row in table.rows:
        for cell, column in zip(row.cells, table.columns, strict=True):
            low, high = cell.interval or (None, None)
            direction = {True: "higher", False: "lower", None: ""}[cell.higher]
            writer.writerow(
                [
                    table.number,
                    row.section,
                    row.label,
                    row.key,
                    column.title,
                    cell.source,
                    cell.metric,
                    cell.id,
                    cell.unit,
                    direction,
                    cell.value,
                    low,
                    high,
                    cell.n,
                    cell.words,
                    cell.rank or "",
                    "yes" if cell.tied else "",
                    " ".join((*row.notes, *cell.notes)),
                ]
            )
    return out.getvalue()


def print_table(table: Table) -> None:
    """Print a table to the terminal."""
    from aubench.console import Grid, console, print_grid

    rows: list[list[str | Text]] = []
    for section, members in table.sections():
        if section:
            rows.append([_text(section, "italic")])
        for row in members:
            cells = [_terminal_cell(table, cell) for cell in row.cells]
            rows.append([_label(table, row), *cells])
    words = [i for i, column in enumerate(table.columns, 1) if column.higher is None]
    heads = [table.corner, *(_head(table, column) for column in table.columns)]
    out = console()
    print_grid(Grid(heads, rows, caption(table), left=words, prose=words), out)
    for line in footer(table, f"¹ best, ² second, {TIED}"):
        out.print(printable(line), soft_wrap=True)
    out.print()


def _text(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(text, style=style)


def _terminal_cell(table: Table, cell: Cell) -> Text:
    value, _, rest = plain(cell).partition(" [")
    text = _text(value + PLACES.get(cell.rank, ""), {1: "bold", 2: "underline"}.get(cell.rank, ""))
    out = _text("")
    out.append_text(text)
    out.append((f" [{rest}" if rest else "") + (f" {TIE}" if cell.tied else ""))
    out.append(_suffix(table, cell))
    return out
