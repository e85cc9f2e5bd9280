"""Fitting the head of ``mp-geo`` on the training faces of a data set, and scoring readers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aubench.facs import AUS
from aubench.networks.face_landmarker.change import Change, change
from aubench.networks.face_landmarker.head import GeometryHead
from aubench.networks.face_landmarker.landmarker import FaceGeometry, FaceLandmarker
from aubench.progress import bar

if TYPE_CHECKING:
    from aubench.datasets.dataset import Dataset
    from aubench.datasets.labelled_faces import LabelledFaces, Pictures

Floats = npt.NDArray[np.float32]

SIZE = 128
"""Side in pixels of the faces, as the protocols that ship have them."""

CHUNK = 64


@dataclass(frozen=True)
class Pairs:
    """Faces of a split and what moved in them.

    Attributes:
        moved: the change of N faces from their references.
        labels: int64 [N, 12], 0, 1, or -1 unknown.
        intensities: float32 [N, 12], 0..5, NaN unknown.
        subjects: who is seen, [N].
    """

    moved: Change
    labels: npt.NDArray[np.int64]
    intensities: Floats
    subjects: npt.NDArray[np.str_]


def geometry_of(landmarker: FaceLandmarker, pictures: Pictures, label: str) -> FaceGeometry:
    """Return the geometry of many images, read as they are needed, with a progress bar."""
    parts = []
    with bar(len(pictures), label, "img") as progress:
        for start in range(0, len(pictures), CHUNK):
            part = pictures.take(np.arange(start, min(start + CHUNK, len(pictures))))
            parts.append(landmarker.landmarks(part))
            progress.update(len(part))
    names = ("points", "blendshapes", "presence", "found", "faces", "box")
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return FaceGeometry(**joined, notes=tuple(note for part in parts for note in part.notes))


def pairs_of(landmarker: FaceLandmarker, dataset: Dataset, faces: LabelledFaces) -> Pairs:
    """Return what moved in faces of a data set, each against its person's neutral face.

    Args:
        landmarker: The networks.
        dataset: The data set.
        faces: Some of its faces.
    """
    own = sorted(set(faces.references))
    place = {key: row for row, key in enumerate(own)}
    label = f"{faces.split} geometry"
    seen = geometry_of(landmarker, dataset.pictures(faces, SIZE, faces.title), label)
    known = dataset.pictures_of(own, SIZE, f"{faces.title}, references")
    neutral = geometry_of(landmarker, known, f"{label}, references")
    rows = np.array([place[key] for key in faces.references], np.int64)
    return Pairs(
        change(seen, neutral, rows),
        faces.labels.astype(np.int64),
        faces.intensities,
        np.array(faces.subjects, np.str_),
    )


def scores_on(probabilities: Floats, pairs: Pairs, evidence: Floats) -> dict[str, Any]:
    """Return AUC and correlation with intensity of each AU and their means, for a card.

    The correlation is ICC(3,1) of the evidence brought to the spread of the intensities.

    Args:
        probabilities: float32 [N, 12]; rows and AUs that are NaN are left out.
        pairs: the faces.
        evidence: float32 [N, 12], what is held against intensities.
    """
    from sklearn.metrics import roc_auc_score

    seen = pairs.moved.found
    areas, strengths = {}, {}
    for k, au in enumerate(AUS):
        rows = seen & (pairs.labels[:, k] >= 0)
        p, on = probabilities[rows, k], pairs.labels[rows, k]
        if np.isnan(p).all() or len(np.unique(on)) < 2:
            continue
        areas[f"AU{au}"] = round(float(roc_auc_score(on, p)), 4)
        rows &= ~np.isnan(pairs.intensities[:, k])
        if len(np.unique(pairs.intensities[rows, k])) > 1:
            r = np.corrcoef(evidence[rows, k], pairs.intensities[rows, k])[0, 1]
            strengths[f"AU{au}"] = round(float(r), 4)
    return {
        "subjects": len(np.unique(pairs.subjects)),
        "faces": int(seen.sum()),
        "faces not found": int((~seen).sum()),
        "mean AUC": _mean(areas),
        "AUC": areas,
        "mean correlation with intensity": _mean(strengths),
        "correlation with intensity": strengths,
    }


def fit(
    path: Path,
    command: str,
    *,
    data: str,
    fold: int | None = None,
    limit: int | None = None,
    landmarker: FaceLandmarker | None = None,
) -> GeometryHead:
    """Fit a head on a data set's training faces, score it on its test subjects, write it.

    Nothing is drawn at random: faces come in the order of their splits, folds go by subject.

    Args:
        path: ``<name>.safetensors`` to write; the card goes beside it.
        command: What the card says was typed.
        data: Name of the data set.
        fold: Fold of it; its own split, or the first fold, if None.
        limit: Only so many training faces, and a third as many to test on; at least 8.
        landmarker: To share one that is loaded already.

    Raises:
        MissingWeightsError: The landmarker was not fetched.
        AubenchError: No such data set or fold, too few subjects, or the files cannot be written.
    """
    import torch

    from aubench import __version__
    from aubench.datasets.registry import find_dataset

    start, dataset = time.perf_counter(), find_dataset(data)
    part = dataset.usual_fold(fold)
    faces, tests = dataset.faces("train", part).head(limit), dataset.faces("test", part)
    tests = tests.head(max(8, limit // 3) if limit else None)
    networks = landmarker or FaceLandmarker.load()
    train = pairs_of(networks, dataset, faces)
    known = train.intensities if _are_graded(train) else None
    head = GeometryHead.fit(train.moved, train.labels, train.subjects, known)
    test = pairs_of(networks, dataset, tests)
    about = {
        "command": command,
        "landmarker": networks.id,
        "data": {
            **faces.about(),
            "fingerprint": dataset.fingerprint,
            "faces found": int(train.moved.found.sum()),
            "subjects": len(np.unique(train.subjects)),
            "size": SIZE,
        },
        "aubench": __version__,
        "scores on unseen subjects": scores_on(
            head.probabilities(test.moved), test, head.scores(test.moved)
        ),
        "hardware": f"{torch.get_num_threads()} CPU threads",
        "seconds": round(time.perf_counter() - start, 1),
    }
    return head.save(path, about)


def _mean(values: dict[str, float]) -> float | None:
    return round(float(np.mean(list(values.values()))), 4) if values else None


def _are_graded(pairs: Pairs) -> bool:
    """Whether every label that is known has an intensity."""
    return not np.isnan(pairs.intensities[pairs.labels >= 0]).any()
