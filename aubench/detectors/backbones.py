"""Small backbones of the nano detectors, for 128 px faces on a processor."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """Two 3 x 3 convolutions with batch norm around a skip."""

    def __init__(self, wide: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(wide, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.skip: nn.Module = (
            nn.Identity() if stride == 1 and wide == out else nn.Conv2d(wide, out, 1, stride)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, out, H / stride, W / stride]."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.skip(x))


class ResidualTokens(nn.Module):
    """Residual network from [B, 3, 128, 128] to tokens [B, 64, 192] (nano-a)."""

    width = 192

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 6, 4, 1, bias=False)
        self.bn = nn.BatchNorm2d(64)
        self.body = nn.Sequential(
            Residual(64, 64),
            Residual(64, 128, 2),
            Residual(128, 128),
            Residual(128, 192, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens [B, 64, 192] of the 8 x 8 map."""
        y: Tensor = self.body(F.relu(self.bn(self.stem(x))))
        return y.flatten(2).transpose(1, 2)


class PooledPyramid(nn.Module):
    """Plain convolutions with max pooling; pooled maps of three scales to logits (nano-b)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = self._block(48, 64)
        self.second = self._block(64, 96)
        self.third = self._block(96, 160)
        self.fourth = self._block(160, 224)
        self.drop = nn.Dropout(0.2)
        self.classify = nn.Linear(96 * 4 + 160 * 4 + 224 * 4, 12)

    @staticmethod
    def _block(wide: int, out: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(wide, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out), nn.LeakyReLU(0.1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return probabilities [B, 12] of images [B, 3, 128, 128]."""
        y = self.stem(F.pixel_unshuffle(x, 4))
        pooled = []
        for block in (self.second, self.third, self.fourth):
            y = block(y)
            pooled.append(F.adaptive_max_pool2d(y, (4, 1)).flatten(1))
            y = F.max_pool2d(y, 2)
        logits: Tensor = self.classify(self.drop(torch.cat(pooled, 1)))
        return torch.sigmoid(logits.float())
