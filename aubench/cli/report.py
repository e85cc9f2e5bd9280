"""``aubench report``: the records of the leaderboards."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--data", default="synfacs", show_default=True, help="Data set.")
@click.option("--protocol", help="Only this protocol.")
@click.option("--ids", is_flag=True, help="Print the metric ids under each table.")
@click.option(
    "--add",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="Enter this record.json first; limited runs are refused.",
)
@click.option(
    "--leaderboards", "folder", type=click.Path(path_type=Path), help="Folder of the records."
)
def report(
    data: str, protocol: str | None, ids: bool, add: tuple[Path, ...], folder: Path | None
) -> None:
    """Print the leaderboards, a table for each protocol."""
    from aubench.report.leaderboard import add_record, boards
    from aubench.report.terminal import print_board

    for path in add:
        click.echo(f"entered {add_record(path, folder)}")
    for name, records in boards(data, protocol, folder).items():
        print_board(name, records, ids=ids)
