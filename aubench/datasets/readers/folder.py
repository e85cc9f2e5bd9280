"""Any photographs with a CSV: ``image,subject,AU1,...``; what is not told is unknown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from aubench.datasets.readers.reader import Reader
from aubench.datasets.readers.sequences import Coded, Fault, SourceData
from aubench.datasets.readers.trees import Entry
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.facs.coding import UNKNOWN, AuColumns, au_columns, in_order
from aubench.storage.tables import Row, Table, read_table

if TYPE_CHECKING:
    import numpy as np

SPLITS = ("train", "validation", "test")
LONGEST = 120
"""Bytes of a subject's name, which names files."""

OF_FACES = ("reference", "text")
"""Columns of ``aubench data export --as csv`` that an import draws or attaches itself."""


@dataclass(frozen=True)
class _Columns:
    """Where things stand in the CSV."""

    coded: AuColumns
    split: str | None
    attributes: tuple[str, ...]

    @property
    def of_subjects(self) -> tuple[str, ...]:
        """Columns that say the same in all rows of a person."""
        return (*self.attributes, *((self.split,) if self.split else ()))


@dataclass(frozen=True)
class _Row:
    image: str
    subject: str
    labels: tuple[int, ...]
    grades: tuple[float, ...]
    others: bool
    attributes: tuple[str, ...]
    split: str

    @property
    def of_subject(self) -> tuple[str, ...]:
        """What the row says of the person, in the order of ``_Columns.of_subjects``."""
        return (*self.attributes, self.split)


@dataclass(frozen=True)
class FolderReader(Reader):
    """Reads a CSV file of images.

    ``image`` is relative to the CSV's folder. ``AU1`` and so on hold 0, 1, or 9 or nothing for
    unknown; ``I1`` and so on 0 to 5. ``split`` is train, validation or test, the same for all
    images of a subject. Every other column, such as ``sex``, groups the subjects.

    Attributes:
        free: Whether the user declares that the images may be shown to anyone.
    """

    free: bool = False

    @property
    def kind(self) -> str:
        """What such data are called."""
        return "folder"

    @property
    def restricted(self) -> bool:
        """Whether the images must not leave the user's machines."""
        return not self.free

    def options(self) -> dict[str, Any]:
        """Return nothing: the file says it all."""
        return {}

    def read(self, source: Path) -> SourceData:
        """Return a sequence a subject of a CSV file.

        Raises:
            AubenchError: A row is at fault; it is named.
        """
        rows, columns = _read(source)
        by_subject: dict[str, list[_Row]] = {}
        for row in rows:
            by_subject.setdefault(row.subject, []).append(row)
        faults: list[Fault] = []
        sequences = tuple(
            _sequence(source.parent, name, by_subject[name], faults) for name in sorted(by_subject)
        )
        attributes: dict[str, dict[str, str]] = {
            column: {name: found[0].attributes[i] for name, found in by_subject.items()}
            for i, column in enumerate(columns.attributes)
        }
        splits = (
            {name: found[0].split for name, found in by_subject.items()} if columns.split else {}
        )
        count = sum(image is not None for coded in sequences for image in coded.images)
        return SourceData(source.parent, sequences, tuple(faults), count, attributes, splits)


def _read(path: Path) -> tuple[list[_Row], _Columns]:
    table = read_table(path)
    columns = _columns(table)
    rows: list[_Row] = []
    seen: dict[str, _Row] = {}
    for line in table.rows:
        row = _row(line, columns)
        first = seen.setdefault(row.subject, row)
        for i, name in enumerate(columns.of_subjects):
            if row.of_subject[i] != first.of_subject[i]:
                raise line.error(
                    f"subject '{row.subject}' has {name} '{row.of_subject[i]}', before "
                    f"'{first.of_subject[i]}'",
                    f"give a person one '{name}', or leave the column out",
                )
        rows.append(row)
    return rows, columns


