"""A submission: record, ledger and images of a run, with checksums.

Nothing in it is believed. Whoever reads one follows no link, opens no file that a bundle has no
use for, and none that is larger than it can be.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aubench.comparison.runs import Run
from aubench.errors import AubenchError
from aubench.records.record import MOST_BYTES, Record, read_record
from aubench.storage.files import atomic_path, read_checked_png, sha256_file, write_text
from aubench.storage.text_files import read_json

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SCHEMA = 2
SUMS, ABOUT, LEDGER, RECORD, IMAGES = (
    "SHA256SUMS",
    "bundle.json",
    "samples.csv",
    "record.json",
    "images",
)
MIB = 1 << 20
LARGEST = {SUMS: 16 * MIB, ABOUT: MIB // 16, LEDGER: 16 * MIB, RECORD: 16 * MIB}
"""Bytes that a file may have; an image as many as its pixels."""
LARGEST_SIDE = 1024
MOST_IMAGES = 100_000
IMAGE = re.compile(r"images/\d{5}\.png")
COLUMNS = ("sample_id", "pixels_sha256", "failed", "unsupported")
REMEDY = "`aubench submit` writes bundles"


def write_bundle(run: Run, out: Path, *, limited: bool = False, images: bool = True) -> Path:
    """Write the bundle of a finished run; return its folder.

    Args:
        run: The run.
        out: A folder that is absent or empty.
        limited: Whether a run with ``--limit`` will do.
        images: Whether it carries the images; without, all must be made again to be verified.

    Raises:
        AubenchError: The run was limited, an image is damaged, or the folder holds files.
    """
    from PIL import Image

    if run.record.counts.limited and not limited:
        raise AubenchError(
            f"{run.folder.path} is a run with --limit",
            "leaderboards take whole protocols; --limited makes a bundle to try out",
        )
    if out.exists() and any(out.iterdir()):
        raise AubenchError(f"{out} is not empty", "choose another --out")
    rows = list(_ledger(run))
    for place, row in enumerate(rows):
        if images and row["pixels_sha256"]:
            with atomic_path(out / image_name(place)) as temporary:
                picture = Image.fromarray(run.folder.read(row["sample_id"]))
                picture.save(temporary, format="PNG", compress_level=6)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out / LEDGER, text.getvalue())
    write_text(out / RECORD, run.record.model_dump_json(indent=1) + "\n")
    about = {
        "schema": SCHEMA,
        "model": run.name,
        "protocol": run.protocol.name,
        "dataset": run.protocol.dataset,
        "images": images,
    }
    write_text(out / ABOUT, json.dumps(about, indent=1) + "\n")
    write_sums(out)
    return out


def image_name(place: int) -> str:
    """Return the name of the image of a line of the ledger; ids are no names of files."""
    return f"{IMAGES}/{place:05d}.png"


def write_sums(folder: Path) -> None:
    """Write the checksums of every file of a bundle."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != SUMS)
    lines = [f"{sha256_file(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    write_text(folder / SUMS, "".join(lines))


def _ledger(run: Run) -> Iterator[dict[str, str]]:
    """Yield what became of each sample, in the order of the protocol."""
    left_out = run.folder.unsupported
    asked = {*run.ids, *left_out}
    for name in run.protocol.samples().ids:
        if name in asked:
            states = (run.folder.digests, run.folder.failures, left_out)
            told = dict(zip(COLUMNS[1:], (state.get(name, "") for state in states), strict=True))
            yield {COLUMNS[0]: name, **told}


@dataclass(frozen=True)
class Bundle:
    """A bundle as read.

    Attributes:
        path: Its folder.
        record: The record that was sent.
        digests: Digests of the pixels of each generated sample.
        failures: Reason of each failed one.
        unsupported: Why the model is not made for a sample.
        ids: All sample ids, in order.
        carries_images: Whether the images are there.
    """

    path: Path
    record: Record
    ids: list[str]
    digests: dict[str, str]
    failures: dict[str, str]
    unsupported: dict[str, str]
    carries_images: bool

    @property
    def measured(self) -> list[str]:
        """Ids of the samples that the model is made for, in order."""
        return [name for name in self.ids if name not in self.unsupported]

    def image(self, sample_id: str) -> npt.NDArray[np.uint8]:
        """Return the image of a generated sample, uint8 [size, size, 3].

        Raises:
            AubenchError: It is missing, damaged, or of another size than the record says.
        """
        path = self.path / image_name(self.ids.index(sample_id))
        try:
            return _read_image(path, self.record.protocol.size)
        except (OSError, ValueError, SyntaxError) as error:
            name = path.relative_to(self.path)
            raise AubenchError(f"{name} of the bundle cannot be read: {error}") from error


def _read_image(path: Path, size: int) -> npt.NDArray[np.uint8]:
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(read_checked_png(path)), formats=["PNG"]) as opened:
        if opened.mode != "RGB" or opened.size != (size, size):  # before a pixel is decoded
            raise ValueError(f"{opened.mode} of {opened.size}, not RGB of {size} px")
        return np.asarray(opened, np.uint8)


