"""Readers of AUs that see no pixel: geometry of a face minus geometry of its reference."""

from __future__ import annotations

import json
from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError, suggest
from aubench.facs import AUS
from aubench.networks.detectors.detector import PHOTOGRAPHS, PairedDetector
from aubench.networks.face_landmarker.archive import WEIGHTS as ARCHIVE
from aubench.networks.face_landmarker.change import Change, change
from aubench.networks.face_landmarker.head import GeometryHead
from aubench.networks.face_landmarker.landmarker import NOTES, FaceGeometry, FaceLandmarker
from aubench.networks.face_landmarker.names import BLENDSHAPES
from aubench.networks.face_landmarker.network import LandmarkNetwork, geometry_of
from aubench.networks.network import Arrays
from aubench.storage.files import sha256_bytes

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

NAMES = ("mp-zero", "mp-geo")
WEIGHTS = Path(__file__).with_name("weights")
FIT = "`aubench train-au-detector --preset mp-geo` fits one; or use mp-zero"

SHAPES: dict[int, tuple[str, ...]] = {
    1: ("browInnerUp",),
    2: ("browOuterUpLeft", "browOuterUpRight"),
    4: ("browDownLeft", "browDownRight"),
    7: ("eyeSquintLeft", "eyeSquintRight"),
    10: ("mouthUpperUpLeft", "mouthUpperUpRight"),
    12: ("mouthSmileLeft", "mouthSmileRight"),
    15: ("mouthFrownLeft", "mouthFrownRight"),
    17: ("mouthShrugLower",),
    24: ("mouthPressLeft", "mouthPressRight"),
}
"""Blendshapes that stand for an AU, whose mean is taken. AU6 has none: cheekSquint is 0 on every
face; AU14 and AU23 have none that follows them."""

MIDDLE, WIDTH = 0.1, 0.05
"""Difference of a blendshape that is read as probability 0.5, and the logistic's width: one for all
AUs, chosen by hand and fitted to nothing."""


@dataclass(frozen=True)
class Reading:
    """What a reader says of faces.

    Attributes:
        probabilities: float32 [N, 12]; NaN where an AU is masked or a face was not found.
        mask: bool [12], the AUs that the reader knows.
        found: bool [N], whether both the face and its reference were found.
        notes: what to know of each face, as in ``FaceGeometry.notes``, and ``no face in the
            reference``.
    """

    probabilities: Floats
    mask: npt.NDArray[np.bool_]
    found: npt.NDArray[np.bool_]
    notes: tuple[tuple[str, ...], ...]

    def unknown(self) -> tuple[int, ...]:
        """Return the numbers of the AUs that are masked."""
        return tuple(au for au, known in zip(AUS, self.mask, strict=True) if not known)


@dataclass(frozen=True)
class Reader(PairedDetector):
    """From the geometry of faces and of their references to the probabilities of the twelve AUs.

    Attributes:
        landmarker: the networks that measure geometry.
    """

    landmarker: FaceLandmarker

    @property
    def family(self) -> str:
        """``photographs``, whatever a head was fitted on: all that it sees are the points."""
        return PHOTOGRAPHS

    @abstractmethod
    def of_change(self, moved: Change) -> Floats:
        """Return probabilities float32 [N, 12] of what moved; NaN where unknown."""

    def compare(self, faces: Arrays, references: Arrays) -> Floats:
        """Return probabilities float32 [N, 12] of what ``LandmarkNetwork`` saw."""
        return self.of_geometry(geometry_of(faces), geometry_of(references)).probabilities

    def remarks(self, faces: Arrays) -> dict[str, int]:
        """Return how many of the faces that were found have each of ``landmarker.NOTES``."""
        counts = faces["notes"][faces["found"] > 0].sum(0).astype(int).tolist()
        return {name: n for name, n in zip(NOTES, counts, strict=True) if n}

    def read(
        self,
        images: Images,
        references: Images,
        rows: npt.NDArray[np.integer[Any]] | None = None,
    ) -> Reading:
        """Read faces against their references; the same in any batch.

        Args:
            images: uint8 RGB [N, H, W, 3].
            references: uint8 RGB [R, h, w, 3], the same persons' neutral faces.
            rows: the number of each face's reference, int [N]; 0 to N-1 if None.

        Raises:
            TypeError: another dtype or shape.
            ValueError: another number of references or rows than faces.
        """
        return self.of_geometry(
            self.landmarker.landmarks(images), self.landmarker.landmarks(references), rows
        )

    def of_geometry(
        self,
        faces: FaceGeometry,
        references: FaceGeometry,
        rows: npt.NDArray[np.integer[Any]] | None = None,
    ) -> Reading:
        """Return what ``read`` does, for geometry that is known already."""
        moved = change(faces, references, rows)
        at = np.arange(len(references)) if rows is None else rows
        missing = "no face in the reference"
        notes = tuple(
            note if references.found[i] else (*note, missing)
            for note, i in zip(faces.notes, at, strict=True)
        )
        return Reading(self.of_change(moved), self.mask, moved.found, notes)


