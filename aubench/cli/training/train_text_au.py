"""``aubench train-text-au``: AUs from text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aubench.cli import completion as complete
from aubench.cli.options import fold_option
from aubench.cli.output import Result, results
from aubench.cli.training.epochs import (
    EpochHelp,
    command_words,
    epoch_options,
    is_first_process,
)
from aubench.datasets import DEFAULT_DATASET
from aubench.errors import AubenchError

HELP = EpochHelp(
    data="",
    fold="Subject-exclusive fold to train on.",
    out="runs/text-au-ENCODER",
    epochs="[default: of the grammar 6 (nano), 2 (T5); else 40, 10]",
    unit="Texts",
    batch="",
    rate="2e-3 (nano on the grammar), 1e-3 (nano), 1e-4 (T5)",
    precisions=("float32", "bfloat16"),
    precision="float32",
    seed=5,
    limit=(8, "Only the first N AU sets; of the grammar, N texts an epoch."),
    parts="4 (grammar), 1",
)


@click.command(name="train-text-au")
@click.option(
    "--encoder",
    help="nano, t5-small, t5-base, or t5-large as in the paper; nano-dictionary for the one that "
    "reads our wordings alone.  [default: nano]",
)
@click.option("--preset", hidden=True, help="The former name of --encoder.")
@click.option(
    "--data",
    shell_complete=complete.dataset_or_folder,
    help="`grammar` for our dictionary and a grammar of facial actions; a data set: its attached "
    "texts, or its AU sets in our wordings; or FILE.csv with a column `text`, and `AU1` to `AU24` "
    "(0, 1, 9 unknown) or `combination`.  [default: grammar]",
)
@fold_option(HELP.fold)
@click.option("--checkpoint", help="Pretrained T5 to start from: folder or hub id.")
@click.option("--from-scratch", is_flag=True, help="Start a T5 size from random weights.")
@click.option(
    "--texts",
    type=click.IntRange(min=1),
    help="Texts of each AU set an epoch.  [default: 1 (grammar, nano on synfacs), 5]",
)
@epoch_options(HELP)
@results
def train_text_au(
    encoder: str | None,
    preset: str | None,
    data: str | None,
    checkpoint: str | None,
    from_scratch: bool,
    out: Path | None,
    device: str,
    resume: bool,
    **given: Any,
) -> Result | None:
    """Train the classifier of AUs from text; interrupt it freely, the same command resumes.

    Writes weights, tokenizer, card and report.json, and prints F1 by AU on what training has seen
    and on what it has not, beside a bag of words and the patterns of our dictionary.
    """
    if encoder and preset and encoder != preset:
        raise AubenchError("--preset is the former name of --encoder", "give one of them")
    name = encoder or preset or "nano"
    click.echo(f"train-text-au {name}: loading …", err=True)
    from aubench.networks.textau.report import read_report, table
    from aubench.networks.textau.train import settings_for, train

    settings = settings_for(
        name, data=data, checkpoint=checkpoint, from_scratch=from_scratch, **given
    )
    words = [f"aubench train-text-au --encoder {name}"]
    words += [f"--data {data}"] if data else []
    flags = {"checkpoint": checkpoint, "from-scratch": from_scratch}
    words += command_words(DEFAULT_DATASET, flags, given)
    folder = out or Path("runs") / f"text-au-{name}"
    path = train(
        settings,
        folder,
        " ".join(words),
        resume=resume,
        cpu=device == "cpu",
        say=lambda line: click.echo(line, err=True),
    )
    if not is_first_process():
        return None
    report = read_report(folder / "report.json")

    def show() -> None:
        click.echo(table(report))
        click.echo(f"wrote {path}, its tokenizer, its card and report.json")

    return Result({"files": [path], "report": report}, show)
