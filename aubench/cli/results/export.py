"""``aubench export``: folders for places where people keep data and results."""

from __future__ import annotations

from pathlib import Path

import click

from aubench.cli import completion as complete
from aubench.cli.options import data_option
from aubench.cli.output import Result, results, written


@click.group()
def export() -> None:
    """Write folders for places where people keep data and results."""


@export.command()
@click.argument("runs", type=click.Path(path_type=Path, exists=True), nargs=-1)
@click.option(
    "--protocol", shell_complete=complete.protocol, help="A protocol, as a benchmark data set."
)
@data_option("Of --protocol.")
@click.option("--images", is_flag=True, help="With --protocol: reference and target faces too.")
@click.option("--facts", type=click.Path(path_type=Path, dir_okay=False, exists=True), hidden=True)
@click.option(
    "--dataset-id", metavar="USER/NAME", help="With RUNS: repository of the benchmark on the Hub."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder to write, absent or empty.",
)
@results
def hub(
    runs: tuple[Path, ...],
    protocol: str | None,
    data: str,
    images: bool,
    facts: Path | None,
    dataset_id: str | None,
    out: Path,
) -> Result:
    """Write a folder for the Hugging Face Hub; `hf upload` takes it there.

    With --protocol the repository of a data set (--out): its card, Croissant, samples, and of RUNS
    on it eval.yaml. Without, RUNS of one model: .eval_results/ for its repository (model/), and a
    page of its samples for a static Space (site/). What is under an agreement stays out.
    """
    from aubench.comparison.runs import open_run
    from aubench.errors import AubenchError
    from aubench.report import hub as places

    if not runs and protocol is None:
        raise AubenchError("give RUNS or --protocol", "see `aubench export hub --help`")
    if protocol is not None:
        from aubench.protocols.cards.facts import read_facts
        from aubench.protocols.protocol import load_protocol

        found = load_protocol(protocol, data)
        opened = [open_run(path) for path in runs]
        stated = read_facts(data, facts)
        files = places.write_benchmark(found, stated, out, images=images, runs=opened)
        upload = f"{out} --repo-type dataset"
    else:
        if dataset_id is None:
            raise AubenchError("--dataset-id is missing", "the benchmark on the Hub, USER/NAME")
        files = places.write_results([open_run(path) for path in runs], dataset_id, out)
        upload = str(out / "model")
    line = f"{len(files)} files; hf upload USER/NAME {upload}"
    return written(*files, line=line)
