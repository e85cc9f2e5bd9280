"""``aubench verify``: recompute what a bundle claims."""

from __future__ import annotations

from pathlib import Path

import click

from aubench.cli.output import Result, results

SIGNS = {"holds": "✓", "fails": "✗", "open": "·"}


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--images", type=click.IntRange(0), default=4, show_default=True, help="Samples to make again."
)
@click.option("--seed", type=int, help="Of their choice. [one nobody knows beforehand]")
@click.option("--weights", type=click.Path(path_type=Path, exists=True), help="Of the model.")
@click.option("--commit", type=click.Path(path_type=Path), help="What the model is held to.")
@click.option("--seal", type=click.Path(path_type=Path), help="Of the draw that it was run on.")
@click.option("--require-images", is_flag=True, help="Fail where no image can be made again.")
@results
def verify(
    bundle: Path,
    images: int,
    seed: int | None,
    weights: Path | None,
    commit: Path | None,
    seal: Path | None,
    require_images: bool,
) -> Result:
    """Check BUNDLE: checksums, samples, every metric from the features, a few images made again.

    Exit code 1 where anything fails.
    """
    from aubench.submission.verification import check_promises
    from aubench.submission.verification import verify as check

    found = check(bundle, images, seed, weights)
    found += check_promises(bundle, commit, seal)
    lines = [f"{SIGNS[finding.verdict]} {finding.what}" for finding in found]
    failed = [finding.what for finding in found if finding.verdict == "fails"]
    failure = f"{bundle} fails {len(failed)} checks, first: {failed[0]}" if failed else None
    if not failed and require_images and any("no image was made" in line for line in lines):
        failure = f"{bundle}: no image was made again; install the model and weights"
    return Result(found, lambda: click.echo("\n".join(lines)), failure)
