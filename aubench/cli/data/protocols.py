"""``aubench protocols`` and ``aubench protocol``: the frozen protocols."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aubench.cli import completion as complete
from aubench.cli.data.protocol_draw import draw, reveal, seal
from aubench.cli.data.protocol_freeze import freeze
from aubench.cli.options import data_option, gather_options
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


@dataclass(frozen=True)
class Exported:
    """What is exported, and where to.

    Attributes:
        out: Folder.
        limit: The samples of ``aubench run --limit``; None for all.
        size: Pixels; None for the protocol's.
        targets: Target faces too.
        restricted_faces: Targets of a data set under an agreement too.
    """

    out: Path
    limit: int | None = None
    size: int | None = None
    targets: bool = False
    restricted_faces: bool = False


@protocol.command()
@click.argument("name", shell_complete=complete.protocol)
@data_option()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--limit", type=click.IntRange(min=2), help="The samples of `aubench run --limit`.")
@click.option("--size", type=click.IntRange(32, 1024), help="Pixels [the protocol's].")
@click.option("--images", "targets", is_flag=True, help="Also write the target faces.")
@click.option(
    "--restricted-faces",
    is_flag=True,
    help="With --images: also of a data set whose images must stay on your machines.",
)
@gather_options(Exported, "what")
@results
def export(name: str, data: str, what: Exported) -> Result:
    """Write what a system without code here needs: texts, AUs, seeds, reference faces.

    Its images, named by sample id, are scored by `aubench run --model images --images DIR`. With
    --images the whole protocol is files: targets as PNG and a table of them. The same command
    takes up again what was interrupted.
    """
    return _export(name, data, what)


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
    folder = out or Path("prompts") / f"{data}-{name}"
    return _export(name, data, Exported(folder, limit, size))


def _export(name: str, data: str, what: Exported) -> Result:
    from aubench.datasets import image_source, restricted
    from aubench.errors import AubenchError
    from aubench.generators.prompts import write_prompts, write_targets
    from aubench.protocols.protocol import load_protocol

    found = load_protocol(name, data)
    closed = restricted(data)
    if what.targets and closed and not what.restricted_faces:
        raise AubenchError(
            f"images of {data} are restricted, so no target is written",
            "leave out --images, or add --restricted-faces if your agreement allows it",
        )
    samples = found.samples() if what.limit is None else found.samples().limit(what.limit)
    images, size = image_source(data), what.size or found.size
    references = write_prompts(samples, images, what.out, size)
    targets = write_targets(samples, images, what.out, size) if what.targets else 0
    if closed:
        click.echo(
            f"images of {data} are restricted: keep them where its agreement allows", err=True
        )
    more = f", {targets} target faces" if what.targets else ""
    line = f"wrote {len(samples)} requests, {references} reference faces{more} to {what.out}"
    counts = {"requests": len(samples), "references": references, "targets": targets}
    return written(what.out, line=line, **counts)
