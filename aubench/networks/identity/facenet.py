"""Identity on photographs: the Inception-ResNet-v1 of the ``facenet-pytorch`` package.

The package holds the network, not its weights: `aubench weights fetch facenet-vggface2`, or
``aubench weights add`` with the published file. It asks for an old torch, so it is no dependency
of ours: ``pip install --no-deps facenet-pytorch`` works with the present one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aubench.errors import AubenchError, first_line
from aubench.networks.external_weights import path as weights_path
from aubench.networks.identity.network import Identity
from aubench.storage.files import sha256_file

CLASSES = {"facenet-vggface2": 8631, "facenet-casia-webface": 10575}
"""Persons of the training set, which the last layer of the published file counts."""

SIZE, DIMENSIONS = 160, 512


class Facenet(nn.Module):
    """From images [B, 3, 160, 160] in 0..1 to unit embeddings [B, 512]; 23 M parameters."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.network: nn.Module = _architecture(classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return unit embeddings, with the scaling of pixels that the publisher trained with."""
        out = self.network((x * 255 - 127.5) / 128)
        assert isinstance(out, Tensor)
        return out


def _architecture(classes: int) -> nn.Module:
    try:
        from facenet_pytorch import InceptionResnetV1
    except ImportError as error:
        raise AubenchError(
            "the package facenet-pytorch is not installed",
            "`pip install --no-deps facenet-pytorch`",
        ) from error
    network: nn.Module = InceptionResnetV1(classify=False, num_classes=classes)
    # As published, the file holds the classifier too; without it the load would not be strict.
    network.logits = nn.Linear(DIMENSIONS, classes)
    return network


def load_facenet(name: str, device: str = "cpu", file: Path | None = None) -> Identity:
    """Load a facenet with its published weights.

    Args:
        name: ``facenet-vggface2`` or ``facenet-casia-webface``.
        device: Torch device.
        file: Weights in place of the fetched ones.

    Raises:
        AubenchError: No such package or file, or a file that does not hold this network.
        MissingWeightsError: The weights are not on this machine.
    """
    source = file or weights_path(name)
    model = Facenet(CLASSES[name])
    try:
        state: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True)
        model.network.load_state_dict(state, strict=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise AubenchError(f"{source} does not hold {name}: {first_line(error)}") from error
    digest = sha256_file(source)
    model.eval().requires_grad_(False).to(device)
    card = {"name": name, "trained on": name.removeprefix("facenet-")}
    identity = f"{name}@{digest[:12]}|{SIZE}px"
    return Identity(name, identity, digest, card, model, device, SIZE, DIMENSIONS)
