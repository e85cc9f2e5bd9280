"""``aubench protocols`` and ``aubench protocol``: the frozen protocols."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aubench.cli import completion as complete
from aubench.cli.data.protocol_draw import draw, reveal, seal
from aubench.cli.data.protocol_freeze import freeze
from aubench.cli.options import data_option
from aubench.cli.output import Result, results, written

if TYPE_CHECKING:
    from aubench.protocols.protocol import Protocol


@click.command()
@data_option()
@results
def protocols(data: str) -> Result:
    """List the protocols of a data set."""
    from aubench.protocols.protocol import load_protocol, protocol_names

    found = [load_protocol(name, data) for name in protocol_names(data)]
    if not found:
        load_protocol("", data)  # says which data sets there are

    def lines() -> None:
        for d in (one.definition for one in found):
            click.echo(
                f"{d.name:12} {d.version}  {d.samples:5} samples  {d.paper:8}  {d.description}"
            )

    return Result([_about(one) for one in found], lines)


def _about(found: Protocol) -> dict[str, Any]:
    return {**found.definition.model_dump(), "sha256": found.sha256}


@click.group()
def protocol() -> None:
    """Show or verify one protocol, or build your own copy."""


for _command in (freeze, draw, seal, reveal):
    protocol.add_command(_command)


@protocol.command()
@click.argument("name", shell_complete=complete.protocol)
@data_option()
@results
def show(name: str, data: str) -> Result:
    """Print a protocol's definition, strata and first samples."""
    from aubench.protocols.protocol import load_protocol

    found = load_protocol(name, data)
    frame = found.samples().frame
    strata = frame["strata"].value_counts().sort_index().items()
    first = frame.head(3)[["sample_id", "target", "text"]].astype(object)
    card = {
        **_about(found),
        "combinations": frame["combination"].nunique(),
        "strata": {str(name): int(count) for name, count in strata},
        "first": first.where(first.notna(), None).to_dict("records"),
    }
    return Result(card, lambda: _print_card(card))


def _print_card(card: dict[str, Any]) -> None:
    for key, value in card.items():
        if key not in ("strata", "first"):
            click.echo(f"{key:12} {value}")
    for stratum, count in card["strata"].items():
        click.echo(f"  {stratum}: {count}")
    for row in card["first"]:
        click.echo(f"{row['sample_id']}  {row['target']}\n    {row['text']}")


@protocol.command()
@click.argument("name", shell_complete=complete.protocol)
@data_option()
@results
def verify(name: str, data: str) -> Result:
    """Check digests and recompute what the protocol claims; exit code 1 if it does not hold."""
    from aubench.errors import AubenchError
    from aubench.protocols.protocol import load_protocol, protocol_names
    from aubench.protocols.protocol import verify as check

    try:
        found = check(load_protocol(name, data))
    except AubenchError as error:
        if name not in protocol_names(data):
            raise
        reason = str(error)
        return Result({"name": name, "holds": False, "reason": reason}, lambda: None, reason)

    def lines() -> None:
        for key, value in found.items():
            click.echo(f"{key}: {len(value) if isinstance(value, list) else value}")
        click.echo(f"{name} holds")

    return Result({"name": name, "holds": True, **found}, lines)


@protocol.command()
@click.argument("name", shell_complete=complete.protocol)
@data_option()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--limit", type=click.IntRange(min=2), help="The samples of `aubench run --limit`.")
@click.option("--size", type=click.IntRange(32, 1024), help="Pixels [the protocol's].")
@results
def export(name: str, data: str, out: Path, limit: int | None, size: int | None) -> Result:
    """Write what a system without code here needs: texts, AUs, seeds, reference faces.

    Its images, named by sample id, are scored by `aubench run --model images --images DIR`.
    """
    return _export(name, data, out, limit, size)


@click.command()
@click.option(
    "--protocol", "name", shell_complete=complete.protocol, required=True, help="Frozen protocol."
)
@data_option()
@click.option("--out", type=click.Path(path_type=Path), help="Folder [prompts/...].")
@click.option("--limit", type=click.IntRange(min=2), help="The samples of `aubench run --limit`.")
@click.option("--size", type=click.IntRange(32, 1024), help="Pixels [the protocol's].")
@results
def export_prompts(
    name: str, data: str, out: Path | None, limit: int | None, size: int | None
) -> Result:
    """Write what a system without code here needs; the same as `aubench protocol export`."""
    return _export(name, data, out or Path("prompts") / f"{data}-{name}", limit, size)


def _export(name: str, data: str, out: Path, limit: int | None, size: int | None) -> Result:
    from aubench.datasets import image_source, restricted
    from aubench.generators.prompts import write_prompts
    from aubench.protocols.protocol import load_protocol

    found = load_protocol(name, data)
    samples = found.samples() if limit is None else found.samples().limit(limit)
    count = write_prompts(samples, image_source(data), out, size or found.size)
    if restricted(data):
        click.echo(
            f"images of {data} are restricted: keep them where its agreement allows", err=True
        )
    line = f"wrote {len(samples)} requests and {count} reference faces to {out}"
    return written(out, line=line, requests=len(samples), references=count)
