"""``aubench report``: the records of the leaderboards, and the paper's tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from aubench.cli import completion as complete
from aubench.cli.options import data_option
from aubench.cli.output import Result, results, written
from aubench.errors import AubenchError

if TYPE_CHECKING:
    from aubench.record import Record
    from aubench.report.table import Table

FORMATS = ("terminal", "markdown", "latex", "html", "csv")


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
    "--add",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="Enter this record.json, and show where it stands; limited runs are refused.",
)
@click.option(
    "--include-restricted", is_flag=True, help="With --add: its faces, though restricted, too."
)
@click.option(
    "--leaderboards",
    "folder",
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
def report(
    data: str,
    protocol: str | None,
    ids: bool,
    columns: str | None,
    add: tuple[Path, ...],
    include_restricted: bool,
    folder: Path | None,
    numbers: tuple[int, ...],
    form: str | None,
    which: Literal["reported", "measured", "both"] | None,
    study: Path | None,
    document: bool,
    out: Path | None,
) -> Result:
    """Print the leaderboards, a table for each protocol; or, with --table, the paper's tables."""
    from aubench.report.leaderboard import add_record, boards
    from aubench.report.terminal import HEADLINE, check_columns, print_board

    entered = [add_record(path, folder, faces=include_restricted) for path in add]
    for path in entered:
        click.echo(f"entered {path}", err=True)
    if not numbers:
        if form or which or study or document or out:
            raise AubenchError("this option needs --table", "for example --table 3")
        # What was just entered is shown where it stands, not every table there is.
        places = [(path.parts[-3], path.parts[-2]) for path in entered]
        asked = protocol is not None or not places
        found: dict[str, list[Record]] = {}
        for dataset, name in [(data, protocol)] if asked else places:
            found |= boards(dataset, name, folder)
        chosen = [word.strip() for word in columns.split(",")] if columns else HEADLINE
        if columns:
            check_columns([record for records in found.values() for record in records], chosen)

        def show() -> None:
            for name, records in found.items():
                print_board(name, records, ids=ids, metrics=chosen)

        return Result(
            {name: [_line(record, chosen) for record in board] for name, board in found.items()},
            show,
        )
    if protocol or ids or columns:
        raise AubenchError(
            "--protocol, --ids and --columns do not go with --table",
            "a table's protocols are fixed",
        )
    from aubench.report.tables import build, read_boards

    read = read_boards(data, folder, study)
    tables = [build(number, read, which or "both") for number in numbers]
    return _tables(tables, form or "terminal", document, out)


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
    from aubench.report import draw, latex

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
    from aubench.files import write_text

    write_text(out, text)
    return written(out)
