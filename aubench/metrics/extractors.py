"""Feature extractors of FID, KID, IS and PRDC; each is named in every number it takes part in."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from aubench.batches import check_images, exactly, padded
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
    check_images(images)
    # A copy: arrays of a decoder may be read-only, which torch does not take.
    return torch.from_numpy(images.copy()).to(device).permute(0, 3, 1, 2).float()


def in_micro_batches(
    images: npt.NDArray[np.uint8], device: str, run: Callable[[Tensor], dict[str, Tensor]]
) -> Arrays:
    """Run a network over images uint8 [N, H, W, 3] in padded batches of one size."""
    parts: dict[str, list[npt.NDArray[np.float32]]] = {}
    with exactly(device):
        for i in range(0, len(images), MICRO_BATCH):
            part = images[i : i + MICRO_BATCH]
            for name, value in run(to_tensor(padded(part, MICRO_BATCH), device)).items():
                parts.setdefault(name, []).append(value[: len(part)].float().cpu().numpy())
    return {name: np.concatenate(values) for name, values in parts.items()}


@dataclass(frozen=True)
class Extractor:
    """A frozen network from faces to ``features`` [N, D] and, of a classifier, ``logits`` [N, K].

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


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Identity:
    """Put a batch norm's constants into the convolution before it; return what replaces it."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps,
        norm.weight, norm.bias,
    )  # fmt: skip
    conv.requires_grad_(False)
    return nn.Identity()


def _quicken(network: Any) -> None:
    """Fold EfficientNet-Lite's batch norms and pad where the kernel pads: 4 x faster on a CPU.

    The same function up to float32 rounding (5e-5 on features up to 6).
    """
    network._bn0 = _fold(network._conv_stem, network._bn0)
    network._bn1 = _fold(network._conv_head, network._bn1)
    for block in network._blocks:
        if hasattr(block, "_expand_conv"):
            block._bn0 = _fold(block._expand_conv, block._bn0)
        block._bn1 = _fold(block._depthwise_conv, block._bn1)
        block._bn2 = _fold(block._project_conv, block._bn2)
        left, right, top, bottom = getattr(
            block._depthwise_conv.static_padding, "padding", (0, 1, 0, 1)
        )
        if left == right and top == bottom:
            block._depthwise_conv.padding = (top, left)
            block._depthwise_conv.static_padding = nn.Identity()
    for module in network.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = True


def _efficientnet(device: str) -> Extractor:
    from efficientnet_lite_pytorch import EfficientNet

    from aubench import weights

    file = weights.path("efficientnet-lite0")
    network: Any = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    network.eval().requires_grad_(False)
    _quicken(network)
    network.to(device, memory_format=torch.channels_last)
    head: nn.Module = network._fc

    def run(x: Tensor) -> dict[str, Tensor]:
        scaled = (clean_resize(x, 224) - 127) / 128
        maps = network.extract_features(scaled.contiguous(memory_format=torch.channels_last))
        pooled = maps.mean((2, 3))
        return {"features": pooled, "logits": head(pooled)}

    name = "efficientnet-lite0"
    return Extractor(name, f"{name}|{PREPROC}", sha256_file(file), device, run)


def _inception_network(file: Path) -> Any:
    """Build torch-fidelity's network from a file of plain tensors.

    Its own loader would unpickle anything; here the file is read restricted first.

    Raises:
        AubenchError: the file holds something else.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        plain = io.BytesIO()
        torch.save(state, plain)
        plain.seek(0)
        network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=plain
        )
    except (RuntimeError, pickle.UnpicklingError, EOFError, AttributeError) as error:
        raise AubenchError(
            f"{file} is not Inception 2015-12-05",
            "`aubench weights fetch inception-2015-12-05`",
        ) from error
    return network.eval().requires_grad_(False)


def folded_inception(network: Any) -> Any:
    """Fold the batch norms of torch-fidelity's Inception; return it.

    With the channels last, too, a third faster on a CPU; 3e-7 away from torch-fidelity's own.
    """
    for module in network.modules():
        if type(module).__name__ == "BasicConv2d":
            module.bn = _fold(module.conv, module.bn)
    return network


INCEPTION_TRUNK = (
    "Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1",
    "Conv2d_4a_3x3", "MaxPool_2", "Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b",
    "Mixed_6c", "Mixed_6d", "Mixed_6e", "Mixed_7a", "Mixed_7b", "Mixed_7c", "AvgPool",
)  # fmt: skip


def inception_outputs(network: Any, pixels: Tensor) -> dict[str, Tensor]:
    """Run torch-fidelity's Inception over float [B, 3, 299, 299] in 0..255.

    Its own ``forward`` takes only uint8, which would round the resized pixels a second time. The
    logits are those without bias, from which Inception Scores are usually computed.
    """
    x = (pixels - 128) / 128
    for name in INCEPTION_TRUNK:
        x = getattr(network, name)(x)
    pooled = x.flatten(1)
    return {"features": pooled, "logits": pooled @ network.fc.weight.T}


def _inception(device: str) -> Extractor:
    from aubench import weights

    file = weights.path("inception-2015-12-05")
    network = folded_inception(_inception_network(file))
    network.to(device, memory_format=torch.channels_last)

    def run(x: Tensor) -> dict[str, Tensor]:
        pixels = clean_resize(x, 299).contiguous(memory_format=torch.channels_last)
        return inception_outputs(network, pixels)

    name = "inception-2015-12-05"
    return Extractor(name, f"{name}|{PREPROC}", sha256_file(file), device, run)


def _clip(name: str) -> Callable[[str], Extractor]:
    def build(device: str) -> Extractor:
        from aubench.metrics.vision_transformers import clip

        return clip(name, device)

    return build


def _dinov2(name: str) -> Callable[[str], Extractor]:
    def build(device: str) -> Extractor:
        from aubench.metrics.vision_transformers import dinov2

        return dinov2(name, device)

    return build


BUILDERS: dict[str, Callable[[str], Extractor]] = {
    "efficientnet-lite0": _efficientnet,
    "inception-2015-12-05": _inception,
    **{name: _clip(name) for name in ("clip-vit-b-32", "clip-vit-b-16", "clip-vit-l-14")},
    **{name: _dinov2(name) for name in ("dinov2-vit-s-14", "dinov2-vit-b-14", "dinov2-vit-l-14")},
}


def check_extractor(name: str) -> None:
    """Refuse a name that is no extractor's.

    Raises:
        AubenchError: the name is unknown.
    """
    if name not in BUILDERS:
        raise AubenchError(
            f"unknown extractor '{name}'{suggest(name, BUILDERS)}",
            f"choose from {', '.join(BUILDERS)}",
        )


@lru_cache(maxsize=2)
def load_extractor(name: str, device: str = "cpu") -> Extractor:
    """Load an extractor; never another in its place.

    Raises:
        AubenchError: the name is unknown.
        MissingWeightsError: its weights are not on this machine.
    """
    check_extractor(name)
    return BUILDERS[name](device)


def extractor_of(dataset: str) -> str:
    """Return the extractor of a data set's headline metrics."""
    return "efficientnet-lite0" if dataset == "synfacs" else "inception-2015-12-05"
