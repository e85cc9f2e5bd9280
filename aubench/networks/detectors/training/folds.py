"""What a training sees: faces to learn from, to choose by, and to be judged on."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from aubench.datasets.labelled_faces import ArrayPictures, LabelledFaces
from aubench.datasets.registry import dataset_or_path, find_dataset
from aubench.errors import AubenchError
from aubench.networks.detectors.faces import Faces, Images, in_memory
from aubench.networks.detectors.training.lists import read_fold
from aubench.networks.detectors.training.losses import au_weights
from aubench.networks.detectors.training.settings import Settings

if TYPE_CHECKING:
    from aubench.datasets.dataset import Dataset
    from aubench.datasets.samples import ImageSource

LAYOUT = "a folder with list/ and img/"
TESTED = 2000
"""Images of a data set's own test part that the card's scores are of."""


@dataclass(frozen=True)
class Parts:
    """Three sets of faces; no subject of the first is in another.

    Attributes:
        train: Faces to learn from.
        validation: Faces by which to stop, to keep the best weights, and to choose thresholds by.
        test: Faces for the scores; those of validation where nothing is held out.
        about: Where the faces come from, for card and report.
    """

    train: Faces
    validation: Faces
    test: Faces
    about: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Digest of what it is made of: source, images by number, labels."""
        digest = hashlib.sha256(repr(sorted(self.about.items())).encode())
        for part in (self.train, self.validation, self.test):
            digest.update(part.rows.astype(np.int64).tobytes() + part.labels.tobytes())
        return digest.hexdigest()


def held_out(subjects: npt.NDArray[np.str_], share: float) -> npt.NDArray[np.bool_]:
    """Return who is held out, bool [N]: a share of the sorted subjects, evenly spread.

    Raises:
        AubenchError: There are not two subjects.
    """
    people = np.unique(subjects)
    if len(people) < 2:
        raise AubenchError("one subject cannot be split for validation", "--hold-out 0")
    count = min(len(people) - 1, max(1, round(share * len(people))))
    at = ((np.arange(count) + 0.5) * len(people) / count).astype(np.int64)
    return np.isin(subjects, people[at])


def open_parts(settings: Settings) -> Parts:
    """Return the data that the settings name.

    Raises:
        AubenchError: See `lists.read_fold`; or nothing is known to validate on.
    """
    found = dataset_or_path(settings.data, LAYOUT)
    if isinstance(found, Path):
        parts = _listed(settings)
    elif found.usual_fold(settings.fold):
        parts = _folded(found, settings)
    else:
        parts = _splits(found, settings)
    for name, faces in (("train", parts.train), ("validation", parts.validation)):
        if not (faces.labels == 1).any():
            raise AubenchError(f"no AU is active in the {name} part of {settings.data}")
    return parts