def _columns(table: Table) -> _Columns:
    coded = au_columns(table)
    table.require("image", "subject")
    if not set(coded.occurrence) & set(AUS):
        raise AubenchError(f"{table.path} has no column of an AU", "name them AU1, AU2, ...")
    taken = {
        *("image", "subject", "split", *OF_FACES),
        *(*coded.occurrence.values(), *coded.intensity.values()),
    }
    rest = tuple(name for name in table.columns if name not in taken)
    return _Columns(coded, "split" if "split" in table.columns else None, rest)


def _row(line: Row, columns: _Columns) -> _Row:
    image, subject = line["image"].replace("\\", "/"), line["subject"]
    place = PurePosixPath(image)
    if not image or not subject:
        raise line.error("it lacks image or subject", "fill in both")
    if place.is_absolute() or ".." in place.parts or "/" in subject:
        raise line.error(
            f"'{image}' of '{subject}' is no path below its folder",
            "write paths from the folder of the CSV on",
        )
    if len(subject.encode()) > LONGEST:
        raise line.error(f"subject '{subject[:20]}…' is too long for a file", "shorten its name")
    split = line["split"]
    if columns.split and split not in SPLITS:
        raise line.error(f"split is '{split}'", f"use {', '.join(SPLITS)}")
    found, levels = columns.coded.labels(line), columns.coded.grades(line)
    return _Row(
        str(place),
        subject,
        tuple(in_order(found)),
        tuple(levels.get(au, float("nan")) for au in AUS),
        any(found[au] == 1 for au in found if au not in AUS),
        tuple(line[name] or "unknown" for name in columns.attributes),
        split,
    )


def _sequence(root: Path, subject: str, rows: list[_Row], faults: list[Fault]) -> Coded:
    import numpy as np

    kept = list(_distinct(sorted(rows, key=lambda row: natural(row.image)), faults))
    labels = np.array([row.labels for row in kept], np.int8).reshape(-1, len(AUS))
    values = np.array([row.grades for row in kept], np.float32).reshape(-1, len(AUS))
    against = _against(labels, values)
    if against.any():
        detail = f"{int(against.sum())} contradict their label; unknown"
        faults.append(Fault("intensity against label", subject, detail))
    values[~np.isnan(values) & ((values > 0) != (labels == 1))] = np.nan
    images = tuple(_entry(root, row.image, faults) for row in kept)
    return Coded(
        subject,
        "",
        np.arange(1, len(kept) + 1, dtype=np.int32),
        labels,
        values,
        np.array([row.others for row in kept], np.bool_),
        images,
        tuple(row.image for row in kept),
    )


def _against(
    labels: np.ndarray[tuple[int, int], np.dtype[np.int8]],
    values: np.ndarray[tuple[int, int], np.dtype[np.float32]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    import numpy as np

    out = ~np.isnan(values) & ((values > 0) != (labels == 1)) & (labels != UNKNOWN)
    return np.asarray(out, np.bool_)


def _distinct(rows: list[_Row], faults: list[Fault]) -> Iterator[_Row]:
    seen: dict[str, list[_Row]] = {}
    for row in rows:
        seen.setdefault(row.image, []).append(row)
    for image, found in seen.items():
        if any(row.labels != found[0].labels for row in found):
            faults.append(Fault("duplicated frame", image, "rows differ; left out"))
            continue
        if len(found) > 1:
            faults.append(Fault("label twice", image, "the rows agree"))
        yield found[0]


def _entry(root: Path, image: str, faults: list[Fault]) -> Entry | None:
    try:
        status = (root / image).stat()
    except OSError:
        faults.append(Fault("label without frame", image))
        return None
    return Entry(image, None, "", status.st_size, status.st_mtime_ns)


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts ``f2`` before ``f10``."""
    return [
        (0, int(part), "") if part.isdigit() else (1, 0, part)
        for part in re.split(r"(\d+)", name)
        if part
    ]
