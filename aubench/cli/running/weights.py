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
    from aubench.networks.external_weights import entries, present

    here = {name: present(name) for name in entries()}

    def show() -> None:
        for name, row in entries().items():
            state = "here" if here[name] else "missing"
            click.echo(f"{name:22} {state:8} {row.licence:13} {row.description}")
            click.echo(f"{'':31} needed by {', '.join(row.needed_by)}")

    return Result([{**plain(row), "here": here[name]} for name, row in entries().items()], show)


@weights.command()
@click.argument(
    "names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete.weights
)
@results
def fetch(names: tuple[str, ...]) -> Result:
    """Fetch weights, each from the first source that answers.

    One that cannot be had keeps no other from being fetched.
    """
    from aubench.errors import AubenchError
    from aubench.networks.external_weights import entry
    from aubench.networks.external_weights import fetch as get

    rows = [entry(name) for name in names]  # an unknown name ends it before any work
    paths, tried, failed = [], [], list[AubenchError]()
    for row in rows:
        click.echo(f"fetching {row.name} …", err=True)
        try:
            path, without = get(row.name)
        except AubenchError as error:
            failed.append(error)
            continue
        for line in without:
            click.echo(f"no luck with {line}", err=True)
        paths.append(path)
        tried += without
    if failed:
        for path in paths:
            click.echo(f"fetched {path}", err=True)
        raise failed[0]
    text = "\n".join(f"{row.name}: {path}" for row, path in zip(rows, paths, strict=True))
    return written(*paths, line=text, names=list(names), tried=tried)


@weights.command()
@results
def verify() -> Result:
    """Check the digests of all weights on this machine; exit code 1 if one is damaged."""
    from aubench.errors import AubenchError
    from aubench.networks.external_weights import entries, path, present

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
    from aubench.networks.external_weights import add as take

    place = take(name, file)
    return written(place, line=f"{name}: {place}", name=name)
