"""Inception of 2015-12-05, the network behind most published FIDs, as a feature extractor."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aubench.errors import AubenchError
from aubench.networks.extractors.extractor import PREPROC, Extractor, clean_resize, fold
from aubench.storage.files import sha256_file


def _inception_network(file: Path) -> Any:
    """Build torch-fidelity's network from a file of plain tensors.

    Its own loader would unpickle anything; here the file is read restricted first.

    Raises:
        AubenchError: The file holds something else.
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
            module.bn = fold(module.conv, module.bn)
    return network


INCEPTION_TRUNK = (
    "Conv2d_1a_3x3",
    "Conv2d_2a_3x3",
    "Conv2d_2b_3x3",
    "MaxPool_1",
    "Conv2d_3b_1x1",
    "Conv2d_4a_3x3",
    "MaxPool_2",
    "Mixed_5b",
    "Mixed_5c",
    "Mixed_5d",
    "Mixed_6a",
    "Mixed_6b",
    "Mixed_6c",
    "Mixed_6d",
    "Mixed_6e",
    "Mixed_7a",
    "Mixed_7b",
    "Mixed_7c",
    "AvgPool",
)


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


def load(name: str, device: str) -> Extractor:
    """Return Inception's pooled features and its logits.

    Raises:
        MissingWeightsError: Its weights are not on this machine.
        AubenchError: They are damaged.
    """
    from aubench.networks import external_weights as weights

    file = weights.path(name)
    network = folded_inception(_inception_network(file))
    network.to(device, memory_format=torch.channels_last)

    def run(x: Tensor) -> dict[str, Tensor]:
        pixels = clean_resize(x, 299).contiguous(memory_format=torch.channels_last)
        return inception_outputs(network, pixels)

    return Extractor(name, f"{name}|{PREPROC}", sha256_file(file), device, run)
