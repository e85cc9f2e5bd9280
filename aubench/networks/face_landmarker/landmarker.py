"""Detector, points and blendshapes of faces, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from aubench.networks.batches import check_images, strict_float32
from aubench.networks.face_landmarker.archive import WEIGHTS, graphs
from aubench.networks.face_landmarker.detection import Detection, decode, joined
from aubench.networks.face_landmarker.names import (
    BLENDSHAPE_POINTS,
    BLENDSHAPES,
    LEFT_EYE,
    NOSE_TIP,
    POINTS,
    RIGHT_EYE,
)
from aubench.networks.face_landmarker.operators import Network
from aubench.networks.face_landmarker.regions import PADDING, Region, view
from aubench.storage.files import sha256_file

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

MICRO_BATCH = 2
"""Inputs a pass, always as many; more gain nothing on a core and make single pictures slow."""

MINIMUM_PRESENCE = 0.5
LARGE = 0.5
"""Side of a face, as a share of the picture's longer one, from which it fills the picture."""

SMALL = 48
"""Pixels of the box below which points are too coarse to be read."""

TURNED = 0.35
"""Nose to outer corner of the nearer eye, as a share of the way between the outer corners, across;
below it the face is a profile."""


NOTES = ("no face", "several faces", "at the border", "profile", "small", "greyscale")
"""What is noted of an image, in this order."""


@dataclass(frozen=True)
class FaceGeometry:
    """Points and blendshapes of the largest face of each image; NaN where there is none.

    Attributes:
        points: float32 [N, 478, 3], pixels (x, y) of the image, corners of pixels at whole
            numbers, and depth in the same unit.
        blendshapes: float32 [N, 52], 0..1, in the order of ``BLENDSHAPES``.
        presence: float32 [N], the landmark network's probability of a face.
        found: bool [N], whether the detector saw a face and the landmark network too.
        faces: int64 [N], how many the detector saw.
        box: float32 [N, 4], left, top, right, bottom of the largest, pixels.
        notes: for each image what to know of it, of ``NOTES``.
    """

    points: Floats
    blendshapes: Floats
    presence: Floats
    found: npt.NDArray[np.bool_]
    faces: npt.NDArray[np.int64]
    box: Floats
    notes: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.found)

    def counts(self) -> dict[str, int]:
        """Return how many images have each note, the most frequent first."""
        every = [note for notes in self.notes for note in notes]
        return dict(sorted(((n, every.count(n)) for n in set(every)), key=lambda p: (-p[1], p[0])))


