"""Detectors of AUs: of single faces, of faces held against a reference, and plain networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.networks.batches import check_images, padded, strict_float32
from aubench.networks.detectors.graphau.megraphau import MEGraphAU
from aubench.networks.detectors.graphau.opengraphau import OpenGraphAU
from aubench.networks.detectors.preparation import NANO, Preparation
from aubench.networks.network import Arrays, Network

WEIGHTS = Path(__file__).with_name("weights")
RENDERER, PHOTOGRAPHS = "renderer", "photographs"
"""Families of detectors, by what they were trained on: those of one err alike."""
MICRO_BATCH = 32


@dataclass(frozen=True)
class BaseDetector(ABC):
    """What is known of every detector of the twelve AUs.

    Attributes:
        name: Name of the architecture.
        id: Name, twelve digits of the digest, and how images are prepared; part of every metric id
            that uses it.
        sha256: Digest of the weights file.
        thresholds: float32 [12], a probability at or above it means the AU is present.
        card: What is known of it.
        mask: bool [12], the AUs that it knows; the probabilities of others are NaN.
    """

    name: str
    id: str
    sha256: str
    thresholds: npt.NDArray[np.float32]
    card: dict[str, Any]
    mask: npt.NDArray[np.bool_]

    @property
    def family(self) -> str:
        """``renderer`` where its card tells of a rendered data set, else ``photographs``."""
        return RENDERER if "synfacs" in str(self.card.get("data", "")) else PHOTOGRAPHS

    def unknown(self) -> tuple[int, ...]:
        """Return the numbers of the AUs that it does not know."""
        return tuple(au for au, known in zip(AUS, self.mask, strict=True) if not known)


@dataclass(frozen=True)
class Detector(BaseDetector):
    """From images to the probabilities of the twelve AUs.

    Attributes:
        finds_faces: Whether it looks for the face itself; a picture without one has NaN for every
            AU, and counts as failed where a generator made it.
    """

    finds_faces: ClassVar[bool] = False

    @abstractmethod
    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return float32 [N, 12] for uint8 RGB [N, H, W, 3]; the same in any batch."""

    def features(self, x: Tensor) -> Tensor:
        """Return differentiable AU features [B, M, C] of images [B, 3, H, W] in 0..1.

        M is the number of AUs that it knows (``mask``), in the order of the twelve.

        Raises:
            AubenchError: The detector has no AU-specific features.
        """
        raise AubenchError(f"detector '{self.name}' has no AU features", "use nano-a")


@dataclass(frozen=True)
class PairedDetector(BaseDetector):
    """From faces and reference faces of the same persons to the probabilities of the twelve AUs.

    It looks at each picture alone, through its ``network``, and compares what was seen. So a
    reference is looked at once, however many faces are held against it, what was seen is kept by
    content as of any network, and detectors that share a network share its pass.

    Attributes:
        network: What looks at single pictures; networks of one name are one network, with one id.
            Its arrays are finite: What there is none of is 0, and an array says so.
    """

    network: Network

    @abstractmethod
    def compare(self, faces: Arrays, references: Arrays) -> npt.NDArray[np.float32]:
        """Return probabilities float32 [N, 12] from what the network saw; the same in any batch.

        Args:
            faces: Arrays of the network, with N rows.
            references: Arrays of each face's reference, with N rows too.

        Returns:
            NaN in the columns of AUs that it does not know, and in all columns of a row where the
            face or its reference was not found.
        """

    def remarks(self, faces: Arrays) -> dict[str, int]:
        """Return how many of the faces that the network saw have what is worth knowing, by what."""
        return {}

    def probabilities_of(
        self, images: npt.NDArray[np.uint8], references: npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.float32]:
        """Return ``compare`` of uint8 RGB [N, H, W, 3] and their references, as many."""
        if len(images) != len(references):
            raise ValueError(f"{len(images)} faces, but {len(references)} references")
        return self.compare(self.network(images), self.network(references))


def calibrated(
    probabilities: npt.NDArray[np.float32], scale: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return probabilities [N, 12] after slope and offset [2, 12] of their logits."""
    p = np.clip(probabilities.astype(np.float64), 1e-6, 1 - 1e-6)
    logit = np.log(p / (1 - p)) * scale[0] + scale[1]
    return np.asarray(1 / (1 + np.exp(-logit)), np.float32)


@dataclass(frozen=True)
class NetworkDetector(Detector):
    """A detector that is one network.

    Attributes:
        network: Network from [B, 3, H, W] to probabilities.
        device: Torch device.
        columns: Outputs of the network for the AUs that it knows.
        preparation: Preparation from images to its input.
        micro_batch: Images a pass; always as many, so that no image depends on its company.
        scale: Slope and offset of the logit of each AU, float32 [2, 12], fitted on subjects it did
            not learn from; None where its probabilities are the network's own.
    """

    network: nn.Module
    device: str
    columns: tuple[int, ...] = tuple(range(len(AUS)))
    preparation: Preparation = NANO
    micro_batch: int = MICRO_BATCH
    scale: npt.NDArray[np.float32] | None = None

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return float32 [N, 12] for uint8 RGB [N, H, W, 3]; the same in any batch."""
        check_images(images)
        out = np.full((len(images), len(AUS)), np.nan, np.float32)
        with strict_float32(self.device):
            for i in range(0, len(images), self.micro_batch):
                part = self.preparation.pixels(images[i : i + self.micro_batch])
                whole = np.ascontiguousarray(padded(part, self.micro_batch))
                x = torch.from_numpy(whole).to(self.device)
                x = self.preparation.normalise(x.permute(0, 3, 1, 2).float() / 255)
                p = self.network(x).float().cpu().numpy()
                out[i : i + len(part), self.mask] = p[: len(part), self.columns]
        return out if self.scale is None else calibrated(out, self.scale)

    def features(self, x: Tensor) -> Tensor:
        """Return differentiable AU features [B, M, C] of images [B, 3, H, W] in 0..1."""
        if not isinstance(self.network, MEGraphAU | OpenGraphAU):
            return super().features(x)
        return self.network.features(self.preparation.tensor(x))[:, self.columns]
