"""EfficientNet-Lite0 as a feature extractor, small enough for a processor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from aubench.networks.extractors.extractor import PREPROC, Extractor, clean_resize, fold
from aubench.storage.files import sha256_file


def _quicken(network: Any) -> None:
    """Fold EfficientNet-Lite's batch norms and pad where the kernel pads: 4 x faster on a CPU.

    The same function up to float32 rounding (5e-5 on features up to 6).
    """
    network._bn0 = fold(network._conv_stem, network._bn0)
    network._bn1 = fold(network._conv_head, network._bn1)
    for block in network._blocks:
        if hasattr(block, "_expand_conv"):
            block._bn0 = fold(block._expand_conv, block._bn0)
        block._bn1 = fold(block._depthwise_conv, block._bn1)
        block._bn2 = fold(block._project_conv, block._bn2)
        left, right, top, bottom = getattr(
            block._depthwise_conv.static_padding, "padding", (0, 1, 0, 1)
        )
        if left == right and top == bottom:
            block._depthwise_conv.padding = (top, left)
            block._depthwise_conv.static_padding = nn.Identity()
    for module in network.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = True


def load(name: str, device: str) -> Extractor:
    """Return EfficientNet-Lite0's pooled features and its logits.

    Raises:
        MissingWeightsError: Its weights are not on this machine.
    """
    from efficientnet_lite_pytorch import EfficientNet

    from aubench.networks import external_weights as weights

    file = weights.path(name)
    network: Any = EfficientNet.from_name(name)
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

    return Extractor(name, f"{name}|{PREPROC}", sha256_file(file), device, run)
