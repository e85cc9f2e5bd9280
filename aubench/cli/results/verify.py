"""``aubench verify``: recompute what a bundle claims."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from aubench.cli.options import gather_options, model_options, named_values
from aubench.cli.output import Result, results

SIGNS = {"holds": "✓", "fails": "✗", "open": "·"}


@dataclass(frozen=True)
class VerifyOptions:
    """Options on the model that makes images again."""

    images: int
    seed: int | None
    weights: Path | None
    words: tuple[str, ...]
    sandbox: bool


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--images",
    type=click.IntRange(0),
    default=8,
    show_default=True,
    help="Samples that the model makes again; 0 checks the numbers alone.",
)
@click.option("--seed", type=int, help="Of their choice. [one nobody knows beforehand]")
@model_options()
@click.option(
    "--sandbox/--no-sandbox",
    default=True,
    show_default=True,
    help="Make them in a process without renderer, cache and protocol in reach.",
)
@click.option("--commit", type=click.Path(path_type=Path), help="What the model is held to.")
@click.option("--seal", type=click.Path(path_type=Path), help="Of the draw that it was run on.")
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the recomputed record here, for `aubench report --add`.",
)
@results
@gather_options(VerifyOptions, "options")
def verify(
    bundle: Path,
    options: VerifyOptions,
    commit: Path | None,
    seal: Path | None,
    record: Path | None,
) -> Result:
    """Check BUNDLE: what it is made of, every number from its pixels, some images made again.

    Exit code 1 where anything fails.
    """
    from aubench.errors import AubenchError
    from aubench.plain_text import printable
    from aubench.submission.remake import ModelSource
    from aubench.submission.verification import check_promises
    from aubench.submission.verification import verify as check

    if record is not None and record.exists():
        raise AubenchError(f"{record} exists", "choose another --record")
    given = named_values("--option", options.words, "saturate=true")
    source = ModelSource(options.weights, given, options.sandbox)
    done = check(bundle, options.images, options.seed, source)
    found = [*done.findings, *check_promises(bundle, commit, seal)]
    failed = [one.what for one in found if one.verdict == "fails"]
    lines = [printable(f"{SIGNS[one.verdict]} {one.what}") for one in found]
    if record is not None and done.record is not None and not failed:
        done.record.write(record)
        lines.append(f"wrote {record}")
    failure = f"{bundle} fails {len(failed)} checks, first: {failed[0]}" if failed else None
    return Result(found, lambda: click.echo("\n".join(lines)), failure)
