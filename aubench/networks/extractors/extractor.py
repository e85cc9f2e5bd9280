"""Feature extractors of FID, KID, IS and PRDC; each is named in every number it takes part in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from aubench.datasets import default_networks
from aubench.networks.batches import check_images, padded, strict_float32

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
        TypeError: Another dtype or shape.
    """
    check_images(images)
    # A copy: arrays of a decoder may be read-only, which torch does not take.
    return torch.from_numpy(images.copy()).to(device).permute(0, 3, 1, 2).float()


def in_micro_batches(
    images: npt.NDArray[np.uint8], device: str, run: Callable[[Tensor], dict[str, Tensor]]
) -> Arrays:
    """Run a network over images uint8 [N, H, W, 3] in padded batches of one size."""
    parts: dict[str, list[npt.NDArray[np.float32]]] = {}
    with strict_float32(device):
        for i in range(0, len(images), MICRO_BATCH):
            part = images[i : i + MICRO_BATCH]
            for name, value in run(to_tensor(padded(part, MICRO_BATCH), device)).items():
                parts.setdefault(name, []).append(value[: len(part)].float().cpu().numpy())
    return {name: np.concatenate(values) for name, values in parts.items()}


@dataclass(frozen=True)
class Extractor:
    """A frozen network from faces to ``features`` [N, D] and, of a classifier, ``logits`` [N, K].

    Attributes:
        name: Name as in metric ids.
        id: Name and way of resizing.
        sha256: Digest of the weights.
    """

    name: str
    id: str
    sha256: str
    device: str
    run: Callable[[Tensor], dict[str, Tensor]]

    def __call__(self, images: npt.NDArray[np.uint8]) -> Arrays:
        """Return float32 arrays with N rows for uint8 RGB [N, H, W, 3]."""
        return in_micro_batches(images, self.device, self.run)


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Identity:
    """Put a batch norm's constants into the convolution before it; return what replaces it."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    conv.requires_grad_(False)
    return nn.Identity()


def extractor_of(dataset: str) -> str:
    """Return the extractor of a data set's headline metrics."""
    return default_networks(dataset).extractor
