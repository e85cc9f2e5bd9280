"""CLIP and DINOv2 as feature extractors, of torch-fidelity's names, on weights that are here.

torch-fidelity would fetch both over the network when asked for features, and for DINOv2 run code
fetched with them. Here CLIP is torch-fidelity's network read from the checked file; DINOv2, for
which it takes no file at all, is written out below and loads the published weights strictly.
"""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aubench.errors import AubenchError
from aubench.networks.extractors.extractor import PREPROC, Extractor, clean_resize
from aubench.storage.files import sha256_file

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DINOV2_SIDE = 224
DINOV2 = {
    "dinov2-vit-s-14": (384, 12, 6),
    "dinov2-vit-b-14": (768, 12, 12),
    "dinov2-vit-l-14": (1024, 24, 16),
}
"""Width, blocks and heads."""


def normalised(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return float [B, 3, H, W] in 0..255 shifted and scaled by a channel's mean and deviation."""
    shape = (1, 3, 1, 1)
    middle = pixels.new_tensor(mean).view(shape) * 255
    return (pixels - middle) / (pixels.new_tensor(std).view(shape) * 255)


def clip_network(name: str, file: Path) -> Any:
    """Return torch-fidelity's image tower of CLIP from a published TorchScript archive.

    Raises:
        AubenchError: The file holds something else.
    """
    from torch_fidelity.feature_extractor_clip import FeatureExtractorCLIP

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch calls its archives old-fashioned
            network = FeatureExtractorCLIP(name, ["clip"], feature_extractor_weights_path=str(file))
    except (RuntimeError, KeyError, IndexError, ValueError) as error:
        raise AubenchError(f"{file} is not {name}", f"`aubench weights fetch {name}`") from error
    return network.model.visual.eval().requires_grad_(False)


def clip(name: str, device: str) -> Extractor:
    """Return CLIP's projected image embedding as features; no logits.

    Raises:
        MissingWeightsError: Its weights are not on this machine.
        AubenchError: They are damaged.
    """
    from aubench.networks import external_weights as weights

    file = weights.path(name)
    tower = clip_network(name, file).to(device)

    def run(x: Tensor) -> dict[str, Tensor]:
        return {
            "features": tower(
                normalised(clean_resize(x, tower.input_resolution), CLIP_MEAN, CLIP_STD)
            )
        }

    return Extractor(name, f"{name}|{PREPROC}", sha256_file(file), device, run)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        split = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return out


class _Scale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.mlp = _Attention(width, heads), _Mlp(width)
        self.ls1, self.ls2 = _Scale(width), _Scale(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        out: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return out


class DinoV2(nn.Module):
    """Vision transformer of Oquab et al. 2023 without registers, in the names of its weights.

    From float [B, 3, 224, 224], normalised, to the class token after the last norm [B, width].
    """

    patch: int
    grid: int

    def __init__(self, width: int, depth: int, heads: int, grid: int = 37, patch: int = 14) -> None:
        super().__init__()
        self.patch, self.grid = patch, grid
        self.cls_token: nn.Parameter = nn.Parameter(torch.zeros(1, 1, width))
        self.mask_token: nn.Parameter = nn.Parameter(
            torch.zeros(1, width)
        )  # of training; kept to load strictly
        self.pos_embed: nn.Parameter = nn.Parameter(torch.zeros(1, 1 + grid**2, width))
        self.patch_embed: nn.ModuleDict = nn.ModuleDict(
            {"proj": nn.Conv2d(3, width, patch, stride=patch)}
        )
        self.blocks: nn.ModuleList = nn.ModuleList([_Block(width, heads) for _ in range(depth)])
        self.norm: nn.LayerNorm = nn.LayerNorm(width, eps=1e-6)

    def positions(self, side: int) -> Tensor:
        """Return position embeddings [1, 1 + side², width] for a square of patches.

        Published weights know a square of 37; theirs are bicubic at a scale of (side + 0.1) / 37,
        which is how they were resized in training.
        """
        if side == self.grid:
            return self.pos_embed
        first, rest = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        plane = rest.view(1, self.grid, self.grid, -1).permute(0, 3, 1, 2)
        scale = (side + 0.1) / self.grid
        resized = F.interpolate(plane, scale_factor=(scale, scale), mode="bicubic")
        return torch.cat([first, resized.flatten(2).transpose(1, 2)], 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the class token float [B, width] of normalised pixels [B, 3, H, H]."""
        patches: Tensor = self.patch_embed["proj"](x)
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], 1)
        tokens = tokens + self.positions(patches.shape[-1])
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.norm(tokens[:, 0])
        return out


def dinov2_network(name: str, file: Path) -> DinoV2:
    """Return DINOv2 with published weights.

    Raises:
        AubenchError: The file holds something else.
    """
    with torch.device("meta"):
        network = DinoV2(*DINOV2[name])
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        network.load_state_dict(state, assign=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, AttributeError, TypeError) as error:
        raise AubenchError(f"{file} is not {name}", f"`aubench weights fetch {name}`") from error
    return network.float().eval().requires_grad_(False)


def dinov2(name: str, device: str) -> Extractor:
    """Return DINOv2's class token as features; no logits.

    Raises:
        MissingWeightsError: Its weights are not on this machine.
        AubenchError: They are damaged.
    """
    from aubench.networks import external_weights as weights

    file = weights.path(name)
    network = dinov2_network(name, file).to(device)

    def run(x: Tensor) -> dict[str, Tensor]:
        pixels = normalised(clean_resize(x, DINOV2_SIDE), IMAGENET_MEAN, IMAGENET_STD)
        return {"features": network(pixels)}

    return Extractor(name, f"{name}|{PREPROC}", sha256_file(file), device, run)
