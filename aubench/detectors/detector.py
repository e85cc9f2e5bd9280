"""Loading and running a detector: fixed micro-batch, float32, digest-checked weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from aubench.batches import check_images, exactly, padded
from aubench.detectors import checkpoints
from aubench.detectors.backbones import PooledPyramid, ResidualTokens
from aubench.detectors.checkpoints import Layout
from aubench.detectors.megraphau import Graph, MEGraphAU
from aubench.detectors.opengraphau import MAIN, OpenGraphAU
from aubench.detectors.preparation import NANO, PAPER, Preparation, normalise
from aubench.errors import AubenchError, suggest
from aubench.facs import AUS
from aubench.files import read_card, sha256_file
from aubench.shipped import restore

__all__ = ["Detector", "NetworkDetector", "build", "load", "normalise"]

WEIGHTS = Path(__file__).with_name("weights")
MICRO_BATCH = 32
PAPER_MICRO_BATCH = 16

CLASSES: dict[int, tuple[int, ...]] = {12: AUS, 8: (1, 2, 4, 6, 9, 12, 25, 26)}
"""AU numbers by number of classes: BP4D's twelve, DISFA's eight."""


def _nano_a() -> nn.Module:
    return MEGraphAU(ResidualTokens(), ResidualTokens.width, 96)


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {"nano-a": _nano_a, "nano-b": PooledPyramid}
"""Detectors by name: ME-GraphAU's head on a small residual network; an unrelated pyramid."""

NAMES = (*ARCHITECTURES, *checkpoints.FAMILIES, "py-feat")


def _unknown(name: str) -> AubenchError:
    return AubenchError(
        f"unknown detector '{name}'{suggest(name, NAMES)}", f"choose from {', '.join(NAMES)}"
    )


def build(name: str) -> nn.Module:
    """Return an untrained network: ``nano-a``, ``nano-b``, or ``family:backbone:stage``.

    Raises:
        AubenchError: the name is unknown or does not tell backbone and stage.
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]()
    if name.partition(":")[0] not in checkpoints.FAMILIES:
        raise _unknown(name)
    family, backbone, stage = checkpoints.parse(name)
    if backbone is None or stage is None:
        raise AubenchError(
            f"'{name}' does not tell backbone and stage", f"for example {family}:resnet50:anfl"
        )
    return Layout(family, backbone, stage, 12 if family == "me-graphau" else len(MAIN)).build()


@dataclass(frozen=True)
class Detector(ABC):
    """From images to the probabilities of the twelve AUs.

    Attributes:
        name: of the architecture.
        id: name, twelve digits of the digest, and how images are prepared; part of every metric
            id that uses it.
        sha256: digest of the weights file.
        thresholds: float32 [12], a probability at or above it means the AU is present.
        card: what is known of it.
        mask: bool [12], the AUs that it knows; the probabilities of others are NaN.
    """

    name: str
    id: str
    sha256: str
    thresholds: npt.NDArray[np.float32]
    card: dict[str, Any]
    mask: npt.NDArray[np.bool_]

    @abstractmethod
    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return float32 [N, 12] for uint8 RGB [N, H, W, 3]; the same in any batch."""

    def features(self, x: Tensor) -> Tensor:
        """Return differentiable AU features [B, M, C] of images [B, 3, H, W] in 0..1.

        M is the number of AUs that it knows (``mask``), in the order of the twelve.

        Raises:
            AubenchError: the detector has no AU-specific features.
        """
        raise AubenchError(f"detector '{self.name}' has no AU features", "use nano-a")


