"""What a training sees: faces to learn from, to choose by, and to be judged on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from aubench.detectors.faces import Faces, Images, Labels, in_memory
from aubench.detectors.lists import read_fold
from aubench.detectors.losses import au_weights
from aubench.detectors.settings import OURS, Settings
from aubench.errors import AubenchError

if TYPE_CHECKING:
    import pandas as pd

FOLDS = 3
TESTED = 2000
"""Images of synfacs test that the card's scores are of."""


@dataclass(frozen=True)
class Parts:
    """Three sets of faces; no subject of the first is in another.

    Attributes:
        train: to learn from.
        validation: to stop, to keep the best weights, and to choose thresholds by.
        test: for the scores; the same as validation where nothing is held out.
        about: where they come from, for card and report.
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


def third(subjects: npt.NDArray[np.str_], fold: int) -> npt.NDArray[np.bool_]:
    """Return who is tested in a fold, bool [N]: every third of the sorted subjects."""
    people = np.unique(subjects)
    return np.isin(subjects, people[fold - 1 :: FOLDS])


def held_out(subjects: npt.NDArray[np.str_], share: float) -> npt.NDArray[np.bool_]:
    """Return who is held out, bool [N]: a share of the sorted subjects, evenly spread.

    Raises:
        AubenchError: there are not two subjects.
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
        AubenchError: see `aubench.detectors.lists.read_fold`; nothing known to validate on.
    """
    if settings.data != OURS:
        parts = _listed(settings)
    elif settings.fold:
        parts = _thirds(settings)
    else:
        parts = _splits(settings)
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
        train.limit(settings.limit), validation.limit(fewer), test.limit(fewer),
        about | {"validated on": validates},
    )  # fmt: skip


def test_faces(
    data: str, fold: int | None, limit: int | None, *, packed: bool
) -> tuple[Faces, dict[str, Any]]:
    """Return the faces that a trained detector is judged on, and where they come from.

    Args:
        data: ``synfacs`` or a folder with list files.
        fold: whose test part; None takes synfacs test.
        limit: images, spread evenly.
        packed: synfacs at 128 px in memory, else at 256 px from files.

    Raises:
        AubenchError: a folder without a fold, or with wrong lists.
    """
    size = 128 if packed else 256
    if data == OURS and fold is None:
        faces = synfacs_faces("test", size, min(limit or TESTED, TESTED))
        return rendered(faces, packed=packed, label="test faces"), _about_synfacs()
    if fold is None:
        raise AubenchError(f"--data {data} needs a fold", "--fold 1, 2 or 3")
    if data != OURS:
        parts = _listed(Settings("resnet50", data, fold, hold_out=0.0))
        return parts.test.limit(limit), parts.about
    faces = synfacs_faces("train", size)
    faces = faces.subset(third(faces.subjects, fold)).limit(limit)
    return rendered(faces, packed=packed, label="test faces"), _about_synfacs(fold)


def _listed(settings: Settings) -> Parts:
    assert settings.fold is not None
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


def _thirds(settings: Settings) -> Parts:
    faces = synfacs_faces("train", settings.size)
    whole = settings.nano and settings.limit is None
    if whole:  # one cached array for all folds
        faces = rendered(faces, packed=True, label="train faces")
    assert settings.fold is not None
    tested = third(faces.subjects, settings.fold)
    about = _about_synfacs(settings.fold)
    parts = _in_fold(faces.subset(~tested), faces.subset(tested), settings, about)
    return parts if whole else _rendered(parts, settings)


def _splits(settings: Settings) -> Parts:
    held = _fewer(settings.limit)
    train, validation, test = (
        synfacs_faces(split, settings.size, count)
        for split, count in
        (("train", settings.limit), ("validation", held), ("test", held or TESTED))
    )  # fmt: skip
    return _rendered(Parts(train, validation, test, _about_synfacs()), settings)


def _rendered(parts: Parts, settings: Settings) -> Parts:
    train, validation, test = (
        rendered(getattr(parts, name), packed=settings.nano, label=f"{name} faces")
        for name in ("train", "validation", "test")
    )
    return Parts(train, validation, test, parts.about)


def _about_synfacs(fold: int | None = None) -> dict[str, Any]:
    from aubench.synfacs.render import renderer_id

    about = {"source": OURS, "renderer": renderer_id()}
    return about | ({"fold": f"{fold} of {FOLDS}, thirds of train's subjects"} if fold else {})


def frame_labels(frame: pd.DataFrame) -> Labels:
    """Return the labels int8 [N, 12] of a frame of samples."""
    from aubench.datasets.samples import LABELS

    return frame[list(LABELS)].to_numpy(np.int8)


@dataclass(frozen=True)
class Renders:
    """Reads synfacs by row: from the cache, or rendered into it."""

    keys: tuple[str, ...]
    size: int

    def __call__(self, row: int) -> Images:
        """Return uint8 [size, size, 3]."""
        from aubench.datasets.images import SynfacsImages

        return SynfacsImages(1).load(self.keys[row], self.size)


def synfacs_faces(split: str, size: int, limit: int | None = None) -> Faces:
    """Return faces of a split of synfacs, none of them rendered yet; only the first ``limit``."""
    from aubench.datasets.synfacs import split_frame

    frame = split_frame(split)
    frame = frame.head(limit) if limit else frame
    read = Renders(tuple(str(key) for key in frame["target"]), size)
    subjects = np.array(list(frame["subject"]), np.str_)
    return Faces(frame_labels(frame), subjects, np.arange(len(frame)), read)


def rendered(faces: Faces, *, packed: bool, label: str) -> Faces:
    """Return faces of synfacs after rendering what the cache lacks.

    Args:
        faces: of `synfacs_faces`.
        packed: hold them all in memory; else they are read one at a time.
        label: of the progress bar.
    """
    from aubench.datasets.images import SynfacsImages

    assert isinstance(faces.read, Renders)
    keys = [faces.read.keys[row] for row in faces.rows]
    if not packed:
        SynfacsImages().prefetch(keys, faces.read.size, label)
        return faces
    images = SynfacsImages().packed(keys, faces.read.size, label)
    return in_memory(images, faces.labels, list(faces.subjects))
