"""``aubench doctor``: the machine, and whether its numbers compare."""

from __future__ import annotations

import json
import sys

import click

SIGNS = {"ok": "✓", "warn": "!", "bad": "✗"}


@click.command()
@click.option("--quick", is_flag=True, help="Leave out the self-test.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(quick: bool, as_json: bool) -> None:
    """Look at environment, weights, caches, disk and GPU; recompute shipped reference values.

    Exit code 1 where something is wrong.
    """
    from aubench.report import doctor as look

    checks = look.examine()
    if not quick:
        try:
            checks += look.drift()
        except Exception as error:  # a broken network is what a doctor is called for
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            checks.append(look.Check("drift of everything", "bad", text))
    if as_json:
        click.echo(json.dumps(look.as_dict(checks), indent=1))
    else:
        for check in checks:
            click.echo(f"{SIGNS[check.state]} {check.name}: {check.what}")
        click.echo(look.verdict(checks))
    if any(check.state == "bad" for check in checks):
        sys.exit(1)