def read_bundle(path: Path) -> Bundle:
    """Read a bundle without checking what it claims.

    Raises:
        AubenchError: It is no bundle, holds a link, or a file that is too large or none of its
            own; its ledger or record cannot be read.
    """
    if not (path / ABOUT).is_file():
        raise AubenchError(f"{path} is no bundle: it has no {ABOUT}", REMEDY)
    _check_files(path)
    try:
        about = read_json(path / ABOUT, MOST_BYTES, strict=True)
        schema, images = about["schema"], about["images"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AubenchError(f"{path / ABOUT} cannot be read: {error}", REMEDY) from error
    if schema != SCHEMA or not isinstance(images, bool):
        raise AubenchError(f"{path} is a bundle of schema {schema}, read here is {SCHEMA}", REMEDY)
    rows = _read_ledger(path / LEDGER)
    found = {
        column: {row["sample_id"]: row[column] for row in rows if row[column]}
        for column in COLUMNS[1:]
    }
    record = read_record(path / RECORD)
    if not 16 <= record.protocol.size <= LARGEST_SIDE:
        raise AubenchError(f"{path / RECORD}: images of {record.protocol.size} px", REMEDY)
    return Bundle(
        path,
        record,
        [row["sample_id"] for row in rows],
        found["pixels_sha256"],
        found["failed"],
        found["unsupported"],
        images,
    )


def _read_ledger(path: Path) -> list[dict[str, str]]:
    """Return the lines of the ledger; each tells one thing of its sample.

    Raises:
        AubenchError: It cannot be read, or a line tells nothing or several things.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise ValueError(f"columns are not {', '.join(COLUMNS)}")
            rows = list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise AubenchError(f"{path} cannot be read: {error}", REMEDY) from error
    for line, row in enumerate(rows, 2):
        whole = None not in row and None not in row.values() and bool(row["sample_id"])
        if not whole or sum(bool(row[column]) for column in COLUMNS[1:]) != 1:
            raise AubenchError(f"{path} line {line} tells not one thing of one sample", REMEDY)
    if len(rows) > MOST_IMAGES:
        raise AubenchError(f"{path} has {len(rows):,} lines", f"at most {MOST_IMAGES:,}")
    return rows


def _check_files(path: Path) -> None:
    """Refuse a bundle whose files are not those of a bundle.

    Raises:
        AubenchError: Names the first.
    """
    count = 0
    for name, entry in _entries(path):
        count += 1
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode) and name == IMAGES:
            continue
        if not stat.S_ISREG(mode):
            kind = "a link" if stat.S_ISLNK(mode) else "no file"
            raise AubenchError(f"{path}: '{name}' is {kind}, which no bundle holds", REMEDY)
        most = LARGEST.get(name)
        if most is None and IMAGE.fullmatch(name):
            most = 4 * LARGEST_SIDE * LARGEST_SIDE
        if most is None:
            raise AubenchError(f"{path}: '{name}' is no file of a bundle", REMEDY)
        size = entry.stat(follow_symlinks=False).st_size
        if size > most:
            raise AubenchError(f"{path}: '{name}' has {size:,} bytes, at most {most:,}", REMEDY)
        if count > MOST_IMAGES + len(LARGEST):
            raise AubenchError(f"{path} holds more than {MOST_IMAGES:,} images", REMEDY)


def _entries(path: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield what lies in a bundle, and in its folder of images; no deeper, and behind no link."""
    with os.scandir(path) as top:
        for entry in top:
            yield entry.name, entry
            if entry.name == IMAGES and entry.is_dir(follow_symlinks=False):
                with os.scandir(entry) as inner:
                    for image in inner:
                        yield f"{IMAGES}/{image.name}", image


def changed_files(path: Path) -> list[str]:
    """Return what is wrong with the checksums: files changed, missing, or not covered."""
    try:
        lines = (path / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return [f"{SUMS} is missing"]
    stated = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = {name for name, entry in _entries(path) if entry.is_file(follow_symlinks=False)}
    found -= {SUMS}
    wrong = [f"{name} is missing" for name in sorted(set(stated) - found)]
    wrong += [f"{name} is not covered by {SUMS}" for name in sorted(found - set(stated))]
    wrong += [
        f"{name} was changed after it was written"
        for name in sorted(found & set(stated))
        if sha256_file(path / name) != stated[name]
    ]
    return wrong
