"""The landmarker as a network: geometry as arrays that are cached, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aubench.networks.face_landmarker.archive import WEIGHTS
from aubench.networks.face_landmarker.landmarker import NOTES, FaceGeometry, FaceLandmarker
from aubench.networks.network import Arrays


@dataclass(frozen=True)
class LandmarkNetwork:
    """Points and blendshapes of single pictures; ``mp-zero`` and ``mp-geo`` share its pass."""

    landmarker: FaceLandmarker

    @property
    def name(self) -> str:
        """Name of the weights."""
        return WEIGHTS

    @property
    def id(self) -> str:
        """Name and digest."""
        return self.landmarker.id

    @property
    def sha256(self) -> str:
        """Digest of the archive."""
        return self.landmarker.sha256

    def __call__(self, images: npt.NDArray[np.uint8]) -> Arrays:
        """Return ``arrays_of`` the geometry of uint8 [N, H, W, 3]."""
        return arrays_of(self.landmarker.landmarks(images))


def arrays_of(geometry: FaceGeometry) -> Arrays:
    """Return geometry as float32 arrays with N rows, finite: 0 where there is no face.

    ``points`` [N, 478, 3], ``blendshapes`` [N, 52], ``presence``, ``found`` and ``faces`` [N],
    ``box`` [N, 4], and ``notes`` [N, 6], 1 for each of ``landmarker.NOTES`` that holds.
    """
    notes = [[float(name in noted) for name in NOTES] for noted in geometry.notes]
    return {
        "points": np.nan_to_num(geometry.points, nan=0.0),
        "blendshapes": np.nan_to_num(geometry.blendshapes, nan=0.0),
        "presence": geometry.presence,
        "found": geometry.found.astype(np.float32),
        "faces": geometry.faces.astype(np.float32),
        "box": np.nan_to_num(geometry.box, nan=0.0),
        "notes": np.array(notes, np.float32).reshape(len(geometry), len(NOTES)),
    }


def geometry_of(arrays: Arrays) -> FaceGeometry:
    """Return the geometry that ``arrays_of`` was given, NaN where there is no face."""
    found = arrays["found"] > 0
    seen = np.asarray(arrays["box"].any(1))
    return FaceGeometry(
        np.where(found[:, None, None], arrays["points"], np.float32("nan")),
        np.where(found[:, None], arrays["blendshapes"], np.float32("nan")),
        arrays["presence"],
        found,
        arrays["faces"].astype(np.int64),
        np.where(seen[:, None], arrays["box"], np.float32("nan")),
        tuple(tuple(n for n, on in zip(NOTES, row, strict=True) if on) for row in arrays["notes"]),
    )
