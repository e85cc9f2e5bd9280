"""``aubench commit``: what a model is held to, before a sealed draw is revealed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from aubench.cli import completion as complete
from aubench.cli.output import Result, results


@click.command()
@click.argument("model", shell_complete=complete.model)
@click.option("--weights", type=click.Path(path_type=Path, exists=True), help="Of the model.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="File [commit-MODEL.json]."
)
@results
def commit(model: str, weights: Path | None, out: Path | None) -> Result:
    """Write the digests of MODEL's weights and code; publish them before a draw is revealed.

    `aubench verify BUNDLE --commit FILE` checks them.
    """
    from aubench.submission.commitment import commit as make

    path = out or Path(f"commit-{model}.json")
    found = make(model, weights, path)

    def show() -> None:
        click.echo(f"{found.digest}  {model}")
        click.echo(f"publish {path} before the reveal")

    return Result(asdict(found) | {"digest": found.digest, "files": [path]}, show)
