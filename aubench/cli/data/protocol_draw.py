"""``aubench protocol draw|seal|reveal``: fresh instances of a protocol from a secret seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from aubench.cli import completion as complete
from aubench.cli.output import Result, results

Command = TypeVar("Command", bound=Callable[..., Any])

DATA = "synfacs2"


def data_of_draws() -> Callable[[Command], Command]:
    """Return ``--data`` of a data set that can be drawn from anew."""
    return click.option(
        "--data",
        default=DATA,
        show_default=True,
        shell_complete=complete.dataset,
        help="Data set with subjects without end.",
    )


@click.command()
@click.argument("name", shell_complete=complete.protocol)
@data_of_draws()
@click.option(
    "--seed-file", type=click.Path(path_type=Path), required=True, help="File with the seed."
)
@results
def draw(name: str, data: str, seed_file: Path) -> Result:
    """Write a fresh instance of a protocol, on subjects that nobody trained on.

    The same seed gives the same bytes everywhere; `aubench run --protocol` takes the name printed.
    """
    from aubench.protocols.sealed_draws import draw as make

    found, place = make(name, data, seed_file)
    told = {"protocol": found.name, "data": data, "seal": found.digest, "files": [place]}
    return Result(told, lambda: click.echo(f"drew {found.name} of {data} into {place}"))


@click.command()
@click.argument("name", shell_complete=complete.protocol)
@data_of_draws()
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder."
)
@results
def seal(name: str, data: str, out: Path) -> Result:
    """Choose a secret seed for a fresh instance, and write the digest to publish.

    seal.json is for everyone, seed.txt for nobody before the reveal.
    """
    from aubench.protocols.sealed_draws import SEAL, SEED
    from aubench.protocols.sealed_draws import seal as make

    found = make(name, data, out)
    files = [out / SEAL, out / SEED]
    told = {"protocol": found.name, "data": data, "seal": found.digest, "files": files}

    def show() -> None:
        click.echo(f"{found.digest}  {found.name}")
        click.echo(f"publish {out / SEAL}; keep {out / SEED} until the reveal")

    return Result(told, show)


@click.command()
@click.argument("seal_file", metavar="SEAL", type=click.Path(path_type=Path))
@click.option(
    "--seed-file", type=click.Path(path_type=Path), required=True, help="The seed, published."
)
@results
def reveal(seal_file: Path, seed_file: Path) -> Result:
    """Prove that a seed is the one that was sealed, and draw with it."""
    from aubench.protocols.sealed_draws import reveal as make

    found, place = make(seal_file, seed_file)
    told = {"protocol": found.name, "holds": True, "seal": found.digest, "files": [place]}

    def show() -> None:
        click.echo(f"{seed_file} is the seed of {found.digest}")
        click.echo(f"drew {found.name} of {found.dataset} into {place}")

    return Result(told, show)
