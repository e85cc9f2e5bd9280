"""``aubench models``: the registered generators, their cards, their conformance, a new one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aubench.cli import completion as complete
from aubench.cli.options import data_option, named_values
from aubench.cli.output import Result, results, written

if TYPE_CHECKING:
    from aubench.generators.registry import Listing


@click.group(invoke_without_command=True)
@results
@click.pass_context
def models(ctx: click.Context) -> Result | None:
    """List the generators: inputs, training, licence, and why one is unavailable."""
    from aubench.generators.registry import listings

    if ctx.invoked_subcommand is not None:
        return None
    rows = listings()
    return Result([row.data() for row in rows], lambda: _print_table(rows))


def _print_table(rows: list[Listing]) -> None:
    from aubench.console import Grid, print_grid

    heads = ("model", "status", "inputs", "size", "training", "licence", "package")
    lines = []
    for row in rows:
        info = row.info
        inputs = "+".join(sorted(info.inputs)) if info else ""
        lines.append(
            (
                row.name,
                row.status,
                inputs or ("control" if info and info.control else "none"),
                str(info.size) if info and info.size else "any",
                info.training if info else "",
                info.licence if info else "",
                row.package,
            )
        )
    print_grid(Grid(heads, lines, left=range(len(heads)), prose=(1, 4)))


@models.command()
@click.argument("name", shell_complete=complete.model)
@results
def show(name: str) -> Result:
    """Print the card of NAME: inputs, training, licence, citation, weights, scores."""
    from aubench.generators.registry import listing

    card = _card(listing(name))

    def fields() -> None:
        for key, value in card.items():
            _print_field(key, value)

    return Result(card, fields)


def _card(row: Listing) -> dict[str, Any]:
    """Return what is known of a generator, in the order in which it is printed."""
    from aubench.generators.registry import calling, generator_class
    from aubench.networks.external_weights import entries

    card: dict[str, Any] = {
        "name": row.name,
        "summary": row.info.summary if row.info else "",
        "package": row.package,
        "status": row.status,
    }
    if row.info is None:
        return card
    info, cls = row.info, generator_class(row.name)
    with calling(cls, row.name, "card()"):
        more = cls.card()
    card |= {
        "kind": "control, may look at targets" if info.control else "generator",
        "inputs": sorted(info.inputs),
        "size": f"{info.size} px" if info.size else "the protocol's",
        "scale": more.scale,
        "training": info.training,
        "trained on": list(info.trained_on),
        "metrics in training": list(info.metrics_in_training),
        "licence": info.licence,
        "citation": info.citation,
        "weights": more.weights,
        "parameters": more.parameters,
        "external weights": [
            f"{entry.name} ({entry.licence}): {entry.description}"
            for entry in entries().values()
            if any(word.split()[0] == row.name for word in entry.needed_by if word)
        ],
    }
    return card | {key: value for key, value in more.details.items() if key not in card}


def _print_field(key: str, value: Any) -> None:
    if value in ("", None, {}) or (value == [] and key == "external weights"):
        return
    if isinstance(value, dict):
        click.echo(key)
        for name, inner in value.items():
            if isinstance(inner, dict):
                inner = "  ".join(f"{k} {v}" for k, v in inner.items())
            click.echo(f"  {name}: {inner}")
        return
    if isinstance(value, list):
        parts = [str(item) for item in value]
        value = (
            ("\n" + " " * 20).join(parts) if any(len(p) > 30 for p in parts) else ", ".join(parts)
        )
    elif isinstance(value, int):
        value = f"{value:,}"
    click.echo(f"{key:20}{value or 'none'}")


@models.command()
@click.argument("name", shell_complete=complete.model)
@click.option("--weights", type=click.Path(path_type=Path), help="In place of the model's own.")
@click.option(
    "--option",
    "words",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of the model; repeatable.",
)
@click.option(
    "--protocol",
    shell_complete=complete.protocol,
    help="Where the samples come from [test2k, or label-input].",
)
@data_option("Data set of the protocol.")
@click.option("--samples", type=click.IntRange(2, 64), default=4, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="torch device.")
@results
def check(
    name: str,
    weights: Path | None,
    words: tuple[str, ...],
    protocol: str | None,
    data: str,
    samples: int,
    device: str,
) -> Result:
    """Run the conformance suite on NAME; a verdict a line, exit code 1 if one fails."""
    from aubench.generators.conformance import Subject, check_generator
    from aubench.run.config import check_device

    check_device(device)
    options = named_values("--option", words, "saturate=true")
    subject = Subject(name, weights, protocol, data, samples, device, options)
    verdicts = []
    for verdict in check_generator(subject):
        verdicts.append(verdict)
        click.echo(f"{verdict.word:5} {verdict.name:13} {verdict.detail}")  # as it comes
    failed = sum(verdict.passed is False for verdict in verdicts)
    rows = [{"check": v.name, "verdict": v.word, "detail": v.detail} for v in verdicts]
    return Result(
        {"model": name, "failed": failed, "checks": rows},
        lambda: click.echo(f"{name}: " + (f"{failed} failed" if failed else "conforms")),
        failure=f"{name} fails {failed} of {len(rows)} checks" if failed else None,
    )


@models.command()
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write [NAME].")
@results
def new(name: str, out: Path | None) -> Result:
    """Write an installable package with a generator NAME and its tests, to start from."""
    from aubench.generators.scaffold import write_package

    place = out or Path(name)
    paths = write_package(name, place)
    lines = [f"wrote {path}" for path in paths]
    lines.append(f"next: pip install -e {place} && aubench check-generator {name}")
    return written(*paths, line="\n".join(lines))
