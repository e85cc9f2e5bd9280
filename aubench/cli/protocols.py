"""``aubench protocols`` and ``aubench protocol``: the frozen protocols."""

from __future__ import annotations

from pathlib import Path

import click

from aubench.cli.protocol_freeze import freeze


@click.command()
@click.option("--data", default="synfacs", show_default=True, help="Data set.")
def protocols(data: str) -> None:
    """List the protocols of a data set."""
    from aubench.protocol import load_protocol, protocol_names

    for name in protocol_names(data):
        d = load_protocol(name, data).definition
        click.echo(f"{name:12} {d.version}  {d.samples:5} samples  {d.paper:8}  {d.description}")


@click.group()
def protocol() -> None:
    """Show or verify one protocol, or build your own copy."""


protocol.add_command(freeze)


@protocol.command()
@click.argument("name")
@click.option("--data", default="synfacs", show_default=True, help="Data set.")
def show(name: str, data: str) -> None:
    """Print a protocol's definition, strata and first samples."""
    from aubench.protocol import load_protocol

    found = load_protocol(name, data)
    for key, value in found.definition.model_dump().items():
        click.echo(f"{key:12} {value}")
    click.echo(f"{'sha256':12} {found.sha256}")
    frame = found.samples().frame
    click.echo(f"{'combinations':12} {frame['combination'].nunique()}")
    for stratum, count in frame["strata"].value_counts().sort_index().items():
        click.echo(f"  {stratum}: {count}")
    for row in frame.head(3).itertuples():
        click.echo(f"{row.sample_id}  {row.target}\n    {row.text}")


@protocol.command()
@click.argument("name")
@click.option("--data", default="synfacs", show_default=True, help="Data set.")
def verify(name: str, data: str) -> None:
    """Check digests and recompute what the protocol claims."""
    from aubench.protocol import load_protocol
    from aubench.protocol import verify as check

    found = check(load_protocol(name, data))
    for key, value in found.items():
        shown = f"{len(value)}" if isinstance(value, list) else value
        click.echo(f"{key}: {shown}")
    click.echo(f"{name} holds")


@protocol.command()
@click.argument("name")
@click.option("--data", default="synfacs", show_default=True, help="Data set.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--limit", type=click.IntRange(min=2), help="The samples of `aubench run --limit`.")
@click.option("--size", type=click.IntRange(32, 1024), help="Pixels [the protocol's].")
def export(name: str, data: str, out: Path, limit: int | None, size: int | None) -> None:
    """Write what a system without code here needs: texts, AUs, seeds, reference faces.

    Its images, named by sample id, are scored by `aubench run --model images --images DIR`.
    """
    _export(name, data, out, limit, size)


@click.command()
@click.option("--protocol", "name", required=True, help="Frozen protocol.")
@click.option("--data", default="synfacs", show_default=True, help="Data set.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder [prompts/...].")
@click.option("--limit", type=click.IntRange(min=2), help="The samples of `aubench run --limit`.")
@click.option("--size", type=click.IntRange(32, 1024), help="Pixels [the protocol's].")
def export_prompts(
    name: str, data: str, out: Path | None, limit: int | None, size: int | None
) -> None:
    """Write what a system without code here needs; the same as `aubench protocol export`."""
    _export(name, data, out or Path("prompts") / f"{data}-{name}", limit, size)


def _export(name: str, data: str, out: Path, limit: int | None, size: int | None) -> None:
    from aubench.datasets import image_source, restricted
    from aubench.engine.prompts import write_prompts
    from aubench.protocol import load_protocol

    found = load_protocol(name, data)
    samples = found.samples() if limit is None else found.samples().limit(limit)
    count = write_prompts(samples, image_source(data), out, size or found.size)
    click.echo(f"wrote {len(samples)} requests and {count} reference faces to {out}")
    if restricted(data):
        click.echo(f"images of {data} are restricted: keep them where its agreement allows",
                   err=True)  # fmt: skip
