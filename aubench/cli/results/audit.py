"""``aubench audit``: how far the benchmark's own metrics can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from aubench.cli import completion as complete
from aubench.cli.options import (
    data_option,
    detectors_option,
    gather_options,
    text_au_option,
    with_chosen,
)
from aubench.cli.output import Result, results
from aubench.datasets import DEFAULT_DATASET


@dataclass(frozen=True)
class AAADOptions:
    """Options of ``aubench audit aaad``; the fields of ``AuditPlan``."""

    samples: int
    levels: int
    seed: int
    detectors: str | None
    text_au: str | None
    data: str
    protocol: str


@dataclass(frozen=True)
class WitnessOptions:
    """Options of ``aubench audit witness``."""

    people: int
    samples: int
    seed: int
    size: int
    readers: str
    runs: tuple[Path, ...]


@click.group()
def audit() -> None:
    """Find out how far a metric can be trusted, where the truth is known."""


@audit.command()
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Faces of the protocol that are taken.",
)
@click.option(
    "--levels",
    type=click.IntRange(2, 50),
    default=6,
    show_default=True,
    help="Steps of each kind of corruption.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Which faces, and which AUs are corrupted.",
)
@data_option("Data set; of other sets than the rendered ones the commands are corrupted.")
@click.option(
    "--protocol",
    shell_complete=complete.protocol,
    default="test2k",
    show_default=True,
    help="Whose faces are taken.",
)
@detectors_option()
@text_au_option()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of audit.json, audit.csv and audit.svg [audits/...].",
)
@click.option("--ids", is_flag=True, help="Print the metric id of every number.")
@results
@gather_options(AAADOptions, "options")
def aaad(options: AAADOptions, out: Path | None, ids: bool) -> Result:
    """Corrupt AUs step by step, and see what AAAD, cosine and F1 make of it.

    AUs are dropped, added and swapped: of rendered faces, where they are weakened too, while the
    command stays; of any other data set with labels in the command, while the face stays. It can
    be interrupted at any time; the same command resumes it.
    """
    from dataclasses import asdict

    from aubench.audit.aaad import audit_aaad
    from aubench.audit.observe import AuditPlan
    from aubench.audit.output import as_dict, print_audit, write

    options = with_chosen(options, options.data)
    plan = AuditPlan(**asdict(options))
    found = audit_aaad(plan)
    text = f"-{Path(plan.text_au).name}" if plan.text_au else ""
    data = "" if plan.data == DEFAULT_DATASET else f"{plan.data}-"
    first = found.provenance["detectors"][0].replace(":", "-")
    name = f"aaad-{data}{first}{text}-n{plan.samples}-l{plan.levels}-s{plan.seed}"
    folder = out or Path("audits") / name
    paths = write(found, folder)

    def show() -> None:
        print_audit(found, ids=ids)
        click.echo("\n" + "\n".join(map(str, paths)))

    return Result(as_dict(found), show)


@audit.command()
@click.argument("bed", type=click.Choice(["synfacs", "synfacs2"]))
@click.option(
    "--train",
    type=click.IntRange(min=10),
    default=100,
    show_default=True,
    help="Subjects that the witness' reader is fitted on.",
)
@click.option(
    "--test",
    type=click.IntRange(min=4),
    default=40,
    show_default=True,
    help="Fresh subjects that it is tested on.",
)
@click.option(
    "--faces",
    type=click.IntRange(min=40),
    default=400,
    show_default=True,
    help="Fresh faces for the detectors.",
)
@click.option(
    "--ramps",
    type=click.IntRange(min=2),
    default=8,
    show_default=True,
    help="Fresh subjects of ramps and layers.",
)
@click.option("--seed", type=click.IntRange(min=0), default=2026, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of audit.json and audit.md [audits/...].",
)
@results
def synfacs(bed: str, out: Path | None, **extent: int) -> Result:
    """Measure whether the rendered faces reward moving faces or drawing on them.

    It can be interrupted at any time; the same command goes on.
    """
    from dataclasses import asdict

    from aubench.audit.synfacs.audit import Extent, audit_synfacs, table

    folder = out or Path("audits") / bed
    rows = audit_synfacs(bed, Extent(**extent), folder)
    data = {"bed": bed, "rows": [asdict(row) for row in rows], "folder": str(folder)}
    return Result(data, lambda: click.echo(f"{table(rows)}\nwrote {folder}"))


@audit.command()
@click.option(
    "--people",
    type=int,
    default=8,
    show_default=True,
    help="Test subjects, each with every AU from neutral to E.",
)
@click.option(
    "--samples", type=int, default=64, show_default=True, help="Samples of test2k for the controls."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--size", type=click.IntRange(64, 512), default=128, show_default=True)
@click.option(
    "--readers",
    default="mp-zero,nano-a,nano-b",
    show_default=True,
    help="Detectors of either kind, such as mp-geo=FILE.",
)
@click.option(
    "--run",
    "runs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Run folder whose images are read too; repeatable.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of witness.json, witness.csv and witness.svg [audits/...].",
)
@results
@gather_options(WitnessOptions, "options")
def witness(options: WitnessOptions, out: Path | None) -> Result:
    """See what each reader of AUs can see, and what it takes for an AU that is none.

    Each AU alone from neutral to E; targets softened and mirrored; detail and decals pasted onto
    the reference, and an attack that nobody sees.
    """
    from aubench.audit.witness.measure import audit_witness
    from aubench.audit.witness.output import as_dict, print_audit, write
    from aubench.audit.witness.pictures import Plan

    plan = Plan(options.people, options.samples, options.seed, options.size)
    found = audit_witness(plan, options.readers, options.runs)
    folder = out or Path("audits") / f"witness-p{plan.people}-n{plan.samples}-s{plan.seed}"
    paths = write(found, folder)

    def show() -> None:
        print_audit(found)
        click.echo("\n" + "\n".join(map(str, paths)))

    return Result(as_dict(found), show)
