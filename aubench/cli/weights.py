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
    from aubench.weights import fetch as get

    path, tried = get(name)
    for line in tried:
        click.echo(f"no luck with {line}", err=True)
    click.echo(f"{name}: {path}")


@weights.command()
def verify() -> None:
    """Check the digests of all fetched weights."""
    from aubench.weights import entries, path, place

    for name, row in entries().items():
        if row.installed is None and place(name).is_file():
            click.echo(f"{name}: {path(name)} holds")


@weights.command()
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def add(name: str, file: Path) -> None:
    """Take weights from a FILE of your own."""
    from aubench.weights import add as take

    click.echo(f"{name}: {take(name, file)}")
