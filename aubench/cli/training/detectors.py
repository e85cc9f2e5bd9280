"""``aubench detectors``: how well a detector does."""

from __future__ import annotations

from pathlib import Path

import click

from aubench.cli import completion as complete
from aubench.cli.options import data_option
from aubench.cli.output import Result, results


@click.group()
def detectors() -> None:
    """Look at detectors of AUs."""


@detectors.command()
@click.argument("name")
@click.option(
    "--weights",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of weights; the nano detectors have theirs shipped.",
)
@data_option(
    "Data set; or FOLDER in the layout of ME-GraphAU, list/ and img/.", complete.dataset_or_folder
)
@click.option(
    "--fold",
    type=click.IntRange(min=1),
    help="Score the test part of this fold; a FOLDER needs one.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Only N images.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Of report.json and calibration.svg.  [default: reports/NAME]",
)
@click.option("--device", default="cpu", show_default=True)
@results
def report(
    name: str,
    weights: Path | None,
    data: str,
    fold: int | None,
    limit: int | None,
    out: Path | None,
    device: str,
) -> Result:
    """Score detector NAME on labelled faces: F1, AUC, calibration of each AU.

    Thresholds are those of its card, 0.5 without one.
    """
    from aubench.networks.detectors import load_detector
    from aubench.networks.detectors.assess import assess
    from aubench.networks.detectors.calibration import read_report, table
    from aubench.run.config import check_device

    check_device(device)
    detector = load_detector(name, device, weights=weights)
    folder = out or Path("reports") / name.replace(":", "-")
    paths = assess(detector, folder, data=data, fold=fold, limit=limit)
    found = read_report(paths[0])
    return Result(found, lambda: click.echo("\n".join([table(found["test"]), *map(str, paths)])))
