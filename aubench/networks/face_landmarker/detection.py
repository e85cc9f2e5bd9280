"""From the detector's 896 rows to faces: anchors, boxes, weighted non-maximum suppression."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

SIDE = 128
"""Pixels of the detector's input."""

MINIMUM_SCORE = 0.5
OVERLAP = 0.3
"""Boxes that overlap by more (intersection over union) are one face."""

GRIDS = ((16, 2), (8, 6))
"""Cells an axis and anchors a cell, of the two maps."""


@dataclass(frozen=True)
class Detection:
    """A face as the detector sees it.

    Attributes:
        box: left, top, right, bottom in pixels of the image, float32 [4].
        points: right eye, left eye (the person's), tip of the nose, mouth, right and left ear
            tragion; float32 [6, 2], pixels.
        score: 0.5..1.
    """

    box: Floats
    points: Floats
    score: float

    @property
    def side(self) -> float:
        """The larger side of the box in pixels."""
        return float(max(self.box[2] - self.box[0], self.box[3] - self.box[1]))


@lru_cache(maxsize=1)
def anchors() -> Floats:
    """Return the centres of the 896 anchors, float32 [896, 2], as shares of the input."""
    rows = [
        ((x + 0.5) / cells, (y + 0.5) / cells)
        for cells, count in GRIDS
        for y in range(cells)
        for x in range(cells)
        for _ in range(count)
    ]
    return np.array(rows, np.float32)


def overlap(box: Floats, boxes: Floats) -> Floats:
    """Return intersection over union of one box [4] with others [N, 4], corners given."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    area = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(1) - shared
    return np.asarray(shared / np.maximum(area, 1e-9), np.float32)


def decode(rows: Floats, logits: Floats) -> list[Detection]:
    """Return the faces of one input in shares of its side, best score first.

    Args:
        rows: float32 [896, 16], centre and size of the box, then six points, from the anchor, in
            pixels of the input.
        logits: float32 [896], of being a face.
    """
    scores = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
    sure = np.flatnonzero(scores >= MINIMUM_SCORE)
    order = sure[np.argsort(-scores[sure], kind="stable")]
    at, given, weight = anchors()[order], rows[order] / SIDE, scores[order]
    centre, half = at + given[:, :2], given[:, 2:4] / 2
    boxes = np.concatenate([centre - half, centre + half], 1)
    points = given[:, 4:].reshape(-1, 6, 2) + at[:, None]
    left, out = np.arange(len(order)), []
    while len(left):
        same = overlap(boxes[left[0]], boxes[left]) > OVERLAP
        same[0] = True  # even a box without area stands for itself
        one = left[same]
        share = (weight[one] / weight[one].sum()).astype(np.float32)
        box = (boxes[one] * share[:, None]).sum(0)
        spots = (points[one] * share[:, None, None]).sum(0)
        out.append(Detection(box, spots, float(weight[left[0]])))
        left = left[~same]
    return out


def joined(first: list[Detection], second: list[Detection]) -> list[Detection]:
    """Return faces of two views of one image, largest first; of one seen twice, the first's."""
    boxes = np.array([face.box for face in first], np.float32).reshape(-1, 4)
    new = [face for face in second if not (overlap(face.box, boxes) > OVERLAP).any()]
    return sorted([*first, *new], key=lambda face: -face.side)
