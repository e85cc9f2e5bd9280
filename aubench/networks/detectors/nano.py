"""The two small detectors of synfacs, trained here and shipped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.networks.detectors.detector import WEIGHTS, Detector, NetworkDetector
from aubench.networks.detectors.graphau import checkpoints
from aubench.networks.detectors.graphau.backbones import PooledPyramid, ResidualTokens
from aubench.networks.detectors.graphau.checkpoints import Layout
from aubench.networks.detectors.graphau.megraphau import MEGraphAU
from aubench.networks.detectors.graphau.opengraphau import MAIN
from aubench.networks.detectors.registry import GROUP
from aubench.storage.shipped import restore


def _nano_a() -> nn.Module:
    return MEGraphAU(ResidualTokens(), ResidualTokens.width, 96)


def _nano2_a() -> nn.Module:
    return MEGraphAU(ResidualTokens(placed=True), ResidualTokens.width, 96)


def _nano2_b() -> nn.Module:
    return PooledPyramid(side=96)


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "nano-a": _nano_a,
    "nano-b": PooledPyramid,
    "nano2-a": _nano2_a,
    "nano2-b": _nano2_b,
}
"""Detectors by name: ME-GraphAU's head on a small residual network; an unrelated pyramid, in the
second pair at another resolution."""


def build(name: str) -> nn.Module:
    """Return an untrained network: ``nano-a``, ``nano-b``, or ``family:backbone:stage``.

    Raises:
        AubenchError: The name is unknown or does not tell backbone and stage.
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]()
    if name.partition(":")[0] not in checkpoints.FAMILIES:
        GROUP.point(name)  # says which there are
        raise AubenchError(f"detector '{name}' is not built here")
    family, backbone, stage = checkpoints.parse(name)
    if backbone is None or stage is None:
        raise AubenchError(
            f"'{name}' does not tell backbone and stage", f"for example {family}:resnet50:anfl"
        )
    return Layout(family, backbone, stage, 12 if family == "me-graphau" else len(MAIN)).build()


def load(
    name: str,
    device: str,
    *,
    weights: Path | None = None,
    folder: Path = WEIGHTS,
    **options: Any,
) -> Detector:
    """Load a nano detector.

    Args:
        name: ``nano-a``, the primary detector, or ``nano-b``, the independent one.
        device: Torch device.
        weights: The file, in place of the shipped one.
        folder: Where ``<name>.safetensors`` and ``<name>.card.json`` lie.
        options: None; those of other detectors are passed over.

    Raises:
        AubenchError: Missing, truncated or foreign weights, or a wrong digest.
    """
    path = weights or folder / f"{name}.safetensors"
    network = build(name)
    remedy = f"`aubench train-au-detector --preset {name}`"
    digest, card = restore(network, path, f"detector '{name}'", remedy, device)
    thresholds = np.array(card["thresholds"], np.float32)
    mask = np.ones(len(AUS), np.bool_)
    scale = np.array(card["calibration"], np.float32) if "calibration" in card else None
    return NetworkDetector(
        name, f"{name}@{digest[:12]}", digest, thresholds, card, mask, network, device, scale=scale
    )
