"""Tables as LaTeX: booktabs rules, siunitx columns; the same table gives the same bytes."""

from __future__ import annotations

from collections.abc import Sequence

from aubench.report.tables.table import Cell, Column, Row, Table, marks, number

PACKAGES = ("array", "booktabs", "siunitx", "graphicx")
SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "“": "``",
    "”": "''",
    "–": "--",
    "—": "---",
    "−": r"$-$",
    "×": r"$\times$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "≈": r"$\approx$",
    "‡": r"$^\ddagger$",
    "†": r"$^\dagger$",
    "∞": r"$\infty$",
    "·": r"$\cdot$",
    "±": r"$\pm$",
    "…": r"\ldots{}",
    "\u00a0": "~",
}
SPECIAL |= {digit: rf"$^{n}$" for n, digit in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")} | {"⁻": "$^-$"}


def escape(text: str) -> str:
    """Return text that LaTeX prints as it stands; letters beyond Latin-1 become a question mark."""
    out = "".join(SPECIAL.get(letter, letter) for letter in text)
    return out.encode("latin-1", "replace").decode("latin-1")


def latex(table: Table) -> str:
    """Return a ``table`` environment; ``document`` says which packages it needs."""
    spec, heads = ["l"], [escape(table.corner)]
    widths = [_format(table, j) for j in range(len(table.columns))]
    for j, column in enumerate(table.columns):
        spec.append(_spec(widths[j], _has_tail(table, j)))
        heads.append(_head(table, column, 2 if widths[j] and _has_tail(table, j) else 1))
    span = 1 + sum(2 if w and _has_tail(table, j) else 1 for j, w in enumerate(widths))
    lines = [
        f"% Table {table.number}; needs \\usepackage{{{','.join(PACKAGES)}}}",
        r"\begin{table}[ht]",
        r"\centering",
        f"\\caption{{{escape(table.title)}}}",
        f"\\label{{tab:aubench-{table.number}}}",
        r"\sisetup{detect-weight=true,mode=text,group-separator={,},group-minimum-digits=4,group-digits=integer}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        f"\\begin{{tabular}}{{{''.join(spec)}}}",
        r"\toprule",
        *_groups(table, widths),
        " & ".join(heads) + r" \\",
    ]
    for section, rows in table.sections():
        lines.append(r"\midrule")
        if section:
            lines.append(f"\\multicolumn{{{span}}}{{l}}{{\\itshape {escape(section)}}} \\\\")
        lines += [_line(table, row, widths) for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}}", *_notes(table), r"\end{table}"]
    return "\n".join(lines) + "\n"


def _has_tail(table: Table, j: int) -> bool:
    cells = [row.cells[j] for row in table.rows]
    return any(cell.interval or cell.notes or cell.tied for cell in cells)


def _format(table: Table, j: int) -> tuple[int, int, bool] | None:
    """Return digits before and after the point and whether a sign is needed, None for words."""
    numbers = [row.cells[j] for row in table.rows if row.cells[j].value is not None]
    if not numbers or any(row.cells[j].words for row in table.rows):
        return None
    texts = [number(cell.value or 0.0, cell.digits).replace(",", "") for cell in numbers]
    before = max(len(text.lstrip("-").partition(".")[0]) for text in texts)
    after = max(cell.digits for cell in numbers)
    return before, after, any(text.startswith("-") for text in texts)


def _spec(width: tuple[int, int, bool] | None, tail: bool) -> str:
    if width is None:
        return r">{\raggedright\arraybackslash}p{9em}"
    before, after, sign = width
    figures = f"{'-' if sign else ''}{before}.{after}" if after else f"{before}"
    return f"S[table-format={figures}]" + (r"@{\,}l" if tail else "")


def _head(table: Table, column: Column, span: int) -> str:
    text = escape(f"{column.title} {column.unit}".strip() + (f" {column.arrow}".rstrip()))
    if not column.informative:
        text += "*"
    if column.notes:
        text += f"$^{{{marks(table, column.notes)}}}$"
    return f"\\multicolumn{{{span}}}{{c}}{{{text}}}"


