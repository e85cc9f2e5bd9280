"""Backbones: small ones for 128 px faces on a processor, torchvision's at the paper's scale."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """Two 3 x 3 convolutions with batch norm around a skip."""

    def __init__(self, wide: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1: nn.Conv2d = nn.Conv2d(wide, out, 3, stride, 1, bias=False)
        self.bn1: nn.BatchNorm2d = nn.BatchNorm2d(out)
        self.conv2: nn.Conv2d = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2: nn.BatchNorm2d = nn.BatchNorm2d(out)
        self.skip: nn.Module = (
            nn.Identity() if stride == 1 and wide == out else nn.Conv2d(wide, out, 1, stride)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, out, H / stride, W / stride]."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.skip(x))


class ResidualTokens(nn.Module):
    """Residual network from [B, 3, 128, 128] to tokens [B, 64, 192] (nano-a).

    Args:
        placed: Whether tokens learn where they lie, before and after the body (nano2-a). The head
            takes means over all tokens, so that what moved can otherwise not be told from what
            is there.
    """

    width = 192

    def __init__(self, placed: bool = False) -> None:
        super().__init__()
        self.place: nn.Parameter | None = None
        self.token_place: nn.Parameter | None = None
        if placed:
            self.place = nn.Parameter(0.1 * torch.randn(64, 32, 32))
            self.token_place = nn.Parameter(0.1 * torch.randn(64, self.width))
        self.stem: nn.Conv2d = nn.Conv2d(3, 64, 6, 4, 1, bias=False)
        self.bn: nn.BatchNorm2d = nn.BatchNorm2d(64)
        self.body: nn.Sequential = nn.Sequential(
            Residual(64, 64),
            Residual(64, 128, 2),
            Residual(128, 128),
            Residual(128, 192, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens [B, 64, 192] of the 8 x 8 map."""
        y: Tensor = self.bn(self.stem(x))
        if self.place is not None:
            y = y + self.place
        tokens: Tensor = self.body(F.relu(y)).flatten(2).transpose(1, 2)
        return tokens if self.token_place is None else tokens + self.token_place


class PooledPyramid(nn.Module):
    """Plain convolutions with max pooling; pooled maps of three scales to logits (nano-b).

    Args:
        side: Pixels to which images are brought first; None for none.
    """

    def __init__(self, side: int | None = None) -> None:
        super().__init__()
        self.side: int | None = side
        self.stem: nn.Sequential = self._block(48, 64)
        self.second: nn.Sequential = self._block(64, 96)
        self.third: nn.Sequential = self._block(96, 160)
        self.fourth: nn.Sequential = self._block(160, 224)
        self.drop: nn.Dropout = nn.Dropout(0.2)
        self.classify: nn.Linear = nn.Linear(96 * 4 + 160 * 4 + 224 * 4, 12)

    @staticmethod
    def _block(wide: int, out: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(wide, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out), nn.LeakyReLU(0.1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return probabilities [B, 12] of images [B, 3, 128, 128]."""
        if self.side is not None:
            size = (self.side, self.side)
            x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
        y = self.stem(F.pixel_unshuffle(x, 4))
        pooled = []
        for block in (self.second, self.third, self.fourth):
            y = block(y)
            pooled.append(F.adaptive_max_pool2d(y, (4, 1)).flatten(1))
            y = F.max_pool2d(y, 2)
        logits: Tensor = self.classify(self.drop(torch.cat(pooled, 1)))
        return torch.sigmoid(logits.float())


class TorchvisionTokens(nn.Module):
    """A torchvision network without pooling and classifier; its children keep their names.

    Args:
        name: Name as in ``PAPER_BACKBONES``.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        import torchvision

        network = getattr(torchvision.models, name.replace("-", "_"))(weights=None)
        for child, module in network.named_children():
            if child not in {"permute", "avgpool", "flatten", "fc", "head"}:
                self.add_module(child, module)
        self.channels_last: bool = name.startswith("swin")

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens [B, H / 32 * W / 32, D] of images [B, 3, H, W]."""
        for module in self.children():
            x = module(x)
        return x.flatten(1, 2) if self.channels_last else x.flatten(2).transpose(1, 2)


@dataclass(frozen=True)
class PaperBackbone:
    """Widths and layout of a backbone at the paper's scale.

    Attributes:
        width: D of its tokens.
        channels: C of the head on it, D / 4 for ResNets and D / 2 for Swin.
        blocks: Number of blocks in the third of its four stages.
    """

    width: int
    channels: int
    blocks: int


PAPER_BACKBONES = {
    "resnet18": PaperBackbone(512, 128, 2),
    "resnet50": PaperBackbone(2048, 512, 6),
    "resnet101": PaperBackbone(2048, 512, 23),
    "swin-t": PaperBackbone(768, 384, 6),
    "swin-s": PaperBackbone(768, 384, 18),
    "swin-b": PaperBackbone(1024, 512, 18),
}
"""Backbones of the published ME-GraphAU, in torchvision's implementation, for 224 px."""
