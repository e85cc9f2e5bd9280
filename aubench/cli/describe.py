"""``aubench describe``: AUs in words."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("aus")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the wordings.")
@click.option("--variant", type=int, help="The same wording (0 to 4) of every construct.")
@click.option("--facs", type=click.Path(path_type=Path), help="Your own table of AUs.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def describe(aus: str, seed: int, variant: int | None, facs: Path | None, as_json: bool) -> None:
    """Put a set of AUs, such as 6+12+15, into words."""
    from aubench.describe import describe as put
    from aubench.facs import load_facs, parse_aus

    done = put(parse_aus(aus), seed, variant, load_facs(facs))
    names = ["+".join(map(str, construct)) for construct in done.constructs]
    if as_json:
        conflicts = {"+".join(map(str, pair)): why for pair, why in done.conflicts.items()}
        data = {"text": done.text, "aus": done.aus, "constructs": names,
                "muscles": done.muscles, "conflicts": conflicts}  # fmt: skip
        click.echo(json.dumps(data, indent=1))
        return
    click.echo(done.text)
    click.echo(f"\nconstructs: {', '.join(names) or 'none'}")
    click.echo(f"muscles:    {'; '.join(done.muscles) or 'none'}")
    for pair, why in done.conflicts.items():
        click.echo(f"conflict:   {'+'.join(map(str, pair))}: {why}")
