"""The identity network: a small residual network, and loading and running it.

Only what lies in an oval around the face is seen, so that neither background nor clothes can stand
for the person.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aubench.errors import AubenchError
from aubench.networks.batches import check_images, padded, strict_float32
from aubench.storage.shipped import restore

Images = npt.NDArray[np.uint8]

WEIGHTS = Path(__file__).with_name("weights")
NAMES = ("nano-id", "nano2-id")
"""Trained here: on synfacs, on synfacs 2."""

MICRO_BATCH = 32
SIZE = 128
"""Pixels of the network's input; other sizes are resized with antialiasing."""

DIMENSIONS = 128
OVAL = (0.5, 0.46, 0.32, 0.46)
"""Centre and half axes (x, y, x, y) of the oval that is seen, in shares of the image."""


def oval(size: int = SIZE, grow: float = 1.0, soft: float = 0.08) -> Tensor:
    """Return the window float32 [1, 1, size, size], 1 inside, falling to 0 at its edge."""
    at = (torch.arange(size) + 0.5) / size
    x, y, a, b = OVAL
    radius = torch.hypot((at[None] - x) / (a * grow), (at[:, None] - y) / (b * grow))
    return ((1 - radius) / soft).clamp(0, 1)[None, None]


class Block(nn.Module):
    """Two 3 x 3 convolutions with batch norm around a skip."""

    def __init__(self, wide: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.first: nn.Conv2d = nn.Conv2d(wide, out, 3, stride, 1, bias=False)
        self.norm1: nn.BatchNorm2d = nn.BatchNorm2d(out)
        self.second: nn.Conv2d = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.norm2: nn.BatchNorm2d = nn.BatchNorm2d(out)
        same = stride == 1 and wide == out
        self.skip: nn.Module = nn.Identity() if same else nn.Conv2d(wide, out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, out, H / stride, W / stride]."""
        y = self.norm2(self.second(F.relu(self.norm1(self.first(x)))))
        return F.relu(y + self.skip(x))


class Embedder(nn.Module):
    """From images [B, 3, 128, 128] in 0..1 to unit embeddings [B, 128]; 1.0 M parameters."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", oval(), persistent=False)
        self.stem: nn.Conv2d = nn.Conv2d(48, 48, 3, 1, 1, bias=False)
        self.norm: nn.BatchNorm2d = nn.BatchNorm2d(48)
        self.body: nn.Sequential = nn.Sequential(
            Block(48, 48), Block(48, 112, 2), Block(112, 112), Block(112, 176, 2)
        )
        # One filter a channel over the whole map: where a feature lies matters in a face.
        self.gather: nn.Conv2d = nn.Conv2d(176, 176, 8, groups=176, bias=False)
        self.norm2: nn.BatchNorm2d = nn.BatchNorm2d(176)
        self.project: nn.Linear = nn.Linear(176, DIMENSIONS, bias=False)
        self.norm3: nn.BatchNorm1d = nn.BatchNorm1d(DIMENSIONS)

    def forward(self, x: Tensor) -> Tensor:
        """Return unit embeddings."""
        x = (x - 0.5) * 4 * self.window
        y = F.relu(self.norm(self.stem(F.pixel_unshuffle(x, 4))))
        y = self.norm2(self.gather(self.body(y))).flatten(1)
        return F.normalize(self.norm3(self.project(y)).float())


@dataclass(frozen=True)
class Identity:
    """From images to embeddings.

    Attributes:
        name: Name of the network.
        id: Name, twelve digits of the digest, and the size of the input; part of every metric id
            that uses it.
        sha256: Digest of the weights file.
        card: What is known of it.
        network: Network from [B, 3, size, size] in 0..1 to unit embeddings [B, dimensions].
        device: Torch device.
        size: Pixels of the network's input.
        dimensions: Dimensions of an embedding.
    """

    name: str
    id: str
    sha256: str
    card: dict[str, Any]
    network: nn.Module
    device: str
    size: int = SIZE
    dimensions: int = DIMENSIONS

    def embeddings(self, images: Images) -> npt.NDArray[np.float32]:
        """Return unit vectors float32 [N, D] for uint8 RGB [N, H, W, 3]; the same in any batch.

        Always 32 images a pass, so that none depends on its company.

        Raises:
            TypeError: Not uint8 [N, H, W, 3].
        """
        check_images(images)
        out = np.empty((len(images), self.dimensions), np.float32)
        with strict_float32(self.device):
            for i in range(0, len(images), MICRO_BATCH):
                part = images[i : i + MICRO_BATCH]
                whole = np.ascontiguousarray(padded(part, MICRO_BATCH))
                x = torch.from_numpy(whole).to(self.device)
                x = x.permute(0, 3, 1, 2).float() / 255
                if x.shape[2:] != (self.size, self.size):
                    x = F.interpolate(x, (self.size,) * 2, mode="bilinear", antialias=True)
                out[i : i + len(part)] = self.network(x)[: len(part)].float().cpu().numpy()
        return out


def load(name: str = "nano-id", device: str = "cpu", folder: Path = WEIGHTS) -> Identity:
    """Load an identity network with its weights and card; nothing else is needed.

    Args:
        name: ``nano-id`` or ``nano2-id``.
        device: Torch device.
        folder: Folder where ``<name>.safetensors`` and ``<name>.card.json`` lie.

    Raises:
        AubenchError: Unknown name, missing, truncated or foreign weights, wrong digest.
    """
    if name not in NAMES:
        raise AubenchError(f"unknown identity network '{name}'", f"choose from {', '.join(NAMES)}")
    network, path = Embedder(), folder / f"{name}.safetensors"
    digest, card = restore(network, path, f"identity network '{name}'", "restore the file", device)
    identity = f"{name}@{digest[:12]}|{SIZE}px"
    return Identity(name, identity, digest, card, network, device)
