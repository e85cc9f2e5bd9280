"""``aubench submit``: a run as a bundle that others can verify."""

from __future__ import annotations

from pathlib import Path

import click

from aubench.cli.output import Result, results, written


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path), help="[bundles/PROTOCOL-MODEL]")
@click.option("--limited", is_flag=True, help="Allow a run with --limit, to try it out.")
@click.option(
    "--images/--no-images",
    default=True,
    show_default=True,
    help="Carry the images; without, all must be made again to be verified.",
)
@click.option("--include-restricted", is_flag=True, help="Allow faces of a restricted data set.")
@results
def submit(
    run: Path, out: Path | None, limited: bool, images: bool, include_restricted: bool
) -> Result:
    """Write a bundle of the run folder RUN: record, ledger, images, checksums."""
    from aubench.comparison.runs import open_run
    from aubench.submission.bundle import write_bundle
    from aubench.submission.privacy import check_faces

    opened = open_run(run)
    check_faces(opened.record.protocol.dataset, include_restricted, "a bundle")
    place = out or Path("bundles") / f"{opened.protocol.name}-{opened.name}"
    write_bundle(opened, place, limited=limited, images=images)
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    line = f"wrote {place}, {size / 2**20:.1f} MiB; check it with `aubench verify {place}`"
    return written(place, line=line, bytes=size)
