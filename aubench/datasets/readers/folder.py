"""Any photographs with a CSV: ``image,subject,AU1,...``; what is not told is unknown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from aubench.datasets.readers.codings import UNKNOWN
from aubench.datasets.readers.reader import Reader
from aubench.datasets.readers.sequences import Coded, Fault, SourceData
from aubench.datasets.readers.trees import Entry
from aubench.errors import AubenchError, suggest
from aubench.facs import AUS

if TYPE_CHECKING:
    import numpy as np

AU_COLUMN = re.compile(r"^AU_?0*(\d+)$", re.I)
ALMOST_AU = re.compile(r"^AU\W*_?\W*(\d+)\W*(?:_c)?$", re.I)
"""A column that means an AU and is not named as one, such as ``Au 12`` or OpenFace's ``AU12_c``."""
GRADE_COLUMN = re.compile(r"^(?:I_?0*(\d+)|AU_?0*(\d+)_(?:intensity|r))$", re.I)
SPLITS = ("train", "validation", "test")
OF_FACES = ("reference", "text")
"""Columns of ``aubench data export --as csv`` that an import draws or attaches itself."""
NEEDED = "its first line is image,subject,AU1,AU2,... and each further one a face"
NOT_KNOWN = frozenset({"", "9", "-1", "nan", "na", "?"})


@dataclass(frozen=True)
class _Columns:
    """Where things stand in the CSV."""

    labels: dict[int, str]
    grades: dict[int, str]
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
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise AubenchError(
            f"cannot read {path}: {error.strerror}", "name the CSV of the faces"
        ) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise AubenchError(f"{path} line {line} is not UTF-8 text", "save it as UTF-8") from error
    head = text.partition("\n")[0]
    mark = max(",;\t", key=head.count)  # spreadsheets of many languages write semicolons
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=mark)
    names = tuple(name.strip() for name in reader.fieldnames or ())
    reader.fieldnames = list(names)
    columns = _columns(path, names)
    rows: list[_Row] = []
    seen: dict[str, _Row] = {}
    for number, cells in enumerate(reader, 2):
        row = _row(path, number, cells, columns)
        first = seen.setdefault(row.subject, row)
        for i, name in enumerate(columns.of_subjects):
            if row.of_subject[i] != first.of_subject[i]:
                raise AubenchError(
                    f"{path} row {number}: subject '{row.subject}' has {name} "
                    f"'{row.of_subject[i]}', before '{first.of_subject[i]}'",
                    f"give a person one '{name}', or leave the column out",
                )
        rows.append(row)
    if not rows:
        raise AubenchError(f"{path} has no rows", NEEDED)
    return rows, columns


def _columns(path: Path, names: tuple[str, ...]) -> _Columns:
    for name in ("image", "subject"):
        if name not in names:
            raise AubenchError(f"{path} has no column '{name}'{suggest(name, names)}", NEEDED)
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise AubenchError(f"{path} has two columns '{twice[0]}'", "leave one of them out")
    labels = {int(m.group(1)): name for name in names if (m := AU_COLUMN.match(name))}
    grades = {
        int(m.group(1) or m.group(2)): name for name in names if (m := GRADE_COLUMN.match(name))
    }
    if not set(labels) & set(AUS):
        raise AubenchError(f"{path} has no column of an AU", "name them AU1, AU2, ...")
    for name in names:
        found = ALMOST_AU.match(name)
        if found and not AU_COLUMN.match(name):
            raise AubenchError(
                f"{path}: column '{name}' would be no AU", f"name it AU{int(found[1])}"
            )
    taken = {"image", "subject", "split", *OF_FACES, *labels.values(), *grades.values()}
    rest = tuple(name for name in names if name and name not in taken)
    return _Columns(labels, grades, "split" if "split" in names else None, rest)


def _row(path: Path, number: int, cells: dict[str, str], columns: _Columns) -> _Row:
    def cell(name: str) -> str:
        return (cells.get(name) or "").strip()

    def value(name: str, low: float, high: float) -> float:
        word = cell(name)
        if word.lower() in NOT_KNOWN:
            return float("nan")
        try:
            found = float(word)
        except ValueError:
            found = -2.0
        if not low <= found <= high or (high == 1 and found not in (0, 1)):
            allowed = "0, 1, or 9 for unknown" if high == 1 else f"{low:g} to {high:g}, or nothing"
            raise AubenchError(f"{path} row {number}: {name} is '{word}'", f"write {allowed}")
        return found

    image, subject = cell("image").replace("\\", "/"), cell("subject")
    place = PurePosixPath(image)
    if not image or not subject:
        raise AubenchError(f"{path} row {number} lacks image or subject", "fill in both")
    if place.is_absolute() or ".." in place.parts or "/" in subject:
        raise AubenchError(
            f"{path} row {number}: '{image}' of '{subject}' is no path below its folder",
            "write paths from the folder of the CSV on",
        )
    split = cell("split") if columns.split else ""
    if columns.split and split not in SPLITS:
        raise AubenchError(f"{path} row {number}: split is '{split}'", f"use {', '.join(SPLITS)}")
    found = {au: value(name, 0, 1) for au, name in columns.labels.items()}
    levels = {au: value(name, 0, 5) for au, name in columns.grades.items()}
    return _Row(
        str(place),
        subject,
        tuple(
            UNKNOWN if found.get(au) is None or found[au] != found[au] else int(found[au])
            for au in AUS
        ),
        tuple(levels.get(au, float("nan")) for au in AUS),
        any(found[au] == 1 for au in found if au not in AUS),
        tuple(cell(name) or "unknown" for name in columns.attributes),
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
