"""A static site of the leaderboards: no server, nothing loaded from elsewhere, opens from disk."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from aubench.errors import AubenchError
from aubench.records.record import Record
from aubench.report.figures.draw import TIE, plain
from aubench.report.leaderboards.boards import board, fresh_of
from aubench.report.leaderboards.record_page import record_page
from aubench.report.places import datasets, roots
from aubench.report.places import records as record_files
from aubench.report.site_folder import clear
from aubench.report.tables.boards import Boards, read_boards
from aubench.report.tables.table import Cell, Column, Row, Table
from aubench.storage.files import write_bytes, write_text

MARK = ".aubench-site"
"""Names a folder that this module wrote, so that nothing else is ever deleted."""


def page(title: str, body: str, *, depth: int = 0) -> str:
    """Return a whole page; ``depth`` counts folders below the site's root."""
    up = "../" * depth
    home = f'<a href="{up}index.html">all leaderboards</a>' if depth else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n'
        f'<link rel="stylesheet" href="{up}site.css">\n</head>\n<body>\n'
        f"<header><h1>{escape(title)}</h1>{home}"
        '<button id="theme" type="button" hidden>light / dark</button></header>\n'
        f'{body}\n<script src="{up}site.js"></script>\n</body>\n</html>\n'
    )


def build(out: Path, folder: Path | None = None) -> list[Path]:
    """Write the site and return its pages; a former site in the same folder is replaced.

    Raises:
        AubenchError: The folder holds something else, or there are no records.
    """
    read = (read_boards(name, folder) for name in datasets(folder))
    found = [boards for boards in read if boards.records]
    if not any(boards.of(name) for boards in found for name in boards.records):
        raise AubenchError(
            f"no records under {roots(folder)[-1]}", "enter one with `aubench report --add`"
        )
    clear(out, MARK)
    write_text(out / MARK, "made by `aubench leaderboard build`\n")
    for name in ("site.css", "site.js"):
        write_text(
            out / name,
            files("aubench.report.leaderboards").joinpath("assets", name).read_text("utf-8"),
        )
    pages = [out / "index.html"]
    write_text(pages[0], page("aubench leaderboards", _index(found)))
    for boards in found:
        files_of = record_files(boards.dataset, folder)
        for protocol, records in boards.records.items():
            for name, record in records.items():
                plain, _, digest = protocol.partition("@")
                kept = files_of[plain]
                file = kept.get(f"{name}@{digest}", kept.get(name)) if digest else kept.get(name)
                pages.append(_write_record(out, file, boards.dataset, protocol, name, record))
    return pages


def address(dataset: str, protocol: str, model: str) -> str:
    """Return the address of a record's page from the root of the site."""
    name = re.sub(r"[^A-Za-z0-9._+-]", "_", f"{dataset}-{protocol}-{model}")
    return f"records/{name}.html"


def _write_record(
    out: Path, file: Path | None, dataset: str, protocol: str, name: str, record: Record
) -> Path:
    path = out / address(dataset, protocol, name)
    grid = file.with_suffix(".webp") if file else None
    picture = ""
    if grid is not None and grid.is_file():
        picture = f"{path.stem}.webp"
        write_bytes(path.with_name(picture), grid.read_bytes())
    write_text(path.with_suffix(".json"), record.model_dump_json(indent=1) + "\n")
    title = f"{name} on {dataset}/{protocol}"
    write_text(path, page(title, record_page(record, picture, f"{path.stem}.json"), depth=1))
    return path


def _index(found: Sequence[Boards]) -> str:
    tables = [
        (
            boards.dataset,
            protocol,
            board(
                f"{boards.dataset}/{protocol}",
                list(records.values()),
                boards.pairs[protocol],
                fresh=fresh_of(protocol, {n: list(r.values()) for n, r in boards.records.items()}),
            ),
        )
        for boards in found
        for protocol, records in boards.records.items()
        if records
    ]
    sections = "\n".join(
        _board(dataset, protocol, table, next(b for b in found if b.dataset == dataset))
        for dataset, protocol, table in tables
    )
    nothing = '<p id="nothing" hidden>No table has that.</p>'
    return _filters(tables) + "\n" + INTRO + sections + nothing


