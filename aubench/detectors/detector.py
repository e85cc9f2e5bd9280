"""Loading and running a detector: fixed micro-batch, float32, digest-checked weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aubench.detectors.backbones import PooledPyramid, ResidualTokens
from aubench.detectors.megraphau import MEGraphAU
from aubench.errors import AubenchError, suggest
from aubench.files import sha256_file

WEIGHTS = Path(__file__).with_name("weights")
SIDE = 128
MICRO_BATCH = 32
MEAN, SPREAD = 0.5, 0.25


def _nano_a() -> nn.Module:
    return MEGraphAU(ResidualTokens(), ResidualTokens.width, 96)


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {"nano-a": _nano_a, "nano-b": PooledPyramid}
"""Detectors by name: ME-GraphAU's head on a small residual network; an unrelated pyramid."""


def build(name: str) -> nn.Module:
    """Return an untrained network.

    Raises:
        AubenchError: the name is unknown.
    """
    if name not in ARCHITECTURES:
        raise AubenchError(
            f"unknown detector '{name}'{suggest(name, ARCHITECTURES)}",
            f"choose from {', '.join(ARCHITECTURES)}",
        )
    return ARCHITECTURES[name]()


def normalise(x: Tensor) -> Tensor:
    """Return the network's input of images float [B, 3, H, W] in 0..1, resized to 128 px."""
    if x.shape[-2:] != (SIDE, SIDE):
        x = F.interpolate(
            x, (SIDE, SIDE), mode="bicubic", antialias=True, align_corners=False
        ).clamp(0, 1)
    return (x - MEAN) / SPREAD


@dataclass(frozen=True)
class Detector:
    """A trained detector.

    Attributes:
        name: of the architecture.
        id: name and twelve digits of the digest; part of every metric id that uses it.
        sha256: digest of the weights file.
        thresholds: float32 [12], a probability at or above it means the AU is present.
        card: the card beside the weights.
    """

    name: str
    id: str
    sha256: str
    thresholds: npt.NDArray[np.float32]
    card: dict[str, Any]
    network: nn.Module
    device: str

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return float32 [N, 12] for uint8 RGB [N, H, W, 3]; the same in any batch."""
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise TypeError(f"want uint8 [N, H, W, 3], got {images.dtype} {images.shape}")
        out = np.empty((len(images), 12), np.float32)
        with torch.inference_mode():
            for i in range(0, len(images), MICRO_BATCH):
                part = images[i : i + MICRO_BATCH]
                short = MICRO_BATCH - len(part)
                padded = np.concatenate([part, np.repeat(part[-1:], short, 0)]) if short else part
                x = torch.from_numpy(np.ascontiguousarray(padded)).to(self.device)
                x = x.permute(0, 3, 1, 2).float() / 255
                p = self.network(normalise(x)).float().cpu().numpy()
                out[i : i + len(part)] = p[: len(part)]
        return out

    def features(self, x: Tensor) -> Tensor:
        """Return differentiable AU features [B, 12, C] of images [B, 3, H, W] in 0..1.

        Raises:
            AubenchError: the detector has no AU-specific features.
        """
        if not isinstance(self.network, MEGraphAU):
            raise AubenchError(f"detector '{self.name}' has no AU features", "use nano-a")
        return self.network.features(normalise(x))


def load(name: str = "nano-a", device: str = "cpu", folder: Path = WEIGHTS) -> Detector:
    """Load a detector with its weights.

    Args:
        name: ``nano-a`` (first detector) or ``nano-b`` (second, independent).
        device: torch device.
        folder: where ``<name>.safetensors`` and ``<name>.card.json`` lie.

    Raises:
        AubenchError: unknown name, missing, truncated or foreign weights, wrong digest.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    network = build(name)
    path, card_path = folder / f"{name}.safetensors", folder / f"{name}.card.json"
    if not path.is_file() or not card_path.is_file():
        raise AubenchError(
            f"no weights of detector '{name}' at {path}",
            f"`aubench train-au-detector --preset {name}`",
        )
    card = json.loads(card_path.read_text(encoding="utf-8"))
    digest = sha256_file(path)
    if digest != card["sha256"]:
        raise AubenchError(
            f"{path} has sha256 {digest[:12]}, its card says {card['sha256'][:12]}",
            "restore the file",
        )
    try:
        state = {
            key: value.float() if value.is_floating_point() else value
            for key, value in load_file(path).items()
        }
        network.load_state_dict(state, strict=True)
    except (SafetensorError, RuntimeError, OSError) as error:
        first = str(error).splitlines()[0]
        raise AubenchError(f"{path} does not hold detector '{name}': {first}") from error
    network.eval().requires_grad_(False).to(device)
    thresholds = np.array(card["thresholds"], np.float32)
    return Detector(name, f"{name}@{digest[:12]}", digest, thresholds, card, network, device)
