"""``aubench weights``: external weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aubench.cli import completion as complete
from aubench.cli.output import Result, plain, results, written


@click.group()
def weights() -> None:
    """List, fetch, verify or add external weights."""


@weights.command(name="list")
@results
def list_() -> Result:
    """List external weights, whether they are here, and what needs them."""
    from aubench.weights import entries, present

    here = {name: present(name) for name in entries()}

    def show() -> None:
        for name, row in entries().items():
            state = "here" if here[name] else "missing"
            click.echo(f"{name:22} {state:8} {row.licence:13} {row.description}")
            click.echo(f"{'':31} needed by {', '.join(row.needed_by)}")

    return Result([{**plain(row), "here": here[name]} for name, row in entries().items()], show)


@weights.command()
@click.argument("name", shell_complete=complete.weights)
@results
def fetch(name: str) -> Result:
    """Fetch weights from the first source that answers."""
    from aubench.weights import entry
    from aubench.weights import fetch as get

    click.echo(f"fetching {entry(name).name} …", err=True)
    path, tried = get(name)
    for line in tried:
        click.echo(f"no luck with {line}", err=True)
    return written(path, line=f"{name}: {path}", name=name, tried=tried)


@weights.command()
@results
def verify() -> Result:
    """Check the digests of all weights on this machine; exit code 1 if one is damaged."""
    from aubench.errors import AubenchError
    from aubench.weights import entries, path, present

    rows: list[dict[str, Any]] = []
    for name in entries():
        if not present(name):
            rows.append({"name": name, "state": "missing", "detail": ""})
            continue
        try:
            rows.append({"name": name, "state": "holds", "detail": str(path(name))})
        except AubenchError as error:
            rows.append({"name": name, "state": "damaged", "detail": str(error)})
    wrong = [row["detail"] for row in rows if row["state"] == "damaged"]

    def show() -> None:
        for row in rows:
            click.echo(f"{row['name']}: {row['detail']} {row['state']}".replace("  ", " "))

    return Result(rows, show, " | ".join(wrong) or None)


@weights.command()
@click.argument("name", shell_complete=complete.weights)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@results
def add(name: str, file: Path) -> Result:
    """Take weights from a FILE of your own."""
    from aubench.weights import add as take

    place = take(name, file)
    return written(place, line=f"{name}: {place}", name=name)