@dataclass(frozen=True)
class ZeroReader(Reader):
    """Blendshapes that stand for AUs, minus the reference's; nothing was trained for it."""

    def of_change(self, moved: Change) -> Floats:
        """Return probabilities float32 [N, 12]: 0.5 at a difference of 0.1."""
        out = np.full((len(moved), len(AUS)), np.nan, np.float64)
        for au, names in SHAPES.items():
            columns = [BLENDSHAPES.index(name) for name in names]
            out[:, AUS.index(au)] = moved.blendshapes[:, columns].mean(1)
        return (1 / (1 + np.exp((MIDDLE - out) / WIDTH))).astype(np.float32)


@dataclass(frozen=True)
class GeometryReader(Reader):
    """A head on points and blendshapes, fitted on faces of a data set.

    Attributes:
        head: the fitted head.
    """

    head: GeometryHead

    def of_change(self, moved: Change) -> Floats:
        """Return probabilities float32 [N, 12]."""
        return self.head.probabilities(moved)


def zero_reader(landmarker: FaceLandmarker) -> ZeroReader:
    """Return ``mp-zero``."""
    card = {
        "name": "mp-zero",
        "shapes": {f"AU{au}": list(names) for au, names in SHAPES.items()},
        "probability": f"logistic, 0.5 at a difference of {MIDDLE}, width {WIDTH}",
        "trained on": "nothing of ours",
    }
    digest = sha256_bytes(json.dumps(card, sort_keys=True).encode())
    return ZeroReader(
        "mp-zero",
        f"mp-zero@{digest[:12]}/{landmarker.id}",
        digest,
        np.full(len(AUS), 0.5, np.float32),
        card,
        np.array([au in SHAPES for au in AUS], np.bool_),
        LandmarkNetwork(landmarker),
        landmarker,
    )


def geometry_reader(
    landmarker: FaceLandmarker, head: GeometryHead, digest: str, name: str = "mp-geo"
) -> GeometryReader:
    """Return the reader of a head; ``digest`` is its file's."""
    identity = f"{name}@{digest[:12]}/{landmarker.id}"
    return GeometryReader(
        name,
        identity,
        digest,
        head.thresholds,
        head.card,
        head.mask,
        LandmarkNetwork(landmarker),
        landmarker,
        head,
    )


def load(name: str, device: str, *, weights: Path | None = None, **options: Any) -> Reader:
    """Load ``mp-zero`` or ``mp-geo``, as the entry points of detectors do.

    Args:
        name: of the reader.
        device: torch device.
        weights: the file of a head, for ``mp-geo``.
        options: None; those of other detectors are passed over.

    Raises:
        MissingWeightsError: the landmarker was not fetched.
        AubenchError: missing, damaged or foreign weights; a head for ``mp-zero``.
    """
    if name == "mp-zero" and weights is not None:
        raise AubenchError("mp-zero has no weights of its own", "name a head as mp-geo=FILE")
    return load_reader(name, device, head=weights, landmarker=_landmarker(device))


def _landmarker(device: str) -> FaceLandmarker:
    from aubench.networks import external_weights

    path = external_weights.path(ARCHIVE)
    return _loaded(path, path.stat().st_mtime_ns, device)


@lru_cache(maxsize=2)
def _loaded(path: Path, _changed: int, device: str) -> FaceLandmarker:
    return FaceLandmarker.load(path, device)


def load_reader(
    name: str,
    device: str = "cpu",
    *,
    head: Path | None = None,
    landmarker: FaceLandmarker | None = None,
) -> Reader:
    """Load a reader.

    Args:
        name: ``mp-zero`` or ``mp-geo``.
        device: torch device.
        head: the file of ``mp-geo``'s head; the shipped one if None.
        landmarker: to share one that is loaded already.

    Raises:
        MissingWeightsError: the landmarker was not fetched.
        AubenchError: unknown name; missing, damaged or foreign weights.
    """
    if name not in NAMES:
        raise AubenchError(
            f"unknown reader '{name}'{suggest(name, NAMES)}", f"choose from {', '.join(NAMES)}"
        )
    if name == "mp-zero":
        return zero_reader(landmarker or FaceLandmarker.load(device=device))
    path = head or WEIGHTS / f"{name}.safetensors"
    fitted, digest = GeometryHead.load(path, FIT)
    return geometry_reader(landmarker or FaceLandmarker.load(device=device), fitted, digest)
