"""``aubench train-text-au``: AUs from text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from aubench.cli import completion as complete
from aubench.cli.options import data_option
from aubench.cli.output import Result, results
from aubench.errors import AubenchError


@click.command(name="train-text-au")
@click.option("--encoder", help="nano, t5-small, t5-base, or t5-large as in the paper.  "
              "[default: nano]")  # fmt: skip
@click.option("--preset", hidden=True, help="The former name of --encoder.")
@data_option(
    "synfacs: its AU sets in our wordings; or FILE.csv with a column `text`, and "
    "`AU1` to `AU24` (0, 1, 9 unknown) or `combination`.",
    complete.dataset_or_folder,
)
@click.option("--checkpoint", help="Pretrained T5 to start from: folder or hub id.")
@click.option("--from-scratch", is_flag=True, help="Start a T5 size from random weights.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="Folder to write.  [default: runs/text-au-ENCODER]")  # fmt: skip
@click.option("--epochs", type=click.IntRange(min=1), help="[default: 40 (nano), 10 (T5)]")
@click.option("--texts", type=click.IntRange(min=1),
              help="Texts of each AU set an epoch.  [default: 1 (nano on synfacs), 5]")  # fmt: skip
@click.option("--batch", type=click.IntRange(min=1), help="Texts a step.  [default: 64]")
@click.option("--accumulate", type=click.IntRange(min=1),
              help="Compute a batch in so many parts, for less memory.  [default: 1]")  # fmt: skip
@click.option("--rate", type=click.FloatRange(min=0, min_open=True),
              help="Learning rate.  [default: 1e-3 (nano), 1e-4 (T5)]")  # fmt: skip
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="float32",
              show_default=True, help="Of the computation.")  # fmt: skip
@click.option("--device", type=click.Choice(["auto", "cpu"]), default="auto", show_default=True,
              help="auto: GPUs if there are any, as `accelerate` is set up.")  # fmt: skip
@click.option("--seed", type=int, help="[default: 5]")
@click.option("--limit", type=click.IntRange(min=8), help="Only the first N AU sets.")
@click.option("--resume/--fresh", default=True, show_default=True)
@results
def train_text_au(
    encoder: str | None, preset: str | None, data: str, checkpoint: str | None, from_scratch: bool,
    out: Path | None, device: str, resume: bool, **given: Any,
) -> Result | None:  # fmt: skip
    """Train the classifier of AUs from text; interrupt it freely, the same command resumes.

    Writes weights, tokenizer, card and report.json, and prints F1 by AU on seen wordings, held-out
    wordings, AU sets that were not trained on, and both.
    """
    if encoder and preset and encoder != preset:
        raise AubenchError("--preset is the former name of --encoder", "give one of them")
    name = encoder or preset or "nano"
    click.echo(f"train-text-au {name}: loading …", err=True)
    from aubench.textau.report import read_report, table
    from aubench.textau.train import settings_for, train

    settings = settings_for(
        name, data=data, checkpoint=checkpoint, from_scratch=from_scratch, **given
    )
    words = [f"aubench train-text-au --encoder {name}"]
    words += [f"--data {data}"] if data != "synfacs" else []
    words += [f"--checkpoint {checkpoint}"] if checkpoint else []
    words += ["--from-scratch"] if from_scratch else []
    words += [f"--{key} {value}" for key, value in given.items() if value is not None]
    folder = out or Path("runs") / f"text-au-{name}"
    path = train(settings, folder, " ".join(words), resume=resume, cpu=device == "cpu",
                 say=lambda line: click.echo(line, err=True))  # fmt: skip
    if os.environ.get("RANK", "0") != "0":  # one of several processes, not the first
        return None
    report = read_report(folder / "report.json")

    def show() -> None:
        click.echo(table(report))
        click.echo(f"wrote {path}, its tokenizer, its card and report.json")

    return Result({"files": [path], "report": report}, show)