def _groups(table: Table, widths: Sequence[tuple[int, int, bool] | None]) -> list[str]:
    """Return a line above the heads that says who reports which columns."""
    names = {"reported": r"reported by the paper$^\ddagger$", "measured": "measured", "": ""}
    runs: list[tuple[str, int]] = []
    for j, column in enumerate(table.columns):
        span = 2 if widths[j] and _has_tail(table, j) else 1
        if runs and runs[-1][0] == column.source:
            runs[-1] = (column.source, runs[-1][1] + span)
        else:
            runs.append((column.source, span))
    cells, rules, start = [""], [], 2
    for source, span in runs:
        cells.append(f"\\multicolumn{{{span}}}{{c}}{{{names[source]}}}")
        rules.append(f"\\cmidrule(lr){{{start}-{start + span - 1}}}")
        start += span
    return [" & ".join(cells) + r" \\", "".join(rules)]


def _line(table: Table, row: Row, widths: Sequence[tuple[int, int, bool] | None]) -> str:
    label = escape(row.label)
    if row.notes:
        label += f"$^{{{marks(table, row.notes)}}}$"
    cells = [label]
    for j, cell in enumerate(row.cells):
        width = widths[j]
        if width is None:
            cells.append(_words(table, cell))
            continue
        cells.append(_figure(cell, width))
        if _has_tail(table, j):
            cells.append(_tail(table, cell))
    return " & ".join(cells) + r" \\"


def _words(table: Table, cell: Cell) -> str:
    text = cell.words or ("" if cell.value is None else number(cell.value, cell.digits)) or "—"
    return escape(text) + (f"$^{{{marks(table, cell.notes)}}}$" if cell.notes else "")


def _figure(cell: Cell, width: tuple[int, int, bool]) -> str:
    if cell.value is None:
        return "{---}"
    text = number(cell.value, cell.digits).replace(",", "")
    if cell.rank == 1:
        return rf"\bfseries {text}"
    if cell.rank == 2:
        # An underline does not pass through an S column: a box as wide as the column's figures.
        pad = width[0] - len(text.lstrip("-").partition(".")[0])
        rest = width[1] - cell.digits
        before = rf"\phantom{{{'0' * pad}}}" if pad else ""
        after = rf"\phantom{{{'0' * rest}}}" if rest else ""
        return rf"{{{before}\underline{{\num{{{text}}}}}{after}}}"
    return text


def _tail(table: Table, cell: Cell) -> str:
    text = ""
    if cell.interval:
        low, high = (number(bound, cell.digits) for bound in cell.interval)
        text = rf"\scriptsize[{low}, {high}]"
    above = ([r"\approx"] if cell.tied else []) + ([marks(table, cell.notes)] if cell.notes else [])
    text += f"$^{{{','.join(above)}}}$" if above else ""
    return f"{{{text}}}" if text else ""


def _notes(table: Table) -> list[str]:
    lines = []
    if any(cell.rank for row in table.rows for cell in row.cells):
        lines.append(
            r"Bold: best; underlined: second; $\approx$: ties with the best, the interval of the "
            "paired difference holds zero. Controls are not ranked."
        )
    if any(column.source == "reported" for column in table.columns):
        lines.append(r"$^\ddagger$ Reported by the paper, not measured here.")
    if any(not column.informative for column in table.columns):
        lines.append("* Not informative on faces.")
    lines += [_breakable(escape(text)) for text in table.general]
    lines += [f"$^{{{mark}}}$ {_breakable(escape(text))}" for text, mark in table.notes().items()]
    if not lines:
        return []
    return [
        r"\par\smallskip\begin{minipage}{\linewidth}\footnotesize\raggedright",
        "\\\\\n".join(lines),
        r"\end{minipage}",
    ]


def _breakable(text: str) -> str:
    """Let long metric ids break at their bars."""
    return text.replace(r"\textbar{}", r"\textbar\allowbreak{}")


def document(tables: Sequence[Table]) -> str:
    """Return a whole document that compiles."""
    packages = "\n".join(f"\\usepackage{{{name}}}" for name in PACKAGES)
    body = "\n\\clearpage\n".join(map(latex, tables))
    return (
        "\\documentclass{article}\n\\usepackage[utf8]{inputenc}\n"
        "\\usepackage[landscape,margin=1.5cm]{geometry}\n"
        f"{packages}\n\\begin{{document}}\n{body}\\end{{document}}\n"
    )
