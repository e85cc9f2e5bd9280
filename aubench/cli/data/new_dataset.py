"""``aubench new-dataset``: a package with a data set, to start from."""

from __future__ import annotations

from pathlib import Path

import click

from aubench.cli.output import Result, results, written


@click.command()
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), help="Folder.  [default: NAME]")
@results
def new_dataset(name: str, out: Path | None) -> Result:
    """Write an installable package with a data set NAME and its tests, to start from."""
    from aubench.datasets.scaffold import write_package

    place = out or Path(name)
    paths = write_package(name, place)
    lines = [f"wrote {path}" for path in paths]
    lines.append(f"next: pip install -e {place} && pytest {place}")
    return written(*paths, line="\n".join(lines))
