"""``aubench merge``: the shards of a run into one run folder."""

from __future__ import annotations

from pathlib import Path

import click

from aubench.cli.output import Result, results


@click.command()
@click.argument(
    "places",
    metavar="FOLDER…",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder [FOLDER, if only one].")
@click.option("--ids", is_flag=True, help="Print the metric id of every number.")
@results
def merge(places: tuple[Path, ...], out: Path | None, ids: bool) -> Result:
    """Put the shards of a run together, score them, print and keep the record.

    FOLDER is the --out of `aubench run … --shard I/N`, or folders of single shards that were
    brought from other machines. Images are linked, or copied to another file system.
    """
    from aubench.cli.running.run import shown
    from aubench.run.distributed.merge import merge as merged

    config, record = merged(places, out)
    return shown(config.out, record, ids=ids)
