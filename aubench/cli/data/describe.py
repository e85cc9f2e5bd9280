"""``aubench describe``: AUs in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aubench.cli.output import Result, results

if TYPE_CHECKING:
    from aubench.facs.describe import Allocation, Description


@click.command()
@click.argument("aus")
@click.option(
    "--intensity",
    "graded",
    multiple=True,
    metavar="AU=LEVEL",
    help="Grade AUs in words: 12=3, or 12=3+15=1; 0 is absent, 1 to 5 are FACS A to E.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the wordings.")
@click.option("--variant", type=int, help="The same wording (0 to 4) of every construct.")
@click.option(
    "--allocation",
    type=click.Choice(["conflicts", "paper"]),
    default="conflicts",
    show_default=True,
    help="Which AUs are described together: opposed ones first, or in the paper's order.",
)
@click.option("--facs", type=click.Path(path_type=Path), help="Your own table of AUs.")
@results
def describe(
    aus: str,
    graded: tuple[str, ...],
    seed: int,
    variant: int | None,
    allocation: Allocation,
    facs: Path | None,
) -> Result:
    """Put a set of AUs, such as 6+12+15, into words."""
    from aubench.facs import load_facs, parse_aus
    from aubench.facs.describe import describe as put

    levels = _intensities("+".join(graded)) if graded else None
    done = put(parse_aus(aus), seed, variant, load_facs(facs), levels, allocation)
    names = ["+".join(map(str, construct)) for construct in done.constructs]
    data = {
        "text": done.text,
        "aus": done.aus,
        "constructs": names,
        "muscles": done.muscles,
        "conflicts": done.conflicts,
        "levels": done.levels,
    }
    return Result(data, lambda: _print(done, names))


def _print(done: Description, names: list[str]) -> None:
    from aubench.facs.describe import GRADES

    click.echo(done.text)
    click.echo(f"\nconstructs: {', '.join(names) or 'none'}")
    click.echo(f"muscles:    {'; '.join(done.muscles) or 'none'}")
    if done.levels:
        graded = (f"{au} {GRADES[level - 1]}" for au, level in done.levels.items())
        click.echo(f"intensity:  {', '.join(graded)}")
    for pair, why in done.conflicts.items():
        click.echo(f"conflict:   {'+'.join(map(str, pair))}: {why}")


def _intensities(text: str) -> dict[int, float]:
    """Parse ``12=3+15=1`` into intensities by AU."""
    from aubench.facs import AUS, parse_aus, parse_intensities

    values = parse_intensities(text, float("nan"))  # a level that is left out is refused
    names = "+".join(part.partition("=")[0] for part in text.replace(",", "+").split("+"))
    return {au: float(values[AUS.index(au)]) for au in parse_aus(names)}