@dataclass(frozen=True)
class NetworkDetector(Detector):
    """A detector that is one network.

    Attributes:
        network: from [B, 3, H, W] to probabilities.
        device: torch device.
        columns: outputs of the network for the AUs that it knows.
        preparation: from images to its input.
        micro_batch: images a pass; always as many, so that no image depends on its company.
    """

    network: nn.Module
    device: str
    columns: tuple[int, ...] = tuple(range(len(AUS)))
    preparation: Preparation = NANO
    micro_batch: int = MICRO_BATCH

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return float32 [N, 12] for uint8 RGB [N, H, W, 3]; the same in any batch."""
        check_images(images)
        out = np.full((len(images), len(AUS)), np.nan, np.float32)
        with exactly(self.device):
            for i in range(0, len(images), self.micro_batch):
                part = self.preparation.pixels(images[i : i + self.micro_batch])
                whole = np.ascontiguousarray(padded(part, self.micro_batch))
                x = torch.from_numpy(whole).to(self.device)
                x = self.preparation.normalise(x.permute(0, 3, 1, 2).float() / 255)
                p = self.network(x).float().cpu().numpy()
                out[i : i + len(part), self.mask] = p[: len(part), self.columns]
        return out

    def features(self, x: Tensor) -> Tensor:
        """Return differentiable AU features [B, M, C] of images [B, 3, H, W] in 0..1."""
        if not isinstance(self.network, MEGraphAU | OpenGraphAU):
            return super().features(x)
        return self.network.features(self.preparation.tensor(x))[:, self.columns]


def load(
    name: str = "nano-a",
    device: str = "cpu",
    folder: Path = WEIGHTS,
    *,
    weights: Path | str | None = None,
    aus: Sequence[int] | None = None,
    neighbours: int | None = None,
) -> Detector:
    """Load a detector with its weights.

    Args:
        name: ``nano-a`` (first detector), ``nano-b`` (second, independent),
            ``me-graphau[:backbone[:stage]]``, ``open-graphau[:backbone[:stage]]`` (what is left
            out is taken from the file), ``py-feat[:xgb|:svm]``.
        device: torch device.
        folder: where ``<name>.safetensors`` and ``<name>.card.json`` of a nano detector lie.
        weights: the file; of the graph networks a published checkpoint or one of the same form.
        aus: AU numbers of a ``me-graphau`` file's classes, if neither BP4D's 12 nor DISFA's 8.
        neighbours: K of the first stage's graph, which the file does not hold; 4, or 3 for 8 AUs.

    Raises:
        AubenchError: unknown name, missing, truncated or foreign weights, wrong digest, wrong
            number of classes; py-feat is not installed.
    """
    family, file = name.partition(":")[0], Path(weights) if weights is not None else None
    if family in checkpoints.FAMILIES:
        return _load_graph(name, device, file, aus, neighbours)
    if family == "py-feat":
        from aubench.detectors.pyfeat import load_pyfeat

        return load_pyfeat(name, device)
    return _load_nano(name, device, file or folder / f"{name}.safetensors")


def _load_nano(name: str, device: str, path: Path) -> Detector:
    if name not in ARCHITECTURES:
        raise _unknown(name)
    network = build(name)
    remedy = f"`aubench train-au-detector --preset {name}`"
    digest, card = restore(network, path, f"detector '{name}'", remedy, device)
    thresholds = np.array(card["thresholds"], np.float32)
    mask = np.ones(len(AUS), np.bool_)
    return NetworkDetector(
        name, f"{name}@{digest[:12]}", digest, thresholds, card, mask, network, device
    )


def _known_aus(layout: Layout, aus: Sequence[int] | None, path: Path) -> tuple[int, ...]:
    """Return the AU numbers of a network's main outputs."""
    if layout.family == "open-graphau":
        return MAIN
    named = tuple(aus) if aus is not None else CLASSES.get(layout.classes)
    if named is None:
        raise AubenchError(
            f"{path} has {layout.classes} classes, neither BP4D's 12 nor DISFA's 8",
            "name their AUs",
        )
    if len(named) != layout.classes or len(set(named)) < len(named):
        raise AubenchError(
            f"{path} has {layout.classes} classes, {len(named)} AUs were named",
            "name each class's AU once",
        )
    if not set(named).intersection(AUS):
        raise AubenchError(f"{path} knows none of the AUs {', '.join(map(str, AUS))}")
    return named


def _load_graph(
    name: str, device: str, path: Path | None, aus: Sequence[int] | None, neighbours: int | None
) -> Detector:
    checkpoints.parse(name)
    if path is None:
        raise AubenchError(
            f"detector '{name}' needs its checkpoint", "give weights=PATH, a file of its authors"
        )
    network, layout = checkpoints.load(path, name, neighbours)
    known = _known_aus(layout, aus, path)
    columns = tuple(known.index(au) for au in AUS if au in known)
    digest, beside = sha256_file(path), path.with_suffix(".card.json")
    gnn = network.head.gnn
    card: dict[str, Any] = {
        "name": layout.name,
        "scale": "paper",
        "sha256": digest,
        "input": PAPER.id,
        "classes": [f"AU{au}" for au in known],
        "neighbours": gnn.neighbours if isinstance(gnn, Graph) else None,
        "thresholds": [0.5] * len(AUS),
    }
    if beside.is_file():
        card |= read_card(beside, digest)
    graph = f"|k={gnn.neighbours}" if isinstance(gnn, Graph) else ""
    identity = f"{layout.name}@{digest[:12]}{graph}|{PAPER.id}"
    thresholds = np.array(card["thresholds"], np.float32)
    mask = np.array([au in known for au in AUS], np.bool_)
    return NetworkDetector(
        layout.name, identity, digest, thresholds, card, mask, network.to(device), device,
        columns, PAPER, PAPER_MICRO_BATCH,
    )  # fmt: skip
