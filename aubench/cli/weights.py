"""``aubench weights``: external weights."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def weights() -> None:
    """List, fetch, verify or add external weights."""


@weights.command(name="list")
def list_() -> None:
    """List external weights, whether they are here, and what needs them."""
    from aubench.weights import entries, present

    for name, row in entries().items():
        state = "here" if present(name) else "missing"
        click.echo(f"{name:22} {state:8} {row.licence:13} {row.description}")
        click.echo(f"{'':31} needed by {', '.join(row.needed_by)}")


@weights.command()
@click.argument("name")
def fetch(name: str) -> None:
    """Fetch weights from the first source that answers."""
    from aubench.weights import entry
    from aubench.weights import fetch as get

    click.echo(f"fetching {entry(name).name} …", err=True)
    path, tried = get(name)
    for line in tried:
        click.echo(f"no luck with {line}", err=True)
    click.echo(f"{name}: {path}")


@weights.command()
def verify() -> None:
    """Check the digests of all weights on this machine."""
    from aubench.errors import AubenchError
    from aubench.weights import entries, path, present

    wrong = []
    for name in entries():
        if not present(name):
            click.echo(f"{name}: missing")
            continue
        try:
            click.echo(f"{name}: {path(name)} holds")
        except AubenchError as error:
            wrong.append(str(error))
    if wrong:
        raise AubenchError(" | ".join(wrong))


@weights.command()
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def add(name: str, file: Path) -> None:
    """Take weights from a FILE of your own."""
    from aubench.weights import add as take

    click.echo(f"{name}: {take(name, file)}")
