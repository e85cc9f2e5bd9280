"""``aubench train-au-detector``: AUs from images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from aubench.cli.output import Result, results
from aubench.cli.training.epochs import (
    EpochHelp,
    command_words,
    data_options,
    epoch_options,
    is_first_process,
)
from aubench.errors import AubenchError

PRESETS = (
    "nano",
    "nano-a",
    "nano-b",
    "nano2-a",
    "nano2-b",
    "resnet18",
    "resnet50",
    "resnet101",
    "swin-tiny",
    "swin-small",
    "swin-base",
    "mp-geo",
)
GEOMETRY = "mp-geo"
GEOMETRY_OPTIONS = ("preset", "data", "fold", "limit", "out", "as_json")

HELP = EpochHelp(
    data="Data set; or FOLDER in the layout of ME-GraphAU, list/ and img/.",
    fold="Subject-exclusive fold; a FOLDER needs one.",
    out="runs/au-detector-NAME",
    epochs="At most.  [default: 8 (nano), 20]",
    unit="Images",
    batch=", of all GPUs together",
    rate="2e-3 (nano), 1e-4, 1e-5 (stage 2)",
    precisions=("float32", "bfloat16", "float16"),
    precision="float32; nano bfloat16 where the machine has it",
    seed=1,
    limit=(64, "Only N training images."),
)


@click.command(name="train-au-detector")
@click.option(
    "--preset",
    type=click.Choice(PRESETS),
    default="nano-a",
    show_default=True,
    help="nano-a (or nano) and nano-b: small, for 128 px; mp-geo: a head on the geometry "
    "of mp-face; else ME-GraphAU on this backbone.",
)
@data_options(HELP)
@click.option(
    "--stage",
    type=click.IntRange(1, 2),
    default=1,
    show_default=True,
    help="Of ME-GraphAU: 1 graph of similarities, 2 edge features.",
)
@click.option(
    "--init",
    type=click.Path(dir_okay=False),
    help="Weights of stage 1 to start stage 2 from, or of the same stage.",
)
@click.option(
    "--backbone-weights",
    type=click.Path(dir_okay=False),
    help="torchvision's state_dict of the backbone.",
)
@click.option("--from-scratch", is_flag=True, help="Start ME-GraphAU from random weights.")
@click.option(
    "--patience",
    type=click.IntRange(min=1),
    help="Stop after so many epochs without a better validation F1.  [default: never (nano), 5]",
)
@click.option(
    "--edge",
    type=click.FloatRange(min=0, min_open=True),
    help="Weight of stage 2's loss on edges.  [default: 0.05 (resnet50), 0.01 (swin-base), 0.001]",
)
@click.option(
    "--hold-out",
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of a fold's training subjects to validate on; 0 validates on its test "
    "part, as published.  [default: 0.125]",
)
@click.option("--workers", type=click.IntRange(min=0), help="Processes that read images.")
@epoch_options(HELP)
@results
def train_au_detector(
    preset: str,
    data: str,
    stage: int,
    from_scratch: bool,
    out: Path | None,
    device: str,
    workers: int | None,
    resume: bool,
    **given: Any,
) -> Result | None:
    """Train a detector of AUs from images; interrupt it freely, the same command resumes.

    Writes weights, card, report.json and calibration.svg, and prints the scores of each AU.
    """
    if is_first_process():
        click.echo(f"train-au-detector {preset}: loading …", err=True)
    if preset == GEOMETRY:
        return _fit_geometry(data, given["fold"], given["limit"], out)
    from aubench.networks.detectors.calibration import read_report, table
    from aubench.networks.detectors.training.train import settings_for, train

    settings = settings_for(preset, stage=stage, from_scratch=from_scratch, data=data, **given)
    words = [f"aubench train-au-detector --preset {settings.preset}"]
    flags = {"stage": None if settings.nano else stage, "from-scratch": from_scratch}
    words += command_words(data, flags, given)
    folder = out or Path("runs") / f"au-detector-{settings.name}"
    path = train(
        settings,
        folder,
        " ".join(words),
        resume=resume,
        cpu=device == "cpu",
        workers=workers,
        say=lambda line: click.echo(line, err=True),
    )
    if not is_first_process():
        return None
    report = read_report(folder / "report.json")

    def show() -> None:
        click.echo(table(report["test"]))
        click.echo(f"wrote {path}, its card, report.json and calibration.svg")

    return Result({"files": [path], "report": report}, show)


def _fit_geometry(data: str, fold: int | None, limit: int | None, out: Path | None) -> Result:
    """Fit the head of ``mp-geo``; it is solved, not trained, and takes no other option."""
    from aubench.networks.face_landmarker.train import fit

    _refuse_options_of_trainings()
    path = (out or Path("runs") / f"au-detector-{GEOMETRY}") / f"{GEOMETRY}.safetensors"
    words = [f"aubench train-au-detector --preset {GEOMETRY}"]
    words += command_words(data, {}, {"fold": fold, "limit": limit})
    path.parent.mkdir(parents=True, exist_ok=True)
    head = fit(path, " ".join(words), data=data, fold=fold, limit=limit)
    scores = head.card["scores on unseen subjects"]

    def show() -> None:
        for au, area in scores["AUC"].items():
            r = scores["correlation with intensity"].get(au)
            graded = "" if r is None else f"  correlation with intensity {r:.3f}"
            click.echo(f"{au:5} AUC {area:.3f}{graded}")
        click.echo(f"mean  AUC {scores['mean AUC']} on {scores['faces']} faces")
        click.echo(f"wrote {path} and its card")

    return Result({"weights": str(path), **head.card}, show)


def _refuse_options_of_trainings() -> None:
    context = click.get_current_context()
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is ParameterSource.COMMANDLINE and name not in GEOMETRY_OPTIONS:
            option = next(p.opts[0] for p in context.command.params if p.name == name)
            raise AubenchError(
                f"{option} is not for --preset {GEOMETRY}, which is solved and not trained",
                "leave it out; it takes --data, --fold, --limit and --out",
            )