INTRO = (
    '<p class="notes">Values with 95 % intervals, resampled by subject. <b>Best</b> and '
    '<span class="second">second</span> among models; ≈ ties with the best: the interval of the '
    "paired difference holds zero. Controls (in italics) are yardsticks and not ranked. * tells "
    "nothing on faces. Numbers are comparable only where their metric id is the same.</p>\n"
)


def _filters(tables: Sequence[tuple[str, str, Table]]) -> str:
    datasets = sorted({dataset for dataset, _, _ in tables})
    protocols = sorted({protocol for _, protocol, _ in tables})
    ids: dict[str, str] = {}
    for _, _, table in tables:
        for column in table.columns:
            ids[_id(column)] = column.title
    metrics = "".join(
        f'<option value="{escape(id_)}">{escape(title)} — {escape(id_)}</option>'
        for id_, title in sorted(ids.items(), key=lambda item: (item[1], item[0]))
    )
    return (
        '<form class="filters" onsubmit="return false">'
        f'<label>data set<select id="dataset"><option value="">all</option>'
        f"{_options(datasets)}</select></label>"
        f'<label>protocol<select id="protocol"><option value="">all</option>'
        f"{_options(protocols)}</select></label>"
        f'<label>metric id<select id="metric"><option value="">all</option>{metrics}</select>'
        '</label><label>model<input id="search" type="search" placeholder="name"></label>'
        '<label class="check"><input id="controls" type="checkbox" checked>controls</label></form>'
    )


def _options(names: Sequence[str]) -> str:
    return "".join(f"<option>{escape(name)}</option>" for name in names)


def _id(column: Column) -> str:
    return column.key.split("|", 1)[1]


def _board(dataset: str, protocol: str, table: Table, boards: Boards) -> str:
    info = next(iter(boards.of(protocol).values())).protocol
    heads = "".join(_head(column) for column in table.columns)
    rows = "\n".join(_row(dataset, protocol, table, row) for row in table.rows)
    ids = "".join(
        f"<li>{escape(column.title)}: <code>{escape(_id(column))}</code></li>"
        for column in table.columns
    )
    notes = "".join(
        f"<p>({mark}) {escape(text)}</p>" for text, mark in table.notes().items()
    ) + "".join(f"<p>{escape(text)}</p>" for text in table.general)
    return (
        f'<section class="board" data-dataset="{escape(dataset)}" '
        f'data-protocol="{escape(protocol)}">\n<h2>{escape(table.title)}</h2>\n'
        f'<p class="notes">Version {escape(info.version)}, {info.size} px, sha256 '
        f"<code>{escape(info.sha256[:12])}</code></p>\n"
        '<div class="scroll"><table class="sortable"><thead><tr>'
        f'<th data-higher="no"><button type="button">model</button></th>{heads}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>\n"
        f'<div class="notes">{notes}</div>\n'
        f'<details class="ids"><summary>metric ids</summary><ul>{ids}</ul></details>\n</section>\n'
    )


def _head(column: Column) -> str:
    text = f"{column.title} {column.unit}".strip() + f" {column.arrow}"
    star = "" if column.informative else "*"
    return (
        f'<th data-id="{escape(_id(column))}" data-higher="{"yes" if column.higher else "no"}" '
        f'title="{escape(_id(column))}"><button type="button">{escape(text)}{star}</button></th>'
    )


def _row(dataset: str, protocol: str, table: Table, row: Row) -> str:
    marks = ", ".join(table.notes()[note] for note in row.notes)
    link = escape(address(dataset, protocol, row.key))
    kind = ' class="control"' if row.control else ""
    note = f" <sup>{marks}</sup>" if marks else ""
    cells = "".join(_cell(cell) for cell in row.cells)
    return f'<tr{kind}><th><a href="{link}">{escape(row.label)}</a>{note}</th>{cells}</tr>'


def _cell(cell: Cell) -> str:
    if cell.value is None:
        return "<td>—</td>"
    value, _, rest = plain(cell).partition(" [")
    kind = {1: ' class="best"', 2: ' class="second"'}.get(cell.rank, "")
    interval = f"<small>[{rest}</small>" if rest else ""
    tie = f" {TIE}" if cell.tied else ""
    data = json.dumps(cell.value)
    return f'<td data-value="{data}"><span{kind}>{value}</span>{tie}{interval}</td>'
