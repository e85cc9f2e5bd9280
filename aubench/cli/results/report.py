"""``aubench report``: the records of the leaderboards, and the paper's tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from aubench.cli import completion as complete
from aubench.cli.options import data_option, gather_options
from aubench.cli.output import Result, results, written
from aubench.errors import AubenchError
from aubench.plain_text import printable

if TYPE_CHECKING:
    from aubench.records.record import Record
    from aubench.report.tables.table import Table

FORMATS = ("terminal", "markdown", "latex", "html", "csv")


@dataclass(frozen=True)
class BoardOptions:
    """Options on leaderboards: what enters them, and what is printed of them."""

    protocol: str | None
    ids: bool
    columns: str | None
    pool: str | None
    add: tuple[Path, ...]
    include_restricted: bool
    replace: bool


@dataclass(frozen=True)
class TableOptions:
    """Options on the paper's tables."""

    numbers: tuple[int, ...]
    form: str | None
    which: Literal["reported", "measured", "both"] | None
    study: Path | None
    document: bool
    out: Path | None


@click.command()
@data_option()
@click.option("--protocol", shell_complete=complete.protocol, help="Only this protocol.")
@click.option("--ids", is_flag=True, help="Print the metric ids under each table.")
@click.option(
    "--columns",
    shell_complete=complete.metric_list,
    metavar="METRICS",
    help="Metrics in place of the usual columns, such as identity,locality,au_f1_12.",
)
@click.option(
    "--pool",
    type=click.Choice(["folds"]),
    help="Means over the folds of a data set, of models that were run on all of them.",
)
@click.option(
    "--add",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="Enter this record.json, and show where it stands; limited runs are refused.",
)
@click.option("--replace", is_flag=True, help="With --add: in place of another of the model.")
@click.option(
    "--include-restricted", is_flag=True, help="With --add: its faces, though restricted, too."
)
@click.option(
    "--leaderboards",
    type=click.Path(path_type=Path),
    help="Folder of the records, in place of the usual ones.",
)
@click.option(
    "--table", "numbers", type=click.IntRange(1, 6), multiple=True, help="Table of the paper, 1-6."
)
@click.option("--format", "form", type=click.Choice(FORMATS), help="Of --table. [terminal]")
@click.option("--reported", "which", flag_value="reported", help="Only what the paper reports.")
@click.option("--measured", "which", flag_value="measured", help="Only what was measured here.")
@click.option("--both", "which", flag_value="both", help="Both, in columns of their own. [default]")
@click.option(
    "--study",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Results of a user study, for table 4.",
)
@click.option("--document", is_flag=True, help="With latex: a whole document, ready to compile.")
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write here.")
@results
@gather_options(BoardOptions, "board")
@gather_options(TableOptions, "table")
def report(
    data: str, leaderboards: Path | None, board: BoardOptions, table: TableOptions
) -> Result:
    """Print the leaderboards, a table for each protocol; or, with --table, the paper's tables."""
    from aubench.report.leaderboards.leaderboard import add_record

    rights = {"faces": board.include_restricted, "replace": board.replace}
    entered = [add_record(path, leaderboards, **rights) for path in board.add]
    for one in entered:
        click.echo(f"entered {one.path}", err=True)
        for remark in one.remarks:
            click.echo(printable(f"  {remark}"), err=True)
    if table.numbers:
        return _paper_tables(data, leaderboards, board, table)
    if table.form or table.which or table.study or table.document or table.out:
        raise AubenchError("this option needs --table", "for example --table 3")
    # What was just entered is shown where it stands, not every table there is.
    places = [(one.path.parts[-3], one.path.parts[-2]) for one in entered]
    if board.protocol is not None or not places:
        return _boards([(data, board.protocol)], leaderboards, board)
    return _boards(places, leaderboards, board)


def _pooled(found: dict[str, list[Record]]) -> dict[str, list[Record]]:
    """Return the boards of protocols with several digests as one each, which says so."""
    from aubench.report.tables.pool import SHORT, pooled

    families: dict[str, list[list[Record]]] = {}
    for title, records in found.items():
        families.setdefault(title.partition("@")[0], []).append(records)
    several = {name: groups for name, groups in families.items() if len(groups) > 1}
    if not several:
        name, groups = next(iter(families.items()))
        pooled(name, groups)  # says why not
    out = {}
    for name, groups in several.items():
        digests = ", ".join(group[0].protocol.sha256[:SHORT] for group in groups)
        out[f"{name}, means over folds {digests}"] = pooled(name, groups)
    return out


def _boards(
    places: Sequence[tuple[str, str | None]], folder: Path | None, options: BoardOptions
) -> Result:
    from aubench.metrics.registry import headline
    from aubench.report.leaderboards.leaderboard import boards
    from aubench.report.tables.terminal import check_columns, print_board

    found: dict[str, list[Record]] = {}
    for dataset, name in places:
        more = boards(dataset, name, folder)
        found |= _pooled(more) if options.pool else more
    chosen: Sequence[str] = headline()
    if options.columns:
        chosen = [word.strip() for word in options.columns.split(",")]
        check_columns([record for records in found.values() for record in records], chosen)

    def show() -> None:
        for name, records in found.items():
            print_board(name, records, ids=options.ids, metrics=chosen)

    data = {name: [_line(record, chosen) for record in board] for name, board in found.items()}
    return Result(data, show)


def _paper_tables(
    data: str, folder: Path | None, board: BoardOptions, options: TableOptions
) -> Result:
    from aubench.report.tables.boards import read_boards
    from aubench.report.tables.paper_tables import build

    if board.protocol or board.ids or board.columns:
        raise AubenchError(
            "--protocol, --ids and --columns do not go with --table",
            "a table's protocols are fixed",
        )
    read = read_boards(data, folder, options.study)
    tables = [build(number, read, options.which or "both") for number in options.numbers]
    return _tables(tables, options.form or "terminal", options.document, options.out)


def _line(record: Record, metrics: Sequence[str]) -> dict[str, Any]:
    """Return what the tables show of a record; the record itself has all of it."""
    return {
        "model": record.model.name,
        "control": record.model.control,
        "metrics_in_training": record.model.metrics_in_training,
        "counts": record.counts,
        "scores": [row for row in record.scores if row.metric in metrics],
    }


def _tables(tables: list[Table], form: str, document: bool, out: Path | None) -> Result:
    from aubench.report.figures import draw
    from aubench.report.tables import latex

    if document and form != "latex":
        raise AubenchError("--document goes with --format latex")
    if form == "terminal":
        if out:
            raise AubenchError("--out needs a --format", "markdown, latex, html or csv")

        def show() -> None:
            for table in tables:
                draw.print_table(table)

        return Result(tables, show)
    if form == "latex":
        text = latex.document(tables) if document else "\n".join(map(latex.latex, tables))
    elif form == "html":
        text = draw.page(tables)
    elif form == "csv":
        text = "".join(draw.csv_table(table, head=i == 0) for i, table in enumerate(tables))
    else:
        text = "\n".join(map(draw.markdown, tables))
    if out is None:
        return Result(tables, lambda: click.echo(text, nl=False))
    from aubench.storage.files import write_text

    write_text(out, text)
    return written(out)
