"""A data set in the layouts that other people's code reads."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aubench.datasets.dataset import SPLITS, Dataset
from aubench.datasets.frozen_splits import sample_id
from aubench.datasets.labelled_faces import LabelledFaces
from aubench.errors import AubenchError, suggest
from aubench.facs import AUS, parse_aus
from aubench.facs.describe import describe
from aubench.progress import bar
from aubench.storage.files import write_text

if TYPE_CHECKING:
    import numpy.typing as npt

UNKNOWN_LABEL = 9
BATCH = 64


@dataclass(frozen=True)
class Export:
    """What is to be written.

    Attributes:
        source: The data set.
        size: Side of the images in pixels.
        fold: Fold of the data set; None for its own split, or the first where it has none.
        limit: Only the first faces of each split.
    """

    source: Dataset
    size: int = 128
    fold: int | None = None
    limit: int | None = None

    def faces(self, split: str, fold: int | None = None) -> LabelledFaces:
        """Return the faces of a split, of the export's fold if none is given."""
        chosen = fold or self.source.usual_fold(self.fold)
        return self.source.faces(split, chosen).head(self.limit)


def export(what: Export, layout: str, out: Path) -> int:
    """Write a data set; return the number of images. Nothing is left where it fails.

    Args:
        what: Data set, fold and size.
        layout: ``me-graphau``, ``ganimation``, ``imagefolder`` or ``csv``.
        out: Folder that is absent or empty.

    Raises:
        AubenchError: Unknown layout, or the folder holds something.
    """
    if layout not in LAYOUTS:
        raise AubenchError(
            f"unknown layout '{layout}'{suggest(layout, LAYOUTS)}",
            f"choose from {', '.join(LAYOUTS)}",
        )
    with whole_folder(out) as place:
        return LAYOUTS[layout](what, place)


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Hand out a folder beside ``out`` that takes its place once all is written.

    Raises:
        AubenchError: There is something at ``out``.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise AubenchError(f"{out} is there already", "choose another --out")
    place = out.with_name(f"{out.name}.part")
    shutil.rmtree(place, ignore_errors=True)
    try:
        place.mkdir(parents=True)
        yield place
        if out.is_dir():
            out.rmdir()
        place.rename(out)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def name_of(key: str, subject: str) -> str:
    """Return the path of a face: a folder a subject, a name that no other key has."""
    return f"{subject.replace('/', '-')}/{sample_id(key)}.png"


def _write_images(what: Export, names: dict[str, str], folder: Path) -> int:
    """Write images by key under the names given."""
    from PIL import Image

    source, keys = what.source.images(), sorted(names)
    source.prefetch(keys, what.size, "images")
    with bar(len(keys), "export", "img") as progress:
        for start in range(0, len(keys), BATCH):
            part = keys[start : start + BATCH]
            for key, image in zip(part, source.load_many(part, what.size), strict=True):
                path = folder / names[key]
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(path, format="PNG", compress_level=1)
            progress.update(len(part))
    return len(keys)


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue()


def _texts(faces: LabelledFaces) -> list[str]:
    """Return the attached texts, or our own of what is known of each face."""
    if faces.texts is not None:
        return list(faces.texts)
    names = faces.combinations()
    return [describe(parse_aus(name), seed=row).text for row, name in enumerate(names)]


def _labels(row: npt.NDArray[np.int8]) -> list[int]:
    return [UNKNOWN_LABEL if value < 0 else int(value) for value in row]


def _me_graphau(what: Export, out: Path) -> int:
    """Write ``list/`` of every fold and ``img/``."""
    stem = what.source.name
    names: dict[str, str] = {}
    for fold in range(1, what.source.folds + 1):
        for part in ("train", "test"):
            faces = what.faces(part, fold)
            mine = {k: name_of(k, s) for k, s in zip(faces.keys, faces.subjects, strict=True)}
            names |= mine
            paths = "".join(f"{mine[key]}\n" for key in faces.keys)
            labels = "".join(" ".join(map(str, _labels(row))) + "\n" for row in faces.labels)
            write_text(out / "list" / f"{stem}_{part}_img_path_fold{fold}.txt", paths)
            write_text(out / "list" / f"{stem}_{part}_label_fold{fold}.txt", labels)
    return _write_images(what, names, out / "img")


def _ganimation(what: Export, out: Path) -> int:
    """Write ``imgs/``, the ids of train and test, and ``aus.csv``."""
    names: dict[str, str] = {}
    rows: list[list[object]] = []
    for part in ("train", "test"):
        faces = what.faces(part)
        faces = faces.rows(faces.complete)
        known = np.where(faces.labels == 0, 0.0, faces.intensities)
        values = faces.labels.astype(float) if np.isnan(known).any() else known
        ids = [f"{sample_id(key)}.png" for key in faces.keys]
        names |= dict(zip(faces.keys, ids, strict=True))
        rows += [[name, *(f"{v:g}" for v in row)] for name, row in zip(ids, values, strict=True)]
        write_text(out / f"{part}_ids.csv", "".join(f"{name}\n" for name in ids))
    write_text(out / "aus.csv", _table(["file", *(f"AU{au}" for au in AUS)], rows))
    return _write_images(what, names, out / "imgs")


def _imagefolder(what: Export, out: Path) -> int:
    """Write a folder a split with its images and ``metadata.csv``."""
    count = 0
    for split in SPLITS:
        faces = what.faces(split)
        if not len(faces):
            continue
        ids = [f"{sample_id(key)}.png" for key in faces.keys]
        rows = list(zip(ids, _texts(faces), strict=True))
        write_text(out / split / "metadata.csv", _table(["file_name", "text"], rows))
        names = dict(zip(faces.keys, ids, strict=True))
        count += _write_images(what, names, out / split)
    return count


def _csv(what: Export, out: Path) -> int:
    """Write ``samples.csv``, which ``aubench data import folder`` reads, and the images."""
    names: dict[str, str] = {}
    rows: list[list[object]] = []
    neutral: dict[str, tuple[str, str]] = {}
    for split in SPLITS:
        faces = what.faces(split)
        texts = _texts(faces)
        for i, (key, who) in enumerate(zip(faces.keys, faces.subjects, strict=True)):
            names[key] = name_of(key, who)
            neutral[faces.references[i]] = who, split
            graded = ["" if np.isnan(v) else f"{v:g}" for v in faces.intensities[i]]
            reference = name_of(faces.references[i], who)
            rows.append(
                [
                    names[key],
                    who.replace("/", "-"),
                    *_labels(faces.labels[i]),
                    *graded,
                    split,
                    reference,
                    texts[i],
                ]
            )
    for key, (who, split) in sorted(neutral.items()):
        if key not in names:
            names[key] = name_of(key, who)
            blank = [0] * len(AUS) + [""] * len(AUS)
            rows.append([names[key], who.replace("/", "-"), *blank, split, names[key], "neutral"])
    labels, graded = ([f"{letter}{au}" for au in AUS] for letter in ("AU", "I"))
    header = ["image", "subject", *labels, *graded, "split", "reference", "text"]
    write_text(out / "samples.csv", _table(header, rows))
    return _write_images(what, names, out)


LAYOUTS: dict[str, Callable[[Export, Path], int]] = {
    "me-graphau": _me_graphau,
    "ganimation": _ganimation,
    "imagefolder": _imagefolder,
    "csv": _csv,
}
"""How a data set is written, by name."""
