"""What a face network that was trained on photographs reads of a bed: shape without texture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.audit.synfacs.beds import SHOWN, Bed, Face, active, render_all
from aubench.datasets.labelled_faces import ArrayPictures
from aubench.facs import AUS
from aubench.metrics.statistics.resampling import bootstrap
from aubench.networks.face_landmarker.change import Change, change
from aubench.networks.face_landmarker.head import GeometryHead
from aubench.networks.face_landmarker.landmarker import FaceLandmarker
from aubench.networks.face_landmarker.names import BLENDSHAPES
from aubench.networks.face_landmarker.readers import SHAPES
from aubench.networks.face_landmarker.train import geometry_of

MONOTONE = 0.95
"""Least rank correlation with the level within a person."""


@dataclass(frozen=True)
class Pairs:
    """Faces with one to five AUs, and what moved in them from the same person's neutral face."""

    moved: Change
    values: npt.NDArray[np.float64]
    subjects: npt.NDArray[np.str_]


def draw_pairs(
    bed: Bed, landmarker: FaceLandmarker, subjects: npt.NDArray[np.int64], each: int, layers: str
) -> Pairs:
    """Render faces with one to five AUs at 0.8 to 5.0, each subject in one scene, and read them."""
    faces, neutral, rows, values = [], [], [], []
    for i, subject in enumerate(subjects):
        draw = np.random.default_rng([int(subject), 17])
        scene = 700_000 + int(subject)
        neutral.append(Face(int(subject), active((), 0), scene, "studio", layers, SHOWN))
        for _ in range(each):
            levels = np.zeros(len(AUS))
            some = draw.choice(len(AUS), int(draw.integers(1, 6)), replace=False)
            levels[some] = np.round(draw.uniform(0.8, 5, len(some)), 1)
            faces.append(Face(int(subject), tuple(levels), scene, "studio", layers, SHOWN))
            rows.append(i)
            values.append(levels)
    images = render_all(bed, faces, f"{layers} faces")
    rests = render_all(bed, neutral, f"{layers} neutral faces")
    moved = change(
        geometry_of(landmarker, ArrayPictures(images), f"{layers} geometry"),
        geometry_of(landmarker, ArrayPictures(rests), "neutral geometry"),
        np.array(rows),
    )
    names = np.array([str(subjects[row]) for row in rows])
    return Pairs(moved, np.array(values), names)


def reader_auc(
    bed: Bed, landmarker: FaceLandmarker, layers: str, train: int, test: int, seed: int
) -> dict[str, Any]:
    """Return AUCs of a geometry head on subjects it never saw, with an interval by subject.

    Args:
        bed: The renderer.
        landmarker: The witness' networks.
        layers: ``clay`` or ``whole``; the head is fitted and tested on the same.
        train: Subjects of the training range, ten faces each.
        test: Fresh subjects, twelve faces each.
        seed: Which.
    """
    from sklearn.metrics import roc_auc_score

    draw = np.random.default_rng(seed)
    fitted = draw_pairs(bed, landmarker, np.sort(_some(draw, bed.train, train)), 10, layers)
    tested = draw_pairs(bed, landmarker, np.sort(_some(draw, bed.fresh, test)), 12, layers)
    labels = (fitted.values > 0).astype(np.int64)
    head = GeometryHead.fit(fitted.moved, labels, fitted.subjects, fitted.values)
    seen = tested.moved.found
    scores, on = head.scores(tested.moved)[seen], tested.values[seen] > 0
    subjects = tested.subjects[seen]

    def areas(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        both = [0 < on[rows, k].sum() < len(rows) for k in range(len(AUS))]
        return np.array(
            [
                roc_auc_score(on[rows, k], scores[rows, k]) if ok else np.nan
                for k, ok in enumerate(both)
            ]
        )

    whole = areas(np.arange(len(on)))
    interval = bootstrap(lambda rows: float(np.nanmean(areas(rows))), list(subjects), count=300)
    return {
        "mean": float(whole.mean()),
        "interval": list(interval or (float("nan"), float("nan"))),
        "AUs": {f"AU{au}": round(float(a), 4) for au, a in zip(AUS, whole, strict=True)},
        "faces not found": int((~seen).sum()),
    }


def _some(draw: np.random.Generator, people: range, count: int) -> npt.NDArray[np.int64]:
    return np.array([people[i] for i in draw.choice(len(people), count, replace=False)])


def monotone(
    bed: Bed, landmarker: FaceLandmarker, subjects: list[int], condition: str
) -> dict[str, float]:
    """Return by AU the mean rank correlation of its blendshape with the level, within a person.

    One AU from 0 to E in one scene; AUs without a live blendshape are left out.
    """
    from scipy.stats import spearmanr

    faces = [
        Face(s, active((au,), float(level)), 5_000 + s, condition, "whole", SHOWN)
        for s in subjects
        for au in SHAPES
        for level in range(6)
    ]
    images = render_all(bed, faces, f"{condition} ramps")
    shapes = geometry_of(landmarker, ArrayPictures(images), f"{condition} ramps").blendshapes
    shapes = shapes.reshape(len(subjects), len(SHAPES), 6, -1)
    place = {name: i for i, name in enumerate(BLENDSHAPES)}
    out = {}
    for k, (au, names) in enumerate(SHAPES.items()):
        level = shapes[:, k][:, :, [place[name] for name in names]].mean(2)
        found = [spearmanr(range(6), row)[0] for row in level if np.isfinite(row).all()]
        out[f"AU{au}"] = round(float(np.mean(found)), 4)
    return out
