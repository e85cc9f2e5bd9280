"""Stage I: the residual VQGAN, faces to a grid of residual codes and back (paper, 4.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from vector_quantize_pytorch import ResidualVQ

from vqauface.presets import Preset


def norm(width: int) -> nn.GroupNorm:
    """Return a group norm: VQGAN's 32 groups for wide layers, 8 for the nano's."""
    groups = 32 if width >= 256 and width % 32 == 0 else 8 if width % 8 == 0 else 1
    return nn.GroupNorm(groups, width)


class Block(nn.Module):
    """Group norm, SiLU, 3 x 3 convolution, twice, around a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            norm(width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, 1, 1),
            norm(width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the shape of ``x``."""
        y: Tensor = self.body(x)
        return x + y


class Attention(nn.Module):
    """Self-attention over the places of a map, one head, around a skip (VQGAN)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = norm(width)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the shape of ``x``."""
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, -1)
        y = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        out: Tensor = self.out(y.transpose(1, 2).reshape(x.shape))
        return x + out


class Up(nn.Module):
    """Nearest doubling, then a 3 x 3 convolution."""

    def __init__(self, wide: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(wide, out, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, out, 2H, 2W]."""
        y: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return y


def encoder(p: Preset) -> nn.Sequential:
    """Return the encoder E, [B, 3, S, S] to [B, D, grid, grid]."""
    folded, width = 3 * p.stem**2, p.widths[0]
    parts: list[nn.Module] = [nn.PixelUnshuffle(p.stem), nn.Conv2d(folded, width, 3, 1, 1)]
    for number, wide in enumerate(p.widths):
        if number:
            parts.append(nn.Conv2d(width, wide, 4, 2, 1))
        parts += [Block(wide) for _ in range(p.blocks)]
        width = wide
    if p.attend:
        parts.append(Attention(width))
    return nn.Sequential(*parts, nn.Conv2d(width, p.code, 1))


def decoder(p: Preset) -> nn.Sequential:
    """Return the decoder G, [B, D, grid, grid] to [B, 3, S, S]; a block more at both ends."""
    width, last = p.widths[-1], p.widths[0]
    parts: list[nn.Module] = [nn.Conv2d(p.code, width, 3, 1, 1), Block(width)]
    if p.attend:
        parts.append(Attention(width))
    parts += [Block(width) for _ in range(p.blocks)]
    for wide in reversed(p.widths[:-1]):
        parts += [Up(width, wide), *(Block(wide) for _ in range(p.blocks))]
        width = wide
    return nn.Sequential(
        *parts,
        Block(last),
        norm(last),
        nn.SiLU(),
        nn.Conv2d(last, 3 * p.stem**2, 3, 1, 1),
        nn.PixelShuffle(p.stem),
    )


class RQVAE(nn.Module):
    """Encoder, residual quantiser, decoder.

    Images are float [B, 3, S, S] in -1..1; codes int64 [B, N, Q] with N = grid².
    """

    def __init__(self, p: Preset, dead: float = 1.0, decay: float = 0.99) -> None:
        """Build it.

        Args:
            p: Shape.
            dead: An entry chosen less often than so many times a batch, on average, is replaced by
                a latent of the batch.
            decay: Decay of the moving averages that the codebooks are.
        """
        super().__init__()
        self.grid, self.entries = p.grid, p.entries
        self.encoder = encoder(p)
        self.decoder = decoder(p)
        # Rearranged outside, and the straight-through gradient is formed outside too: the
        # package multiplies it by the number of levels.
        self.quantiser = ResidualVQ(
            dim=p.code,
            num_quantizers=p.levels,
            codebook_size=p.entries,
            decay=decay,
            threshold_ema_dead_code=dead,
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

    def codebooks(self) -> Tensor:
        """Return the codebooks [Q, K, D]."""
        return torch.stack([layer._codebook.embed[0] for layer in self.quantiser.layers])

    def decode(self, z: Tensor) -> Tensor:
        """Return images [B, 3, S, S] from latents [B, N, D]."""
        side = self.grid
        grid = z.transpose(1, 2).reshape(len(z), -1, side, side)
        out: Tensor = self.decoder(grid)
        return out

    def last_layer(self) -> Tensor:
        """Return the weights of the decoder's last convolution, for the adaptive GAN weight."""
        weight = self.decoder[-2].weight
        assert isinstance(weight, Tensor)
        return weight

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return reconstruction, codes and commitment loss."""
        z, codes, commitment = self.quantise(self.encode(x))
        return self.decode(z), codes, commitment


def embed(codebooks: Tensor, codes: Tensor) -> Tensor:
    """Return the code vectors of each level [B, N, Q, D] for codes [B, N, Q]."""
    return torch.stack([F.embedding(codes[..., q], codebooks[q]) for q in range(len(codebooks))], 2)


class Critic(nn.Module):
    """Patch discriminator D of stage I (equations 3 and 4)."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(12, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width * 2, 4, 2, 1),
            nn.GroupNorm(8, width * 2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width * 2, 1, 3, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return scores of patches [B, 1, S / 8, S / 8]."""
        out: Tensor = self.body(x)
        return out