@dataclass(frozen=True)
class FaceLandmarker:
    """MediaPipe's face landmarker, of the archive ``face_landmarker.task``.

    Attributes:
        detector: from [B, 128, 128, 3] in -1..1 to [B, 896, 16] and [B, 896, 1].
        landmarks_network: from [B, 256, 256, 3] in 0..1 to [B, 1, 1, 1434] and the logit of a face.
        blendshape_network: from [B, 146, 2] to [B, 52].
        sha256: digest of the archive.
        device: torch device.
    """

    detector: nn.Module
    landmarks_network: nn.Module
    blendshape_network: nn.Module
    sha256: str
    device: str = "cpu"

    @classmethod
    def load(cls, path: Path | None = None, device: str = "cpu") -> FaceLandmarker:
        """Load the networks.

        Args:
            path: the archive; the fetched one if None.
            device: torch device.

        Raises:
            MissingWeightsError: the archive was not fetched.
            AubenchError: it is damaged or another one.
        """
        if path is None:
            from aubench.networks import external_weights as weights

            path = weights.path(WEIGHTS)
        parts = {name: Network(graph).eval().to(device) for name, graph in graphs(path).items()}
        return cls(
            parts["face_detector"],
            parts["face_landmarks_detector"],
            parts["face_blendshapes"],
            sha256_file(path),
            device,
        )

    @property
    def id(self) -> str:
        """Name and twelve digits of the digest, for metric ids."""
        return f"{WEIGHTS}@{self.sha256[:12]}"

    def detect(self, images: Images) -> list[list[Detection]]:
        """Return the faces of each image, largest first.

        Every image is seen padded, for crops of one face; where no face fills half of its longer
        side, as it is too, for small faces.

        Args:
            images: uint8 RGB [N, H, W, 3].

        Raises:
            TypeError: another dtype or shape.
        """
        check_images(images)
        with strict_float32(self.device):
            return [faces for part in self._parts(images) for faces in self._detect(part)]

    def landmarks(self, images: Images) -> FaceGeometry:
        """Return points and blendshapes of the largest face of each image.

        Args:
            images: uint8 RGB [N, H, W, 3].

        Raises:
            TypeError: another dtype or shape.
        """
        faces = self.detect(images)
        points = np.full((len(images), POINTS, 3), np.nan, np.float32)
        shapes = np.full((len(images), len(BLENDSHAPES)), np.nan, np.float32)
        presence, box = np.zeros(len(images), np.float32), np.full((len(images), 4), np.nan)
        rows = [i for i, found in enumerate(faces) if found]
        with strict_float32(self.device):
            for start in range(0, len(rows), MICRO_BATCH):
                part = rows[start : start + MICRO_BATCH]
                regions = [Region.around(faces[i][0]) for i in part]
                points[part], presence[part] = self._points(images[part], regions)
                shapes[part] = self._blendshapes(points[part])
                box[part] = [faces[i][0].box for i in part]
        found = presence >= MINIMUM_PRESENCE
        points[~found], shapes[~found] = np.nan, np.nan
        count = np.array([len(each) for each in faces], np.int64)
        notes = tuple(
            _notes(image, int(n), seen, at, where)
            for image, n, seen, at, where in zip(images, count, found, points, box, strict=True)
        )
        return FaceGeometry(points, shapes, presence, found, count, box.astype(np.float32), notes)

    def _parts(self, images: Images) -> Iterator[Images]:
        for i in range(0, len(images), MICRO_BATCH):
            yield images[i : i + MICRO_BATCH]

    def _run(
        self, network: nn.Module, inputs: Sequence[Tensor], batch: int = MICRO_BATCH
    ) -> list[Floats]:
        """Return a network's outputs for at most ``batch`` inputs."""
        rows = [*inputs, *[inputs[-1]] * (batch - len(inputs))]
        outputs: list[Tensor] = network(torch.stack(rows))
        return [out[: len(inputs)].float().cpu().numpy() for out in outputs]

    def _detect(self, images: Images) -> list[list[Detection]]:
        found = self._seen(images, PADDING)
        # A face that fills its picture is the one that is meant; no small ones are looked for.
        longest = max(images.shape[1:3])
        rest = [
            i
            for i, seen in enumerate(found)
            if not any(face.side > LARGE * longest for face in seen)
        ]
        if rest:
            for i, plain in zip(rest, self._seen(images[rest], 0.0), strict=True):
                found[i] = joined(found[i], plain)
        return [joined(seen, []) for seen in found]

    def _seen(self, images: Images, padding: float) -> list[list[Detection]]:
        views = [view(image, padding, self.device) for image in images]
        rows, logits = self._run(self.detector, [each.pixels for each in views])
        return [
            [seen.to_image(face) for face in decode(row, logit[:, 0])]
            for seen, row, logit in zip(views, rows, logits, strict=True)
        ]

    def _points(self, images: Images, regions: Sequence[Region]) -> tuple[Floats, Floats]:
        inputs = [
            region.pixels(image, self.device) for image, region in zip(images, regions, strict=True)
        ]
        flat, logit, *_ = self._run(self.landmarks_network, inputs)
        points = [
            region.to_image(row.reshape(POINTS, 3))
            for region, row in zip(regions, flat, strict=True)
        ]
        presence = 1 / (1 + np.exp(-logit.reshape(len(logit))))
        return np.array(points, np.float32), presence.astype(np.float32)

    def _blendshapes(self, points: Floats) -> Floats:
        chosen = torch.from_numpy(points[:, BLENDSHAPE_POINTS, :2]).to(self.device)
        # One by one: in the products of this network a row's last bit depends on its place.
        parts = [self._run(self.blendshape_network, [one], 1)[0] for one in chosen]
        return np.concatenate(parts)


def _notes(
    image: Images, faces: int, found: bool, points: Floats, box: npt.NDArray[np.float64]
) -> tuple[str, ...]:
    """Return what to know of an image."""
    high, wide = image.shape[:2]
    grey = bool((image[..., 0] == image[..., 1]).all() and (image[..., 1] == image[..., 2]).all())
    if not found:
        return ("no face", *(["greyscale"] if grey else []))
    outside = (points[:, :2] < 0) | (points[:, :2] > (wide, high))
    checks = {
        "several faces": faces > 1,
        "at the border": bool(outside.any()),
        "profile": profile(points),
        "small": max(box[2] - box[0], box[3] - box[1]) < SMALL,
        "greyscale": grey,
    }
    return tuple(name for name, holds in checks.items() if holds)


def profile(points: Floats) -> bool:
    """Whether a face [478, 3] is turned so far that one half hides the other."""
    right, left = points[RIGHT_EYE[0]], points[LEFT_EYE[0]]
    along = (left - right)[:2]
    across = float(((points[NOSE_TIP] - right)[:2] * along).sum() / max((along**2).sum(), 1e-6))
    return min(across, 1 - across) < 0.5 - TURNED
