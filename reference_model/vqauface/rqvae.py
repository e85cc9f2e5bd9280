"""Stage I: the residual VQGAN, faces to a grid of residual codes and back (paper, §4.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from vector_quantize_pytorch import ResidualVQ

from vqauface.presets import Preset


class Block(nn.Module):
    """Group norm, SiLU, 3 x 3 convolution, twice, around a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        groups = 8 if width % 8 == 0 else 1
        self.body = nn.Sequential(
            nn.GroupNorm(groups, width), nn.SiLU(), nn.Conv2d(width, width, 3, 1, 1),
            nn.GroupNorm(groups, width), nn.SiLU(), nn.Conv2d(width, width, 3, 1, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return the shape of ``x``."""
        y: Tensor = self.body(x)
        return x + y


class Up(nn.Module):
    """Nearest doubling, then a 3 x 3 convolution."""

    def __init__(self, wide: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(wide, out, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, out, 2H, 2W]."""
        y: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return y


class RQVAE(nn.Module):
    """Encoder, residual quantiser, decoder.

    Images are float [B, 3, S, S] in -1..1; codes int64 [B, N, Q] with N = grid².
    """

    def __init__(self, p: Preset) -> None:
        super().__init__()
        a, b, c = p.widths
        self.grid = p.grid
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4), nn.Conv2d(48, a, 3, 1, 1), Block(a),
            nn.Conv2d(a, b, 4, 2, 1), Block(b),
            nn.Conv2d(b, c, 4, 2, 1), Block(c), nn.Conv2d(c, p.code, 1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv2d(p.code, c, 3, 1, 1), Block(c), Block(c),
            Up(c, b), Block(b),
            Up(b, a), Block(a), Block(a),
            nn.GroupNorm(8 if a % 8 == 0 else 1, a), nn.SiLU(), nn.Conv2d(a, 48, 3, 1, 1),
            nn.PixelShuffle(4),
        )  # fmt: skip
        # Rearranged outside, and the straight-through gradient is formed outside too: the
        # package multiplies it by the number of levels.
        self.quantiser = ResidualVQ(
            dim=p.code,
            num_quantizers=p.levels,
            codebook_size=p.entries,
            decay=0.99,
            threshold_ema_dead_code=1,
            kmeans_init=True,
            rotation_trick=False,
        )

    def encode(self, x: Tensor) -> Tensor:
        """Return latents [B, N, D]."""
        z: Tensor = self.encoder(x)
        return z.flatten(2).transpose(1, 2).float()

    def quantise(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return quantised latents with a straight-through gradient, codes, commitment loss."""
        with torch.autocast(z.device.type, enabled=False):  # nearness in bfloat16 would be noise
            quantised, codes, commitment = self.quantiser(z.float())
        # Equation 2: the commitment of each level, averaged.
        return z + (quantised - z).detach(), codes, commitment.mean()

    def codes(self, x: Tensor) -> Tensor:
        """Return codes int64 [B, N, Q] of images."""
        _, codes, _ = self.quantiser(self.encode(x))
        out: Tensor = codes
        return out

    def books(self) -> Tensor:
        """Return the codebooks [Q, K, D]."""
        return torch.stack([layer._codebook.embed[0] for layer in self.quantiser.layers])

    def decode(self, z: Tensor) -> Tensor:
        """Return images [B, 3, S, S] from latents [B, N, D]."""
        side = self.grid
        grid = z.transpose(1, 2).reshape(len(z), -1, side, side)
        out: Tensor = self.decoder(grid)
        return out

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return reconstruction, codes and commitment loss."""
        z, codes, commitment = self.quantise(self.encode(x))
        return self.decode(z), codes, commitment


def embed(books: Tensor, codes: Tensor) -> Tensor:
    """Return the code vectors of each level [B, N, Q, D] for codes [B, N, Q]."""
    return torch.stack([F.embedding(codes[..., q], books[q]) for q in range(len(books))], 2)


class Critic(nn.Module):
    """Patch discriminator of stage I (equations 3 and 4), hinge loss."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(12, width, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(width, width * 2, 4, 2, 1), nn.GroupNorm(8, width * 2), nn.LeakyReLU(0.2),
            nn.Conv2d(width * 2, 1, 3, 1, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return scores of patches [B, 1, S / 8, S / 8]."""
        out: Tensor = self.body(x)
        return out
