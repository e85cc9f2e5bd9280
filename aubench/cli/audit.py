"""``aubench audit``: how far the benchmark's own metrics can be trusted."""

from __future__ import annotations

from pathlib import Path

import click

from aubench.cli.output import Result, results


@click.group()
def audit() -> None:
    """Find out how far a metric can be trusted, where the truth is known."""


@audit.command()
@click.option("--samples", type=click.IntRange(min=1), default=200, show_default=True,
              help="Faces of test2k that are corrupted.")  # fmt: skip
@click.option("--levels", type=click.IntRange(2, 50), default=6, show_default=True,
              help="Steps of each kind of corruption.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Which faces, and which AUs are corrupted.")  # fmt: skip
@click.option("--detector", default="nano-a", show_default=True,
              help="Detector of the headline; the other stands beside it.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="Folder of audit.json, audit.csv and audit.svg [audits/...].")  # fmt: skip
@click.option("--ids", is_flag=True, help="Print the metric id of every number.")
@results
def aaad(
    samples: int, levels: int, seed: int, detector: str, out: Path | None, ids: bool,
) -> Result:  # fmt: skip
    """Corrupt the AUs of synthetic faces step by step, and see what AAAD, cosine and F1 make of it.

    AUs are dropped, added, weakened and swapped. It can be interrupted at any time; the same
    command resumes it.
    """
    from aubench.audit.aaad import audit_aaad
    from aubench.audit.observe import Plan
    from aubench.audit.output import as_dict, print_audit, write

    found = audit_aaad(Plan(samples, levels, seed, detector))
    folder = out or Path("audits") / f"aaad-{detector}-n{samples}-l{levels}-s{seed}"
    paths = write(found, folder)

    def show() -> None:
        print_audit(found, ids=ids)
        click.echo("\n" + "\n".join(map(str, paths)))

    return Result(as_dict(found), show)
