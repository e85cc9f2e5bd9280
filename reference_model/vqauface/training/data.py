"""What a training reads: target and reference faces, texts, labels; of a data set or a folder.

Any data set of ``aubench.datasets`` will do, imported ones too.

A folder has ``samples.csv`` with the columns ``image``, ``subject``, ``AU1`` to ``AU24`` (0, 1, or
9 for unknown) and, if wanted, ``reference`` and ``text``; paths are relative to the folder. Or it
has the layout of ME-GraphAU, ``list/`` and ``img/``, of which a fold's training part is read.
Without a column ``reference`` a subject's reference is an image of no active AU drawn at random, or
the first image (the paper's 3.2).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from aubench.datasets.labelled_faces import Pictures
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.facs.coding import UNKNOWN, au_columns, in_order
from aubench.storage.pictures import load_picture
from aubench.storage.tables import read_table

if TYPE_CHECKING:
    from aubench.datasets.dataset import Dataset
    from aubench.networks.detectors.faces import Faces as Listed

Images = npt.NDArray[np.uint8]
LABELS = tuple(f"AU{au}" for au in AUS)
WORDINGS = 6
"""Texts written for each AU set, where the data has none."""


def to_float(images: Images) -> Tensor:
    """Return float [B, 3, H, W] in -1..1 of uint8 [B, H, W, 3]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


@dataclass(frozen=True)
class FilePictures:
    """Image files, read when they are asked for and brought to one size."""

    folder: Path
    names: tuple[str, ...]
    size: int

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> Images:
        """Return uint8 [B, S, S, 3].

        Raises:
            AubenchError: A file is unreadable, not square, or smaller than the model's images.
        """
        return np.stack([read_image(self.folder / self.names[int(i)], self.size) for i in rows])


@dataclass(frozen=True)
class ListedPictures:
    """Images of lists that ``aubench.networks.detectors`` has read, brought to one size."""

    faces: Listed
    rows: npt.NDArray[np.int64]
    size: int

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> Images:
        """Return uint8 [B, S, S, 3]; raises as ``FilePictures.take``."""
        wanted = self.rows[np.asarray(rows)]
        return np.stack([fitted(self.faces.image(int(i)), self.size, f"image {i}") for i in wanted])


def read_image(path: Path, size: int) -> Images:
    """Return uint8 [size, size, 3], upright, of a square image file at least as large.

    Raises:
        AubenchError: It is unreadable, not square, or smaller.
    """
    return fitted(load_picture(path), size, str(path))


def fitted(image: Images, size: int, name: str) -> Images:
    """Return uint8 [size, size, 3] of a square image at least as large.

    Raises:
        AubenchError: It is not square, or smaller.
    """
    from PIL import Image

    height, width = image.shape[:2]
    if width != height or width < size:
        raise AubenchError(
            f"{name} has {width} x {height} pixels, the model takes squares of at least {size}",
            "`aubench data align FOLDER --out FACES` makes them",
        )
    if width == size:
        return image
    picture = Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(picture, np.uint8)


@dataclass(frozen=True)
class Faces:
    """Samples to train on.

    Attributes:
        targets: N images.
        references: The distinct reference images.
        rows: Number of each sample's reference, int64 [N].
        texts: The wordings of each sample.
        labels: float32 [N, 12], NaN where unknown.
        fingerprint: Tells one set from another.
        name: Name for the card.
    """

    targets: Pictures
    references: Pictures
    rows: npt.NDArray[np.int64]
    texts: Sequence[tuple[str, ...]]
    labels: npt.NDArray[np.float32]
    fingerprint: str
    name: str

    def __len__(self) -> int:
        return len(self.targets)

    def either(self, rows: npt.NDArray[np.int64]) -> Images:
        """Return images of targets and references counted together."""
        first = rows < len(self.targets)
        parts = [
            source.take(which)
            for source, which in (
                (self.targets, rows[first]),
                (self.references, rows[~first] - len(self.targets)),
            )
            if len(which)
        ]
        out = np.empty((len(rows), *parts[0].shape[1:]), np.uint8)
        out[np.argsort(~first, kind="stable")] = np.concatenate(parts)
        return out


