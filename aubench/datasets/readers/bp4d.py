"""BP4D and BP4D+ as distributed: frames in folders or archives, AU codes in ``AUCoding``.

``F001/T1/2440.jpg`` at any depth, padded or not, unpacked or inside ``F001.zip``;
``AU_OCC/F001_T1.csv``; ``AU_INT/AU06/F001_T1_AU06.csv`` or ``AU_INT/F001_T1.csv``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aubench.datasets.readers.codings import (
    Coding,
    CodingError,
    read_intensities,
    read_intensity,
    read_occurrence,
)
from aubench.datasets.readers.reader import Reader
from aubench.datasets.readers.sequences import (
    Coded,
    Fault,
    SourceData,
    by_sequence,
    match_images,
    twelve,
)
from aubench.datasets.readers.trees import Entry, Tree, read_entry, read_tree
from aubench.errors import AubenchError

IMAGE = re.compile(
    r"(?:^|/)([FM]\d{3})/(T\d{1,2})/[^/]*?(\d+)\.(?:jpe?g|png|bmp|tiff?|webp)$", re.I
)
OCCURRENCE = re.compile(r"(?:^|/)AU_OCC/(?:[^/]+/)*([FM]\d{3})_(T\d{1,2})\.(?:csv|txt)$", re.I)
INTENSITY = re.compile(
    r"(?:^|/)AU_INT/(?:[^/]+/)*([FM]\d{3})_(T\d{1,2})(?:_AU(\d+))?\.(?:csv|txt)$", re.I
)
ELSEWHERE = re.compile(r"(?:^|/)(?:thermal|irfeatures|physiology)(?:/|$)", re.I)

MISMATCHED = {
    ("bp4dplus", "F041", "T7"): "its frames are known not to match its codes",
}
"""Sequences left out unless asked for."""

PUBLISHED: dict[str, dict[str, int]] = {
    "bp4d": {"subjects": 41, "sequences": 328, "coded frames": 146_847},
    "bp4dplus": {"subjects": 140, "sequences": 560, "coded frames": 197_875},
}
"""Counts told in public; those of BP4D+ are commonly cited and were not checked by us."""


def _wanted(path: str) -> bool:
    if ELSEWHERE.search(path):
        return False
    return any(pattern.search(path) for pattern in (IMAGE, OCCURRENCE, INTENSITY))


@dataclass(frozen=True)
class BP4DReader(Reader):
    """Reads BP4D or BP4D+: a folder that was unpacked, or the archives as they came.

    Attributes:
        dataset: ``bp4d`` or ``bp4dplus``.
        columns: AUs of occurrence files without header.
        mismatched: Whether sequences are taken that are known not to match their codes.
    """

    dataset: str = "bp4d"
    columns: tuple[int, ...] | None = None
    mismatched: bool = False

    @property
    def kind(self) -> str:
        """The data set's name."""
        return self.dataset

    @property
    def published(self) -> dict[str, int]:
        """Counts of the data set as stated in public."""
        return PUBLISHED[self.dataset]

    def options(self) -> dict[str, Any]:
        """Return the choice of sequences; columns are checked by what they give."""
        return {"mismatched": self.mismatched}

    def read(self, source: Path) -> SourceData:
        """Return the coded sequences below a folder.

        Raises:
            AubenchError: There is no folder, or no codes or no images in it.
        """
        tree = read_tree(source, _wanted)
        faults = [Fault("unreadable archive", name, why) for name, why in tree.broken.items()]
        images, codes, grades = _sorted(tree)
        if not codes:
            raise AubenchError(
                f"no AU_OCC/F001_T1.csv or the like in {source}", "unpack AUCoding there"
            )
        if not images:
            raise AubenchError(f"no F001/T1/*.jpg or the like in {source}", "see docs/data.md")
        sequences, count = [], 0
        for key in sorted({*images, *codes}):
            id_ = "/".join(key)
            if key not in codes:
                faults.append(
                    Fault("missing label file", id_, f"{len(images[key])} frames left out")
                )
                continue
            if (self.dataset, *key) in MISMATCHED and not self.mismatched:
                faults.append(
                    Fault("known mismatch", id_, MISMATCHED[(self.dataset, *key)] + "; left out")
                )
                continue
            count += len(images.get(key, {}))
            coded = _sequence(
                source, key, codes[key], grades.get(key, ()), images, self.columns, faults
            )
            if coded is not None:
                sequences.append(coded)
        subjects = {sequence.subject for sequence in sequences}
        sexes = {"sex": {name: "female" if name[0] == "F" else "male" for name in subjects}}
        return SourceData(source, tuple(sequences), tuple(faults), count, sexes)


def _sorted(
    tree: Tree,
) -> tuple[
    dict[tuple[str, str], dict[int, list[Entry]]],
    dict[tuple[str, str], list[Entry]],
    dict[tuple[str, str], list[tuple[int | None, Entry]]],
]:
    """Return images, occurrence files and intensity files by sequence."""
    images: list[tuple[tuple[str, str], int, Entry]] = []
    codes: dict[tuple[str, str], list[Entry]] = {}
    grades: dict[tuple[str, str], list[tuple[int | None, Entry]]] = {}
    for entry in tree.entries:
        if found := OCCURRENCE.search(entry.path):
            codes.setdefault(_key(found), []).append(entry)
        elif found := INTENSITY.search(entry.path):
            au = int(found.group(3)) if found.group(3) else None
            grades.setdefault(_key(found), []).append((au, entry))
        elif found := IMAGE.search(entry.path):
            images.append((_key(found), int(found.group(3)), entry))
    return by_sequence(images), codes, grades


def _key(found: re.Match[str]) -> tuple[str, str]:
    return found.group(1).upper(), f"T{int(found.group(2)[1:])}"


def _sequence(
    root: Path,
    key: tuple[str, str],
    codes: Sequence[Entry],
    grades: Sequence[tuple[int | None, Entry]],
    images: dict[tuple[str, str], dict[int, list[Entry]]],
    columns: tuple[int, ...] | None,
    faults: list[Fault],
) -> Coded | None:
    """Return a sequence, None where its codes cannot be read; notes what is wrong."""
    id_, entry = "/".join(key), codes[0]
    try:
        occurrence = read_occurrence(_bytes(root, entry), columns)
    except CodingError as error:
        faults.append(Fault("unreadable label file", entry.place, f"{error}; left out"))
        return None
    if occurrence.repeated:
        detail = "codes that differ are unknown"
        faults += [Fault("label twice", f"{id_}/{frame}", detail) for frame in occurrence.repeated]
    graded: list[Coding] = []
    for au, file in grades:
        try:
            data = _bytes(root, file)
            graded.append(read_intensities(data) if au is None else read_intensity(data, au))
        except CodingError as error:
            faults.append(Fault("unreadable intensities", file.place, f"{error}; unknown"))
    frames, labels, values, others, against = twelve(occurrence, graded)
    if against:
        detail = f"{against} contradict their label; unknown"
        faults.append(Fault("intensity against label", id_, detail))
    chosen, more = match_images(root, id_, frames, images.get(key, {}))
    faults += more
    return Coded(*key, frames, labels, values, others, chosen)


def _bytes(root: Path, entry: Entry) -> bytes:
    data = read_entry(root, entry)
    if data is None:
        raise CodingError("cannot be read")
    return data
