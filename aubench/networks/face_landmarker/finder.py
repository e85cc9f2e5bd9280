"""The landmarker as a finder of faces, and the five points by which they are brought level."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.datasets.alignment import Face
from aubench.networks.batches import check_images
from aubench.networks.face_landmarker.landmarker import NOTES, SMALL, FaceLandmarker

Image = npt.NDArray[np.uint8]
FIVE: tuple[tuple[int, ...], ...] = ((33, 133, 159), (263, 362, 386), (1,), (61, 78), (291, 308))
"""Points whose mean is the eye on the left of the picture, the other eye, the tip of the nose, the
corner of the mouth on the left, the other corner.

An eye is the mean of its corners and the middle of its upper lid, which unlike the iris stays where
it is when the gaze moves; a corner of the mouth lies between the lips' outer and inner one.
"""


def five_points(points: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """Return eyes, nose and mouth corners float32 [N, 5, 2] of faces [N, 478, 2 or 3], pixels.

    In the order of ``aubench.datasets.alignment.Face.points``; NaN where a face is NaN.
    """
    flat = np.asarray(points)[..., :2]
    return np.stack([flat[:, list(which)].mean(1) for which in FIVE], 1).astype(np.float32)


BORDER = "at the border"

SEARCHED = 640
"""Longest side in pixels at which a picture, or a part of it, is searched."""

ROOM = 3.0
"""Side of what is looked at in full around a face that was found, as a multiple of its box."""

TILES = 3
"""Squares a side, each half as long as the picture, in which a small face is looked for."""


class LandmarkFinder:
    """The largest face of each image, as a ``aubench.datasets.alignment.FaceFinder`` gives it.

    Where a picture shows none as a whole, its parts are looked at, since the detector sees faces of
    a tenth of its picture and more.

    Args:
        device: torch device.
        landmarker: to share one that is loaded already.

    Raises:
        MissingWeightsError: the landmarker was not fetched.
    """

    def __init__(self, device: str = "cpu", landmarker: FaceLandmarker | None = None) -> None:
        self._landmarker = landmarker or FaceLandmarker.load(device=device)

    def __call__(self, image: Image) -> Face | None:
        """Return the largest face of uint8 RGB [H, W, 3], None where there is none.

        Its score is the landmark network's probability that there is a face, at least 0.5. Its
        notes are those of ``FaceGeometry``.

        Raises:
            TypeError: another dtype or shape.
        """
        check_images(np.asarray(image)[None])
        face = self._search(image)
        return face if face is not None else self._in_parts(image)

    def _search(self, image: Image) -> Face | None:
        """Return the largest face; in a large picture it is found small and measured in full."""
        if max(image.shape[:2]) <= SEARCHED:
            return self._look(image)
        small, scale = shrunk(image)
        found = self._landmarker.detect(small[None])[0]
        if not found:
            return None
        left, top, right, bottom = (float(v) / scale for v in found[0].box)
        half = ROOM * max(right - left, bottom - top) / 2
        x, y = (left + right) / 2, (top + bottom) / 2
        x0, y0 = max(0, round(x - half)), max(0, round(y - half))
        part = image[y0 : max(y0 + 1, round(y + half)), x0 : max(x0 + 1, round(x + half))]
        view, scale = shrunk(part)
        face = self._look(view)
        if face is None:
            return None
        own = face.scaled(1 / scale).moved(x0, y0)
        count = max(face.count, len(found))
        notes = {*face.notes, *(["several faces"] if count > 1 else [])}
        return replace(own, count=count, notes=tuple(n for n in NOTES if n in notes))

    def _in_parts(self, image: Image) -> Face | None:
        """Return the largest face of overlapping squares of half the longer side."""
        high, wide = image.shape[:2]
        side = max(high, wide) // 2
        if side < 2 * SMALL:
            return None
        found = []
        for top, left in {
            (max(0, (high - side) * i // (TILES - 1)), max(0, (wide - side) * j // (TILES - 1)))
            for i in range(TILES)
            for j in range(TILES)
        }:
            face = self._search(np.ascontiguousarray(image[top : top + side, left : left + side]))
            if face is not None:
                found.append(face.moved(left, top))
        # Overlapping parts show one face more than once, perhaps cut; of equals the first by place.
        found.sort(key=lambda f: (BORDER in f.notes, -float(f.box[2] - f.box[0]), *f.box.tolist()))
        return found[0] if found else None

    def _look(self, image: Image) -> Face | None:
        seen = self._landmarker.landmarks(np.asarray(image)[None])
        if not seen.found[0]:
            return None
        points = five_points(seen.points)[0]
        count, notes = int(seen.faces[0]), seen.notes[0]
        return Face(seen.box[0], points, float(seen.presence[0]), count, notes)


def shrunk(image: Image) -> tuple[Image, float]:
    """Return an image no longer than ``SEARCHED``, and its scale; the same one if it is small."""
    from PIL import Image as Picture

    scale = SEARCHED / max(image.shape[:2])
    if scale >= 1:
        return np.ascontiguousarray(image), 1.0
    side = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = Picture.fromarray(image).resize(side, Picture.Resampling.BICUBIC)
    return np.asarray(small, np.uint8), scale