def wordings(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return texts for each AU set, named as ``6+12+15``."""
    from aubench.facs import parse_aus
    from aubench.facs.describe import describe

    made = {
        name: tuple(describe(parse_aus(name), seed=k).text for k in range(WORDINGS))
        for name in set(names)
    }
    return [made[name] for name in names]


def open_faces(data: str, size: int, limit: int | None, fold: int | None, seed: int) -> Faces:
    """Return the training faces of a data set or of a folder.

    Args:
        data: Name of a data set, or path of a folder.
        size: Side of the images in pixels.
        limit: Only the first samples.
        fold: Fold of the data set, or of the folder's lists.
        seed: Draws the references of a folder.

    Raises:
        AubenchError: No such data, or a fault in it, named with file and row.
    """
    from aubench.datasets.registry import dataset_or_path

    found = dataset_or_path(data, "a folder with samples.csv")
    if not isinstance(found, Path):
        return _dataset(found, size, limit, fold)
    if (found / "samples.csv").is_file():
        return _table(found, size, limit, seed)
    if (found / "list").is_dir():
        return _lists(found, size, limit, fold or 1, seed)
    raise AubenchError(f"{found} has neither samples.csv nor list/", "see docs/vqauface.md")


def _dataset(source: Dataset, size: int, limit: int | None, fold: int | None) -> Faces:
    """Return the training part of a data set; texts that were attached are taken as they are."""
    faces = source.faces("train", source.usual_fold(fold)).head(limit)
    names, rows = np.unique(np.array(faces.references, np.str_), return_inverse=True)
    targets = source.pictures(faces, size, f"{faces.title} faces")
    references = source.pictures_of([str(n) for n in names], size, f"{faces.title} references")
    labels = np.where(faces.labels < 0, np.nan, faces.labels).astype(np.float32)
    if faces.texts is None:
        texts = wordings(faces.combinations())
    else:
        texts = [(text,) for text in faces.texts]
    mark = f"{source.fingerprint}/{faces.title}/{size}/{len(faces)}/{faces.digest}"
    return Faces(
        targets, references, rows.astype(np.int64).reshape(-1), texts, labels, mark, faces.title
    )


def _table(folder: Path, size: int, limit: int | None, seed: int) -> Faces:
    table = read_table(folder / "samples.csv")
    coded = au_columns(table)
    table.require("image", "subject", *(coded.occurrence.get(au, f"AU{au}") for au in AUS))
    rows = table.rows[: limit or None]
    labels = np.array([in_order(coded.labels(row)) for row in rows], np.float32)
    labels[labels == UNKNOWN] = np.nan
    given = "reference" in table.columns
    for row in rows:
        for column in ("image", "reference") if given else ("image",):
            if not row[column] or not (folder / row[column]).is_file():
                raise row.error(f"no image {folder / row[column]}", "mend its path")
    texts = [(row["text"],) for row in rows if row["text"]]
    if texts and len(texts) < len(rows):
        lacking = next(row for row in rows if not row["text"])
        raise lacking.error("the text is empty", "give every image a text, or none")
    return _of_files(
        folder,
        [row["image"] for row in rows],
        [row["subject"] for row in rows],
        labels,
        size,
        seed,
        [row["reference"] for row in rows] if given else None,
        texts or None,
    )


def _lists(folder: Path, size: int, limit: int | None, fold: int, seed: int) -> Faces:
    from aubench.facs import combination_name
    from aubench.networks.detectors.training.lists import read_fold

    read = read_fold(folder, fold)
    faces = read.train.subset(np.arange(min(limit or len(read.train), len(read.train))))
    labels = np.where(faces.labels < 0, np.nan, faces.labels).astype(np.float32)
    chosen = reference_rows([str(name) for name in faces.subjects], labels, seed)
    references, rows = np.unique(chosen, return_inverse=True)
    texts = wordings([combination_name(row) for row in np.nan_to_num(labels).astype(np.uint8)])
    return Faces(
        ListedPictures(faces, np.arange(len(faces)), size),
        ListedPictures(faces, references, size),
        rows.astype(np.int64).reshape(-1),
        texts,
        labels,
        f"{read.fingerprint[:16]}/{len(faces)}/{size}/{seed}",
        folder.name,
    )


def reference_rows(
    subjects: Sequence[str], labels: npt.NDArray[np.float32], seed: int
) -> npt.NDArray[np.int64]:
    """Return the row of each sample's reference face (3.2): a neutral one, else the first."""
    chosen: dict[str, int] = {}
    people = np.array(subjects)
    rng = np.random.default_rng(seed)
    neutral = (labels == 0).all(1)
    for subject in sorted(set(subjects)):
        mine = np.flatnonzero(people == subject)
        calm = mine[neutral[mine]]
        chosen[subject] = int(rng.choice(calm)) if len(calm) else int(mine[0])
    return np.array([chosen[subject] for subject in subjects], np.int64)


def _of_files(
    folder: Path,
    names: Sequence[str],
    subjects: Sequence[str],
    labels: npt.NDArray[np.float32],
    size: int,
    seed: int,
    given: Sequence[str] | None,
    texts: Sequence[tuple[str, ...]] | None,
) -> Faces:
    from aubench.facs import combination_name

    if given is None:
        given = [names[i] for i in reference_rows(subjects, labels, seed)]
    references, rows = np.unique(np.array(given, np.str_), return_inverse=True)
    if texts is None:
        active = np.nan_to_num(labels).astype(np.uint8)
        texts = wordings([combination_name(row) for row in active])
    digest = hashlib.sha256()
    for name, reference, row in zip(names, given, labels, strict=True):
        size_of = (folder / name).stat().st_size
        digest.update(f"{name} {reference} {size_of}".encode() + row.tobytes())
    digest.update(str(size).encode())
    return Faces(
        FilePictures(folder, tuple(names), size),
        FilePictures(folder, tuple(map(str, references)), size),
        rows.astype(np.int64).reshape(-1),
        texts,
        labels,
        digest.hexdigest()[:16],
        folder.name,
    )