def _fewer(limit: int | None) -> int | None:
    """Return how many images to validate and test on when training is limited."""
    return limit and max(64, limit // 5)


def _in_fold(train: Faces, test: Faces, settings: Settings, about: dict[str, Any]) -> Parts:
    """Hold out subjects of the training part for validation."""
    validation = test
    if settings.hold_out:
        held = held_out(train.subjects, settings.hold_out)
        train, validation = train.subset(~held), train.subset(held)
    validates = "held-out subjects" if settings.hold_out else "the test part, as published"
    fewer = _fewer(settings.limit)
    return Parts(
        train.limit(settings.limit),
        validation.limit(fewer),
        test.limit(fewer),
        about | {"validated on": validates},
    )


def test_faces(
    data: str, fold: int | None, limit: int | None, *, packed: bool
) -> tuple[Faces, dict[str, Any]]:
    """Return the faces that a trained detector is judged on, and where they come from.

    Args:
        data: A data set, or a folder with list files.
        fold: Fold whose test part is taken; None takes the data set's own, or the first fold's.
        limit: Images, spread evenly; the first ones of a data set's own test part.
        packed: Rendered faces at 128 px in memory, else at 256 px from files.

    Raises:
        AubenchError: No such data, a folder without a fold, or with wrong lists.
    """
    size, found = 128 if packed else 256, dataset_or_path(data, LAYOUT)
    if isinstance(found, Path):
        parts = _listed(Settings("resnet50", data, fold, hold_out=0.0))
        return parts.test.limit(limit), parts.about
    fold = found.usual_fold(fold)
    test = found.faces("test", fold)
    if fold is None:
        test = test.head(min(limit or TESTED, TESTED))
    faces = opened(keyed(test, size).limit(limit), packed=packed, label="test faces")
    return faces, _about(found, fold)


def _listed(settings: Settings) -> Parts:
    if settings.fold is None:
        raise AubenchError(f"--data {settings.data} needs a fold", "--fold 1, 2 or 3")
    fold = read_fold(Path(settings.data), settings.fold)
    about: dict[str, Any] = {
        "source": f"{fold.prefix}, lists of fold {settings.fold}",
        "lists and sizes of images": fold.fingerprint,
    }
    if fold.weights is not None:
        ours = au_weights(torch.from_numpy(fold.train.labels)).double().numpy()
        off = float(np.abs(ours - fold.weights).max())
        about["AU weights from the labels differ from the weight file by at most"] = round(off, 4)
    return _in_fold(fold.train, fold.test, settings, about)


def _folded(source: Dataset, settings: Settings) -> Parts:
    """Return a fold; all folds of a data set's train split share one array in memory."""
    fold = source.usual_fold(settings.fold)
    about = _about(source, fold)
    train, test = (source.faces(split, fold) for split in ("train", "test"))
    if train.pool is None:
        two = keyed(train, settings.size), keyed(test, settings.size)
        return _opened(_in_fold(*two, settings, about), settings)
    faces, whole = keyed(source.split_faces("train"), settings.size), settings.limit is None
    if whole and settings.nano:
        faces = opened(faces, packed=True, label="train faces")
    tested = np.isin(faces.subjects, sorted(set(test.subjects)))
    parts = _in_fold(faces.subset(~tested), faces.subset(tested), settings, about)
    return parts if whole and settings.nano else _opened(parts, settings)


def _splits(source: Dataset, settings: Settings) -> Parts:
    held, about = _fewer(settings.limit), _about(source, None)
    train, validation, test = (
        keyed(source.faces(split).head(count), settings.size)
        for split, count in (
            ("train", settings.limit),
            ("validation", held),
            ("test", held or TESTED),
        )
    )
    if not len(validation):
        return _opened(_in_fold(train, test, settings, about), settings)
    parts = _opened(Parts(train, validation, test, about), settings)
    return replace(parts, train=half(parts.train, settings.subjects))


def half(faces: Faces, which: str) -> Faces:
    """Return all faces, or those of every second of the sorted subjects: ``even`` or ``odd``."""
    if which == "all":
        return faces
    people = np.unique(faces.subjects)[("even", "odd").index(which) :: 2]
    return faces.subset(np.isin(faces.subjects, people))


def _opened(parts: Parts, settings: Settings) -> Parts:
    train, validation, test = (
        opened(getattr(parts, name), packed=settings.nano, label=f"{name} faces")
        for name in ("train", "validation", "test")
    )
    return Parts(train, validation, test, parts.about)


def _about(source: Dataset, fold: int | None) -> dict[str, Any]:
    """Return what card and report say of a data set: name, fold, digests of images and codes."""
    about = {"source": source.name, "images": source.fingerprint, "digest": source.content[:16]}
    if fold is None:
        return about
    of = ", of train's subjects" if source.own_split else ""
    return about | {"fold": f"{fold} of {source.folds}{of}"}


@dataclass(frozen=True)
class KeyedImages:
    """Reads faces of a data set by row: from the cache, or made for it."""

    dataset: str
    keys: tuple[str, ...]
    size: int

    def __call__(self, row: int) -> Images:
        """Return uint8 [size, size, 3]."""
        return _source(self.dataset, os.getpid()).load(self.keys[row], self.size)


@lru_cache(maxsize=2)
def _source(dataset: str, process: int) -> ImageSource:
    """Return a source of images of one process: open files are not shared with its children."""
    return find_dataset(dataset).images(1)


def keyed(faces: LabelledFaces, size: int) -> Faces:
    """Return faces of a data set that are read by key, none of them made yet."""
    read = KeyedImages(faces.dataset, faces.keys, size)
    subjects = np.array(faces.subjects, np.str_)
    return Faces(faces.labels.astype(np.int8), subjects, np.arange(len(faces)), read)


def opened(faces: Faces, *, packed: bool, label: str) -> Faces:
    """Return faces of a data set after making what the cache lacks.

    Args:
        faces: Faces of `keyed`.
        packed: Hold rendered faces all in memory; others are read one at a time.
        label: Label of the progress bar.
    """
    assert isinstance(faces.read, KeyedImages)
    source = find_dataset(faces.read.dataset)
    keys = [faces.read.keys[row] for row in faces.rows]
    if packed:
        pictures = source.pictures_of(keys, faces.read.size, label)
        if isinstance(pictures, ArrayPictures):
            return in_memory(pictures.images, faces.labels, list(faces.subjects))
    else:
        source.images().prefetch(keys, faces.read.size, label)
    return faces
