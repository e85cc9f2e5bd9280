"""A folder of photographs to a folder of aligned faces, with a row for every photograph."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from aubench.errors import AubenchError
from aubench.progress import bar
from aubench.storage.files import atomic_path, sha256_bytes
from aubench.storage.pictures import PictureError, is_plain, read_picture
from aubench.storage.text_files import check_utf8

if TYPE_CHECKING:
    from aubench.datasets.alignment import FaceFinder


SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})
LEDGER = "alignment.csv"
SAVE_EVERY = 200
"""Photographs between two writings of the ledger, the most that a kill can cost."""


@dataclass(frozen=True)
class Crop:
    """What became of a photograph; one row of ``alignment.csv``.

    Attributes:
        image: Path relative to the folder.
        sha256: First 16 digits of the file's digest.
        status: ``found``, ``no face``, ``one colour`` of a crop that shows nothing, or
            ``unreadable``.
        faces: How many were found; the largest is cropped.
        score: Score of the finder, 0..1.
        points: The five points in pixels, ten numbers.
        size: Side of the crop.
        finder: Finder of faces.
        notes: Notes of the finder, such as ``several faces``, joined by semicolons; or why it is
            unreadable.
    """

    image: str
    sha256: str
    status: str
    faces: int
    score: float
    points: str
    size: int
    finder: str = ""
    notes: str = ""


def photographs(folder: Path) -> list[str]:
    """Return the relative paths of a folder's images, sorted.

    Raises:
        AubenchError: No such folder, no image in it, a name that is not UTF-8, or two images whose
            crops would have one name.
    """
    if not folder.is_dir():
        raise AubenchError(f"no folder {folder}")
    found = sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    if not found:
        raise AubenchError(f"no image in {folder}", f"it takes {', '.join(sorted(SUFFIXES))}")
    check_utf8(*found)
    _check_names(folder, found)
    return found


def crop_folder(
    source: Path, out: Path, finder: FaceFinder, size: int = 256, name: str = ""
) -> list[Crop]:
    """Align every image of a folder; finished ones of the same content are not done again.

    Crops are PNG files under the same relative names; ``alignment.csv`` has a row for each image,
    also for those without a face.

    Args:
        source: Folder of photographs, searched at any depth.
        out: Folder of the crops.
        finder: Of faces.
        size: Side of the crops.
        name: Of the finder; another one does all images anew.

    Raises:
        AubenchError: Nothing to do, ``out`` lies inside ``source``, two crops would have one name,
            or one cannot be written.
    """
    if out.resolve().is_relative_to(source.resolve()):
        raise AubenchError(f"--out {out} lies inside {source}", "choose a folder outside")
    cutting = _Cutting(source, out, finder, size, name)
    names = photographs(source)
    done = {crop.image: crop for crop in read_ledger(out / LEDGER)}
    kept: list[Crop] = []
    with bar(len(names), "align", "img") as progress:
        for i, image in enumerate(names):
            kept.append(_crop(cutting, image, done.get(image)))
            progress.update(1)
            if i % SAVE_EVERY == SAVE_EVERY - 1:
                _write_ledger(out / LEDGER, kept)
    _write_ledger(out / LEDGER, kept)
    return kept


def _crop_name(image: str) -> str:
    return str(PurePath(image).with_suffix(".png"))


def _check_names(source: Path, names: list[str]) -> None:
    """Refuse photographs whose crops would have one name.

    Raises:
        AubenchError: Names the first two.
    """
    taken: dict[str, str] = {}
    for name in names:
        other = taken.setdefault(_crop_name(name), name)
        if other != name:
            raise AubenchError(
                f"{source}: the crops of {other} and {name} would both be {_crop_name(name)}",
                "rename one of them",
            )


def _bytes(path: Path) -> bytes:
    """Return the bytes of a file, none where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


@dataclass(frozen=True)
class _Cutting:
    source: Path
    out: Path
    finder: FaceFinder
    size: int
    name: str


def _crop(cutting: _Cutting, name: str, before: Crop | None) -> Crop:
    from PIL import Image

    from aubench.datasets.alignment import align

    source, size, by = cutting.source, cutting.size, cutting.name
    target = cutting.out / _crop_name(name)
    data = _bytes(source / name)
    digest = sha256_bytes(data)[:16]
    way = (digest, size, by)
    same = before is not None and (before.sha256, before.size, before.finder) == way
    if before is not None and same and (before.status != "found" or target.is_file()):
        return before
    try:
        image = read_picture(data).pixels
    except PictureError as error:
        return Crop(name, digest, "unreadable", 0, 0.0, "", size, by, str(error))
    face = cutting.finder(image)
    if face is None:
        return Crop(name, digest, "no face", 0, 0.0, "", size, by)
    crop = align(image, face.points, size)
    if is_plain(crop):
        return Crop(name, digest, "one colour", 0, 0.0, "", size, by)
    with atomic_path(target) as temporary:
        Image.fromarray(crop).save(temporary, format="PNG")
    points = " ".join(f"{value:.2f}" for value in face.points.ravel())
    notes, score = "; ".join(face.notes), round(face.score, 4)
    return Crop(name, digest, "found", face.count, score, points, size, by, notes)


def read_ledger(path: Path) -> Iterator[Crop]:
    """Yield the rows of ``alignment.csv``; none if there is no such file.

    Raises:
        AubenchError: The file is not one of ours.
    """
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8") as stream:
        for number, row in enumerate(csv.DictReader(stream), 2):
            try:
                yield Crop(
                    row["image"],
                    row["sha256"],
                    row["status"],
                    int(row["faces"]),
                    float(row["score"]),
                    row["points"],
                    int(row["size"]),
                    row["finder"],
                    row["notes"],
                )
            except (KeyError, TypeError, ValueError) as error:
                raise AubenchError(
                    f"{path} line {number} is no row of alignment", "remove the file"
                ) from error


def _write_ledger(path: Path, crops: list[Crop]) -> None:
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.DictWriter(stream, [field.name for field in fields(Crop)])
        writer.writeheader()
        writer.writerows(asdict(crop) for crop in crops)
