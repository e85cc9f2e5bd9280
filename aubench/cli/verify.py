"""``aubench verify``: recompute what a bundle claims."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from aubench.errors import AubenchError

SIGNS = {"holds": "✓", "fails": "✗", "open": "·"}


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--images", type=click.IntRange(0), default=4, show_default=True,
              help="Samples to make again.")  # fmt: skip
@click.option("--seed", type=int, help="Of their choice. [one nobody knows beforehand]")
@click.option("--weights", type=click.Path(path_type=Path, exists=True), help="Of the model.")
@click.option("--require-images", is_flag=True, help="Fail where no image can be made again.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def verify(
    bundle: Path,
    images: int,
    seed: int | None,
    weights: Path | None,
    require_images: bool,
    as_json: bool,
) -> None:
    """Check BUNDLE: checksums, samples, every metric from the features, a few images made again.

    Exit code 2 where anything fails.
    """
    from aubench.report.verification import verify as check

    found = check(bundle, images, seed, weights)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found], indent=1))
    else:
        for finding in found:
            click.echo(f"{SIGNS[finding.verdict]} {finding.what}")
    failed = [finding for finding in found if finding.verdict == "fails"]
    if failed:
        raise AubenchError(f"{bundle} fails {len(failed)} checks, first: {failed[0].what}")
    if require_images and any(f.what.startswith("no image was made") for f in found):
        raise AubenchError(f"{bundle}: no image was made again", "install the model and weights")
