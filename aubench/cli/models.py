"""``aubench models``: the registered generators."""

from __future__ import annotations

import click

from aubench.registry import listings


@click.command()
def models() -> None:
    """List the generators: inputs, training, licence, and why one is unavailable."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("model", "inputs", "size", "training", "licence", "package", "status"):
        table.add_column(column, overflow="fold")
    for row in listings():
        info = row.info
        inputs = "+".join(sorted(info.inputs)) if info else ""
        table.add_row(
            row.name,
            inputs or ("control" if info and info.control else "none"),
            str(info.size) if info and info.size else "any",
            info.training if info else "",
            info.licence if info else "",
            row.package,
            "ready" if row.reason is None else f"unavailable: {row.reason}",
        )
    Console(width=None).print(table)
