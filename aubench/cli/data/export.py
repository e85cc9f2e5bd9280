"""``aubench data export``: a data set in the layout that other code reads."""

from __future__ import annotations

from pathlib import Path

import click

from aubench.cli import completion as complete
from aubench.cli.output import Result, results, written

LAYOUTS = ("me-graphau", "ganimation", "imagefolder", "csv")


@click.command()
@click.argument("name", shell_complete=complete.dataset)
@click.option("--as", "layout", type=click.Choice(LAYOUTS), required=True, help="The layout.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder to write, absent or empty.",
)
@click.option("--size", type=click.IntRange(32, 1024), default=128, show_default=True)
@click.option(
    "--fold",
    type=click.IntRange(min=1),
    help="Whose train and test are told.  [default: the data's own split, else 1; me-graphau: all]",
)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N faces of a split.")
@results
def export(
    name: str, layout: str, out: Path, size: int, fold: int | None, limit: int | None
) -> Result:
    """Write data set NAME as the lists and images that other people's code trains on."""
    from aubench.datasets import export as exports
    from aubench.datasets.registry import find_dataset

    source = find_dataset(name)
    count = exports.export(exports.Export(source, size, fold, limit), layout, out)
    if source.restricted:
        click.echo(
            f"images of {name} are restricted: keep them where its agreement allows", err=True
        )
    return written(
        out, line=f"{count:,} images of {name} in {out}", data=name, layout=layout, images=count
    )
