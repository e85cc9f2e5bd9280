"""``aubench doctor``: the machine, and whether its numbers compare."""

from __future__ import annotations

import click

from aubench.cli.output import Result, results

SIGNS = {"ok": "✓", "warn": "!", "bad": "✗"}


@click.command()
@click.option("--quick", is_flag=True, help="Leave out the self-test.")
@results
def doctor(quick: bool) -> Result:
    """Look at environment, weights, caches, disk and GPU; recompute shipped reference values.

    Exit code 1 where something is wrong.
    """
    from aubench.audit import doctor as look
    from aubench.errors import first_line

    checks = look.examine()
    if not quick:
        try:
            checks += look.drift()
        except Exception as error:  # a broken network is what a doctor is called for
            checks.append(look.Check("drift of everything", "bad", first_line(error)))
    lines = [f"{SIGNS[check.state]} {check.name}: {check.what}" for check in checks]
    bad = [check.name for check in checks if check.state == "bad"]
    return Result(
        look.as_dict(checks),
        lambda: click.echo("\n".join([*lines, look.verdict(checks)])),
        failure=f"something is wrong with {', '.join(bad)}" if bad else None,
    )
