"""Changes of training images that take the reward from reading texture.

Faces are aligned by their eyes, so a furrow lies at nearly the same pixels in all of them, and a
network may read it there without any motion of the face. Here the fine part of an image is
weakened, fine parts of other faces are pasted on it, and differences of other faces are laid over
it, all without a change of the labels: what remains to be read is the shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SPREADS = (1.0, 1.6, 2.6, 4.2)
"""Standard deviations of the blur that parts coarse from fine, pixels; one is drawn a batch."""


def blurred(x: Tensor, spread: float) -> Tensor:
    """Return images [B, C, H, W] under a Gaussian blur."""
    reach = max(1, math.ceil(2.5 * spread))
    at = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-0.5 * (at / spread) ** 2)
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, -1)
    padded = F.pad(x, (reach, reach, reach, reach), mode="replicate")
    wide = F.conv2d(padded, kernel[:, :, None, :], groups=x.shape[1])
    return F.conv2d(wide, kernel[:, :, :, None], groups=x.shape[1])


@dataclass(frozen=True)
class TextureChanges:
    """Random changes of a batch, the same on any device.

    Attributes:
        spread: Blur that parts coarse from fine, pixels.
        donors: Steps to the three other images of a batch that lend their parts.
        kept: Share of an image's own fine part, [B, 1, 1, 1].
        pasted: Share of another's fine part.
        ghost: Share of the difference of two others' coarse parts.
        warp: Affine maps of the image plane, [B, 2, 3].
    """

    spread: float
    donors: tuple[int, int, int]
    kept: Tensor
    pasted: Tensor
    ghost: Tensor
    warp: Tensor

    @classmethod
    def drawn(cls, count: int, draw: torch.Generator, strength: float = 1.0) -> TextureChanges:
        """Draw the changes of ``count`` images.

        Args:
            count: Images of the batch.
            draw: Generator that is consumed, as much whatever the strength.
            strength: Share of the images that are changed, and of the turns and shifts, 0..1.
        """

        def some(share: float, low: float, high: float, rest: float) -> Tensor:
            u = torch.rand(count, 1, 1, 1, generator=draw)
            value = low + (high - low) * torch.rand(count, 1, 1, 1, generator=draw)
            return torch.where(u < share * strength, value, torch.full_like(value, rest))

        spread = SPREADS[int(torch.randint(len(SPREADS), (), generator=draw))]
        steps = torch.randint(1, 1 << 16, (3,), generator=draw)
        turn = 0.09 * strength * torch.randn(count, generator=draw)
        zoom = 1 + 0.035 * strength * torch.randn(count, generator=draw)
        shift = 0.03 * strength * torch.randn(count, 2, generator=draw)
        cos, sin = torch.cos(turn) * zoom, torch.sin(turn) * zoom
        rows = (torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1))
        return cls(
            spread,
            (int(steps[0]), int(steps[1]), int(steps[2])),
            some(0.6, 0.0, 1.0, 1.0),
            some(0.6, 0.0, 1.0, 0.0),
            some(0.3, 0.0, 0.5, 0.0),
            torch.stack(rows, 1),
        )

    def apply(self, x: Tensor, rows: slice) -> Tensor:
        """Return the changed images ``rows`` of the batch, float [B, 3, H, W] in 0..1."""
        kept, pasted, ghost, warp = (
            part[rows].to(x.device) for part in (self.kept, self.pasted, self.ghost, self.warp)
        )
        grid = F.affine_grid(warp, list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
        low = blurred(x, self.spread)
        high = x - low
        first, second, third = (step % len(x) for step in self.donors)
        difference = low.roll(second, 0) - low.roll(third, 0)
        return (low + kept * high + pasted * high.roll(first, 0) + ghost * difference).clamp(0, 1)
