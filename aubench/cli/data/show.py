"""``aubench data``: the synthetic faces, photographs, the researcher's own data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from aubench.cli import completion as complete
from aubench.cli.data.card import card
from aubench.cli.data.export import export
from aubench.cli.data.import_ import import_, list_
from aubench.cli.data.set import set_
from aubench.cli.data.text import text
from aubench.cli.options import data_option, gather_options
from aubench.cli.output import Result, results, written
from aubench.datasets import DEFAULT_DATASET

OUT_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def data() -> None:
    """Build or look at the synthetic faces; import your own data."""


for _command in (card, export, import_, list_, set_, text):
    data.add_command(_command)


RENDERED = (DEFAULT_DATASET, "synfacs2")
BUILT = (*RENDERED, "synfacs2-wild")
CONDITIONS = ("studio", "wild")
"""Of synfacs2; the first synfacs has the one."""
DRAWING = ("aus", "intensity", "subject", "scene", "framing", "clay", "condition")
SECOND_SUBJECTS = "S02000,S02005,S02010,S02015,S02021"


@dataclass(frozen=True)
class FaceOptions:
    """Options that say which face is rendered, and how large."""

    aus: str
    intensity: float
    subject: str | None
    scene: int
    size: int
    framing: str


@dataclass(frozen=True)
class SheetOptions:
    """Options that say which faces a sheet has, and how large."""

    subjects: str | None
    faces: int | None
    intensity: float
    size: int


SOME = 24
"""Faces of a sheet of those that are there already."""
RESTRICTED = click.option(
    "--restricted-faces",
    is_flag=True,
    help="Also faces of a data set whose images must stay on your machines.",
)


@data.command()
@click.argument("dataset", type=click.Choice(BUILT))
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test", "all"]),
    default="all",
    show_default=True,
)
@click.option("--size", type=click.IntRange(32, 512), default=128, show_default=True)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=None,
    help="Processes that render; one a core if not given.",
)
@results
def build(dataset: str, split: str, size: int, workers: int | None) -> Result:
    """Render the images of a split into the cache; interrupt it freely, it resumes."""
    from typing import cast

    from aubench.datasets.registry import find_dataset
    from aubench.storage.files import home

    source, built = find_dataset(dataset), {}
    images = cast("Any", source.images(workers))
    for name in ("train", "validation", "test") if split == "all" else (split,):
        faces = source.faces(name)
        neutral = sorted(set(faces.references))
        images.packed(list(faces.keys), size, f"{name} faces")
        images.packed(neutral, size, f"{name} references")
        built[name] = {"faces": len(faces), "references": len(neutral)}
    lines = [
        f"{name}: {row['faces']} faces, {row['references']} references"
        for name, row in built.items()
    ]
    data = {"splits": built, "size": size, "folder": home() / dataset}
    return Result(data, lambda: click.echo("\n".join([*lines, f"in {home() / dataset}"])))


def _drawing_options(command: Callable[..., object]) -> Callable[..., object]:
    """Add what only the second renderer can: its conditions, and clay."""
    for option in (
        click.option("--clay", is_flag=True, help="synfacs2: shape alone, without texture."),
        click.option(
            "--condition",
            type=click.Choice(CONDITIONS),
            default="studio",
            show_default=True,
            help="Of synfacs2.",
        ),
    ):
        command = option(command)
    return command


def _refuse_drawing(dataset: str, *own: str) -> None:
    """Refuse options that draw a face where faces are photographs, or are chosen by key.

    Args:
        dataset: The data set.
        own: Parameters that go with such faces.
    """
    from aubench.errors import AubenchError

    context = click.get_current_context()
    for option in context.command.params:
        name = str(option.name)
        given = context.get_parameter_source(name) is not ParameterSource.DEFAULT
        if given and name in DRAWING and name not in own:
            raise AubenchError(
                f"{option.opts[0]} draws a face, and those of {dataset} are there already",
                f"leave it out; {', '.join(RENDERED)} are drawn to order",
            )


def _check_drawing(dataset: str, condition: str, clay: bool) -> None:
    """Refuse what the first renderer cannot do."""
    from aubench.errors import AubenchError

    if dataset == DEFAULT_DATASET and (condition != "studio" or clay):
        flag = "--clay" if clay else f"--condition {condition}"
        raise AubenchError(f"{flag} is of synfacs2", "name synfacs2")


@data.command()
@click.argument("dataset", shell_complete=complete.dataset)
@click.option("--face", "wanted", help="Key, or row from 1, of a face that is there already.")
@click.option("--aus", default="neutral", show_default=True, help="6+12+15, or 6=3+12=4.5.")
@click.option("--intensity", type=click.FloatRange(0, 5), default=4.0, show_default=True)
@click.option("--subject", help="[default: S320; of synfacs2 S02021]")
@click.option("--scene", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--size", type=click.IntRange(32, 1024), default=256, show_default=True)
@click.option("--framing", type=click.Choice(["face", "head"]), default="face", show_default=True)
@click.option("-o", "--out", type=OUT_FILE, required=True)
@_drawing_options
@RESTRICTED
@gather_options(FaceOptions, "face")
@results
def show(
    dataset: str,
    wanted: str | None,
    face: FaceOptions,
    condition: str,
    clay: bool,
    out: Path,
    restricted_faces: bool,
) -> Result:
    """Render one face of synfacs or synfacs2; or write one of any data set over its AUs.

    What is known of a face stands below it: AUs with their intensities, ``?`` where nobody judged
    the intensity, and the AUs that nobody coded.
    """
    from aubench.facs import parse_intensities

    if wanted is not None or dataset not in RENDERED:
        _refuse_drawing(dataset)
        return _show_known(dataset, wanted or "1", face.size, out, restricted_faces)
    _check_drawing(dataset, condition, clay)
    values = parse_intensities(face.aus, face.intensity)
    if dataset == DEFAULT_DATASET:
        from aubench.synfacs import format_key
        from aubench.synfacs.render import render

        subject = face.subject or "S320"
        image = render(subject, values, face.scene, size=face.size, framing=face.framing)
        key = format_key(subject, values, face.scene)
    else:
        from aubench.synfacs2.keys import format_key as key_of
        from aubench.synfacs2.render import render_key
        from aubench.synfacs2.rendering.layers import CLAY, WHOLE

        key = key_of(face.subject or "S02021", values, face.scene, condition)
        layers = CLAY if clay else WHOLE
        image = render_key(key, size=face.size, framing=face.framing, layers=layers)
    _write(out, image)
    return written(out, line=f"{out}: {key}", key=key)


def _show_known(dataset: str, wanted: str, size: int, out: Path, restricted_faces: bool) -> Result:
    from aubench.cli.data.known_faces import labelled_sheet, one_face, open_faces

    source = open_faces(dataset, restricted_faces)
    found = one_face(source, wanted)
    _write(out, labelled_sheet(source, [found], size))
    told = "; ".join([found.key, found.subject, *found.labels])
    return written(out, line=f"{out}: {told}", **found.data())


@data.command()
@data_option("Data set.")
@click.option("--subjects", help="[default: five of the test subjects; all of photographs]")
@click.option(
    "--faces",
    type=click.IntRange(1, 600),
    help="So many faces that are there already, spread evenly. [24 where none are drawn]",
)
@click.option("--intensity", type=click.FloatRange(0, 5), default=4.0, show_default=True)
@click.option("--size", type=click.IntRange(32, 512), default=128, show_default=True)
@click.option("-o", "--out", type=OUT_FILE, required=True)
@_drawing_options
@RESTRICTED
@gather_options(SheetOptions, "how")
@results
def sheet(
    data: str, how: SheetOptions, out: Path, condition: str, clay: bool, restricted_faces: bool
) -> Result:
    """Render subjects against every AU and the six conflicts; or faces of any data set with AUs."""
    if how.faces is not None or data not in RENDERED:
        _refuse_drawing(data)
        return _sheet_known(data, how, out, restricted_faces)
    dataset, subjects, intensity, size = data, how.subjects, how.intensity, how.size
    _check_drawing(dataset, condition, clay)
    if dataset == DEFAULT_DATASET:
        from aubench.synfacs.sheet import every_au
        from aubench.synfacs.sheet import sheet as draw

        names = _names(subjects, "S320,S325,S330,S335,S340")
        image = draw(names, every_au(), intensity=intensity, size=size)
    else:
        from aubench.synfacs2.sheet import Drawing, every_au
        from aubench.synfacs2.sheet import sheet as draw_second

        names = _names(subjects, SECOND_SUBJECTS)
        drawing = Drawing(size, condition, _layers(clay))
        image = draw_second(names, every_au(), intensity=intensity, drawing=drawing)
    _write(out, image)
    shown = [str(word) for word in every_au()]
    return written(out, line=f"{out}: {', '.join(shown)}", subjects=names, columns=shown)


def _sheet_known(dataset: str, how: SheetOptions, out: Path, restricted_faces: bool) -> Result:
    from aubench.cli.data.known_faces import labelled_sheet, open_faces, some_faces

    source = open_faces(dataset, restricted_faces)
    people = None if how.subjects is None else _names(how.subjects, "")
    faces = some_faces(source, how.faces or SOME, people)
    _write(out, labelled_sheet(source, faces, how.size))
    subjects = sorted({face.subject for face in faces})
    shown = [face.data() for face in faces]
    line = f"{out}: {len(faces)} faces of {len(subjects)} subjects"
    return written(out, line=line, subjects=subjects, columns=[], faces=shown)


@data.command()
@click.argument("aus")
@click.option("--subjects", help="[default: five of the test subjects]")
@click.option("--size", type=click.IntRange(32, 512), default=192, show_default=True)
@click.option("-o", "--out", type=OUT_FILE, required=True)
@_drawing_options
@results
def ramp(
    aus: str, subjects: str | None, size: int, out: Path, condition: str, clay: bool
) -> Result:
    """Render an AU set such as 12 or 12+15 of synfacs2 from neutral to E, a subject a row."""
    from aubench.synfacs2.sheet import Drawing
    from aubench.synfacs2.sheet import ramp as draw

    names = _names(subjects, SECOND_SUBJECTS)
    _write(out, draw(names, aus, drawing=Drawing(size, condition, _layers(clay))))
    return written(out, line=f"{out}: {aus} from neutral to E", subjects=names, aus=aus)


def _names(subjects: str | None, usual: str) -> list[str]:
    return [name.strip() for name in (subjects or usual).split(",")]


def _layers(clay: bool) -> Any:
    from aubench.synfacs2.rendering.layers import CLAY, WHOLE

    return (CLAY if clay else WHOLE,)


@data.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option("--size", type=click.IntRange(32, 1024), default=256, show_default=True)
@click.option("--finder", default="mp-face", show_default=True, help="Of faces; or mtcnn.")
@click.option("--device", default="cpu", show_default=True)
@results
def align(folder: Path, out: Path, size: int, finder: str, device: str) -> Result:
    """Find the face of each photograph, level it and crop it to a square.

    OUT/alignment.csv has a row for every photograph, also for those without a face, with what to
    know of it: several faces, a face at the border, a profile.
    """
    from aubench.datasets.face_finders import load_finder
    from aubench.datasets.importing.crops import LEDGER, crop_folder, photographs
    from aubench.run.config import check_device

    check_device(device)
    photographs(folder)  # refused before a network is loaded
    crops = crop_folder(folder, out, load_finder(finder, device), size, finder)
    lost = ("no face", "unreadable", "one colour")
    for status in lost:
        for crop in crops:
            if crop.status == status:
                click.echo(f"{status}: {crop.image} {crop.notes}".rstrip(), err=True)
    noted = [crop for crop in crops if crop.notes and crop.status == "found"]
    notes = Counter(note for crop in noted for note in crop.notes.split("; "))
    for crop in noted:
        click.echo(f"{crop.notes}: {crop.image}", err=True)
    count = {status: sum(c.status == status for c in crops) for status in ("found", *lost)}
    if not count["one colour"]:
        del count["one colour"]
    told = ", ".join(f"{number} {status}" for status, number in count.items())
    if notes:
        told += "; of the found: " + ", ".join(f"{notes[n]} {n}" for n in sorted(notes))
    if not count["found"]:
        from aubench.errors import AubenchError

        raise AubenchError(
            f"no face in {folder}: {told}", f"see {out / LEDGER}; faces want 48 pixels and more"
        )
    return written(out / LEDGER, line=f"{told}\nwrote {out / LEDGER}", counts=count, notes=notes)


def _write(out: Path, image: object) -> None:
    from typing import cast

    from PIL import Image

    from aubench.storage.files import atomic_path

    with atomic_path(out) as temporary:
        Image.fromarray(cast("Any", image)).save(temporary, format="PNG")
