"""``aubench data``: the synthetic faces, photographs, the researcher's own data."""

from __future__ import annotations

from pathlib import Path

import click

from aubench.cli.data_import import import_, list_, text
from aubench.cli.output import Result, results, written

OUT_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def data() -> None:
    """Build or look at the synthetic faces; import your own data."""


for _command in (import_, list_, text):
    data.add_command(_command)


@data.command()
@click.argument("dataset", type=click.Choice(["synfacs"]))
@click.option("--split", type=click.Choice(["train", "validation", "test", "all"]),
              default="all", show_default=True)  # fmt: skip
@click.option("--size", type=click.IntRange(32, 512), default=128, show_default=True)
@click.option("--workers", type=click.IntRange(min=1), default=None,
              help="Processes that render; one a core if not given.")  # fmt: skip
@results
def build(dataset: str, split: str, size: int, workers: int | None) -> Result:
    """Render the images of a split into the cache; interrupt it freely, it resumes."""
    from aubench.datasets.synfacs import load_split
    from aubench.files import home

    built = {}
    for name in ("train", "validation", "test") if split == "all" else (split,):
        targets, references, _, _ = load_split(name, size, processes=workers)
        built[name] = {"faces": len(targets), "references": len(references)}
    lines = [f"{name}: {row['faces']} faces, {row['references']} references"
             for name, row in built.items()]  # fmt: skip
    data = {"splits": built, "size": size, "folder": home() / dataset}
    return Result(data, lambda: click.echo("\n".join([*lines, f"in {home() / dataset}"])))


@data.command()
@click.argument("dataset", type=click.Choice(["synfacs"]))
@click.option("--aus", default="neutral", show_default=True, help="6+12+15, or 6=3+12=4.5.")
@click.option("--intensity", type=click.FloatRange(0, 5), default=4.0, show_default=True)
@click.option("--subject", default="S320", show_default=True)
@click.option("--scene", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--size", type=click.IntRange(32, 1024), default=256, show_default=True)
@click.option("--framing", type=click.Choice(["face", "head"]), default="face", show_default=True)
@click.option("-o", "--out", type=OUT_FILE, required=True)
@results
def show(
    dataset: str, aus: str, intensity: float, subject: str, scene: int, size: int, framing: str,
    out: Path,
) -> Result:  # fmt: skip
    """Render one face."""
    from aubench.facs import parse_intensities
    from aubench.synfacs import format_key
    from aubench.synfacs.render import render

    values = parse_intensities(aus, intensity)
    _write(out, render(subject, values, scene, size=size, framing=framing))
    key = format_key(subject, values, scene)
    return written(out, line=f"{out}: {key}", key=key)


@data.command()
@click.option("--subjects", default="S320,S325,S330,S335,S340", show_default=True)
@click.option("--intensity", type=click.FloatRange(0, 5), default=4.0, show_default=True)
@click.option("--size", type=click.IntRange(32, 512), default=128, show_default=True)
@click.option("-o", "--out", type=OUT_FILE, required=True)
@results
def sheet(subjects: str, intensity: float, size: int, out: Path) -> Result:
    """Render subjects against every AU and the six conflicts."""
    from aubench.synfacs.sheet import every_au
    from aubench.synfacs.sheet import sheet as draw

    names = [name.strip() for name in subjects.split(",")]
    _write(out, draw(names, every_au(), intensity=intensity, size=size))
    shown = [str(word) for word in every_au()]
    return written(out, line=f"{out}: {', '.join(shown)}", subjects=names, columns=shown)


@data.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--size", type=click.IntRange(32, 1024), default=256, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@results
def align(folder: Path, out: Path, size: int, device: str) -> Result:
    """Find the face of each photograph, level it and crop it to a square.

    Needs `pip install --no-deps facenet-pytorch`. OUT/alignment.csv has a row for every photograph,
    also for those without a face.
    """
    from aubench.alignment import FaceFinder
    from aubench.datasets.crops import LEDGER, crop_folder
    from aubench.engine.job import check_device

    check_device(device)
    crops = crop_folder(folder, out, FaceFinder(device), size)
    for status in ("no face", "unreadable"):
        for crop in crops:
            if crop.status == status:
                click.echo(f"{status}: {crop.image}", err=True)
    count = {status: sum(c.status == status for c in crops) for status in
             ("found", "no face", "unreadable")}  # fmt: skip
    told = ", ".join(f"{number} {status}" for status, number in count.items())
    return written(out / LEDGER, line=f"{told}\nwrote {out / LEDGER}", counts=count)


def _write(out: Path, image: object) -> None:
    from typing import Any, cast

    from PIL import Image

    from aubench.files import atomic_path

    with atomic_path(out) as temporary:
        Image.fromarray(cast("Any", image)).save(temporary, format="PNG")
