"""``aubench train-au-detector``: AUs from images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from aubench.cli import completion as complete
from aubench.cli.options import data_option
from aubench.cli.output import Result, results

PRESETS = ("nano", "nano-a", "nano-b", "resnet18", "resnet50", "resnet101", "swin-tiny",
           "swin-small", "swin-base")  # fmt: skip


@click.command(name="train-au-detector")
@click.option("--preset", type=click.Choice(PRESETS), default="nano-a", show_default=True,
              help="nano-a (or nano) and nano-b: small, for 128 px; else ME-GraphAU on this "
              "backbone.")  # fmt: skip
@data_option(
    "synfacs; or FOLDER in the layout of ME-GraphAU, list/ and img/.", complete.dataset_or_folder
)
@click.option("--fold", type=click.IntRange(1, 3),
              help="Subject-exclusive fold of three; a FOLDER needs one.  [default: synfacs' own "
              "splits]")  # fmt: skip
@click.option("--stage", type=click.IntRange(1, 2), default=1, show_default=True,
              help="Of ME-GraphAU: 1 graph of similarities, 2 edge features.")  # fmt: skip
@click.option("--init", type=click.Path(dir_okay=False),
              help="Weights of stage 1 to start stage 2 from, or of the same stage.")  # fmt: skip
@click.option("--backbone-weights", type=click.Path(dir_okay=False),
              help="torchvision's state_dict of the backbone.")  # fmt: skip
@click.option("--from-scratch", is_flag=True, help="Start ME-GraphAU from random weights.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="Folder to write.  [default: runs/au-detector-NAME]")  # fmt: skip
@click.option("--epochs", type=click.IntRange(min=1), help="At most.  [default: 8 (nano), 20]")
@click.option("--patience", type=click.IntRange(min=1),
              help="Stop after so many epochs without a better validation F1.  [default: never "
              "(nano), 5]")  # fmt: skip
@click.option("--batch", type=click.IntRange(min=1),
              help="Images a step, of all GPUs together.  [default: 64]")  # fmt: skip
@click.option("--accumulate", type=click.IntRange(min=1),
              help="Compute a batch in so many parts, for less memory.  [default: 1]")  # fmt: skip
@click.option("--rate", type=click.FloatRange(min=0, min_open=True),
              help="Learning rate.  [default: 2e-3 (nano), 1e-4, 1e-5 (stage 2)]")  # fmt: skip
@click.option("--edge", type=click.FloatRange(min=0, min_open=True),
              help="Weight of stage 2's loss on edges.  [default: 0.05 (resnet50), 0.01 "
              "(swin-base), 0.001]")  # fmt: skip
@click.option("--hold-out", type=click.FloatRange(0, 1, max_open=True),
              help="Share of a fold's training subjects to validate on; 0 validates on its test "
              "part, as published.  [default: 0.125]")  # fmt: skip
@click.option("--precision", type=click.Choice(["float32", "bfloat16", "float16"]),
              help="Of the computation.  [default: bfloat16 (nano), float32]")  # fmt: skip
@click.option("--device", type=click.Choice(["auto", "cpu"]), default="auto", show_default=True,
              help="auto: GPUs if there are any, as `accelerate` is set up.")  # fmt: skip
@click.option("--workers", type=click.IntRange(min=0), help="Processes that read images.")
@click.option("--seed", type=int, help="[default: 1]")
@click.option("--limit", type=click.IntRange(min=64), help="Only N training images.")
@click.option("--resume/--fresh", default=True, show_default=True)
@results
def train_au_detector(
    preset: str, data: str, stage: int, from_scratch: bool, out: Path | None, device: str,
    workers: int | None, resume: bool, **given: Any,
) -> Result | None:  # fmt: skip
    """Train a detector of AUs from images; interrupt it freely, the same command resumes.

    Writes weights, card, report.json and calibration.svg, and prints the scores of each AU.
    """
    speaks = os.environ.get("RANK", "0") == "0"  # of several processes one
    if speaks:
        click.echo(f"train-au-detector {preset}: loading …", err=True)
    from aubench.detectors.calibration import read_report, table
    from aubench.detectors.train import settings_for, train

    settings = settings_for(preset, stage=stage, from_scratch=from_scratch, data=data, **given)
    words = [f"aubench train-au-detector --preset {settings.preset}"]
    words += [f"--data {data}"] if data != "synfacs" else []
    words += [f"--stage {stage}"] if not settings.nano else []
    words += ["--from-scratch"] if from_scratch else []
    words += [f"--{key.replace('_', '-')} {v}" for key, v in given.items() if v is not None]
    folder = out or Path("runs") / f"au-detector-{settings.name}"
    path = train(settings, folder, " ".join(words), resume=resume, cpu=device == "cpu",
                 workers=workers, say=lambda line: click.echo(line, err=True))  # fmt: skip
    if not speaks:
        return None
    report = read_report(folder / "report.json")

    def show() -> None:
        click.echo(table(report["test"]))
        click.echo(f"wrote {path}, its card, report.json and calibration.svg")

    return Result({"files": [path], "report": report}, show)
