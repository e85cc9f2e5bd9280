"""What a training sees: faces to learn from, to choose by, and to be judged on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
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
        rows = None if limit is None else min(limit, TESTED)
        return synfacs_faces("test", size, rows or TESTED, packed=packed), _about_synfacs()
    if fold is None:
        raise AubenchError(f"--data {data} needs a fold", "--fold 1, 2 or 3")
    settings = Settings("nano-a" if packed else "resnet50", data, fold, hold_out=0.0, size=size)
    parts = _thirds(settings) if data == OURS else _listed(settings)
    return parts.test.limit(limit), parts.about


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
    faces = synfacs_faces("train", settings.size, None, packed=settings.nano)
    tested = third(faces.subjects, settings.fold or 1)
    about = _about_synfacs() | {"fold": f"{settings.fold} of {FOLDS}, thirds of train's subjects"}
    return _in_fold(faces.subset(~tested), faces.subset(tested), settings, about)


def _splits(settings: Settings) -> Parts:
    held = _fewer(settings.limit)
    train, validation, test = (
        synfacs_faces(split, settings.size, count, packed=settings.nano)
        for split, count in
        (("train", settings.limit), ("validation", held), ("test", held or TESTED))
    )  # fmt: skip
    return Parts(train, validation, test, _about_synfacs())


def _about_synfacs() -> dict[str, Any]:
    from aubench.synfacs.render import renderer_id

    return {"source": OURS, "renderer": renderer_id()}


def frame_labels(frame: pd.DataFrame) -> Labels:
    """Return the labels int8 [N, 12] of a frame of samples."""
    from aubench.datasets.samples import LABELS

    return frame[list(LABELS)].to_numpy(np.int8)


def _rendered(keys: list[str], size: int, row: int) -> Images:
    from aubench.datasets.images import SynfacsImages

    return SynfacsImages(1).load(keys[row], size)


def synfacs_faces(split: str, size: int, limit: int | None, *, packed: bool) -> Faces:
    """Return faces of a split of synfacs.

    Args:
        split: ``train``, ``validation`` or ``test``.
        size: side in pixels.
        limit: only the first ones.
        packed: hold them all in memory; else they are files in the cache, read one at a time.
    """
    from aubench.datasets.images import SynfacsImages
    from aubench.datasets.synfacs import load_split, split_frame

    if packed:
        images, _, _, frame = load_split(split, size, limit)
        return in_memory(images, frame_labels(frame), list(frame["subject"]))
    frame = split_frame(split)
    frame = frame.head(limit) if limit else frame
    keys = [str(key) for key in frame["target"]]
    SynfacsImages().prefetch(keys, size, f"{split} faces")
    subjects = np.array(list(frame["subject"]), np.str_)
    return Faces(
        frame_labels(frame), subjects, np.arange(len(keys)), partial(_rendered, keys, size)
    )
