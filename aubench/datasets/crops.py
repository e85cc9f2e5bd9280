"""A folder of photographs to a folder of aligned faces, with a row for every photograph."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from aubench.errors import AubenchError
from aubench.files import atomic_path
from aubench.progress import bar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from aubench.alignment import Face

    Finder = Callable[[npt.NDArray[np.uint8]], Face | None]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})
LEDGER = "alignment.csv"
SAVE_EVERY = 200
"""Photographs between two writings of the ledger, the most that a kill can cost."""


@dataclass(frozen=True)
class Crop:
    """What became of a photograph; one row of ``alignment.csv``.

    Attributes:
        image: path relative to the folder.
        sha256: first 16 digits of the file's digest.
        status: ``found``, ``no face``, or ``unreadable``.
        faces: how many were found; the largest is cropped.
        score: of the finder, 0..1.
        points: the five points in pixels, ten numbers.
        size: side of the crop.
    """

    image: str
    sha256: str
    status: str
    faces: int
    score: float
    points: str
    size: int


def photographs(folder: Path) -> list[str]:
    """Return the relative paths of a folder's images, sorted.

    Raises:
        AubenchError: no such folder, or no image in it.
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
    return found


def crop_folder(source: Path, out: Path, finder: Finder, size: int = 256) -> list[Crop]:
    """Align every image of a folder; finished ones of the same content are not done again.

    Crops are PNG files under the same relative names; ``alignment.csv`` has a row for each image,
    also for those without a face.

    Raises:
        AubenchError: nothing to do, ``out`` lies inside ``source``, or it cannot be written.
    """
    if out.resolve().is_relative_to(source.resolve()):
        raise AubenchError(f"--out {out} lies inside {source}", "choose a folder outside")
    names = photographs(source)
    done = {crop.image: crop for crop in read_ledger(out / LEDGER)}
    kept: list[Crop] = []
    with bar(len(names), "align", "img") as progress:
        for i, name in enumerate(names):
            kept.append(_crop(source, out, name, finder, size, done.get(name)))
            progress.update(1)
            if i % SAVE_EVERY == SAVE_EVERY - 1:
                _write_ledger(out / LEDGER, kept)
    _write_ledger(out / LEDGER, kept)
    return kept


def _crop(
    source: Path, out: Path, name: str, finder: Finder, size: int, before: Crop | None
) -> Crop:
    from PIL import Image

    from aubench.alignment import align

    target = (out / name).with_suffix(".png")
    digest = hashlib.sha256((source / name).read_bytes()).hexdigest()[:16]
    same = before is not None and before.sha256 == digest and before.size == size
    if before is not None and same and (before.status != "found" or target.is_file()):
        return before
    image = read_photograph(source / name)
    if image is None:
        return Crop(name, digest, "unreadable", 0, 0.0, "", size)
    face = finder(image)
    if face is None:
        return Crop(name, digest, "no face", 0, 0.0, "", size)
    with atomic_path(target) as temporary:
        Image.fromarray(align(image, face.points, size)).save(temporary, format="PNG")
    points = " ".join(f"{value:.2f}" for value in face.points.ravel())
    return Crop(name, digest, "found", face.count, round(face.score, 4), points, size)


def read_photograph(path: Path | BinaryIO) -> npt.NDArray[np.uint8] | None:
    """Return uint8 RGB [H, W, 3], upright by its EXIF note; None if the file is no image.

    Grey, palette, CMYK and 16-bit images are converted; transparency is put on black.
    """
    import numpy as np
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened)
            if upright.mode.startswith("I"):  # 16 bits a pixel, which PIL would clip
                grey = np.asarray(upright, np.float64) / 257
                upright = Image.fromarray(np.clip(grey.round(), 0, 255).astype(np.uint8))
            return np.asarray(upright.convert("RGB"), np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def read_ledger(path: Path) -> Iterator[Crop]:
    """Yield the rows of ``alignment.csv``; none if there is no such file.

    Raises:
        AubenchError: the file is not one of ours.
    """
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8") as stream:
        for number, row in enumerate(csv.DictReader(stream), 2):
            try:
                yield Crop(
                    row["image"], row["sha256"], row["status"], int(row["faces"]),
                    float(row["score"]), row["points"], int(row["size"]),
                )  # fmt: skip
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
