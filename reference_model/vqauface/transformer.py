"""Stage II: tokens of reference and text, AU cross-attention, masked transformer (paper, §4.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqauface.presets import Preset
from vqauface.rqvae import Block, embed

AUS = 12


class FaceEncoder(nn.Module):
    """Appearance token and structure tokens of the reference face.

    At nano scale one small network stands for the paper's face-recognition and CLIP encoders;
    the third kind, VAE tokens, comes from the residual VQGAN.
    """

    def __init__(self, p: Preset) -> None:
        super().__init__()
        stride = p.size // p.grid
        width = 96 if p.hidden > 96 else p.hidden
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(4), nn.Conv2d(48, width, stride // 4, stride // 4), Block(width)
        )
        self.structure = nn.Conv2d(width, p.hidden, 1)
        self.appearance = nn.Linear(width, p.hidden)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return appearance [B, 1, H] and structure [B, N, H] of images [B, 3, S, S]."""
        y = self.stem(x)
        structure = self.structure(y).flatten(2).transpose(1, 2)
        return self.appearance(y.mean((2, 3)))[:, None], structure


class AUCrossAttention(nn.Module):
    """Twelve learned queries read the text and become AU tokens."""

    def __init__(self, p: Preset) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(AUS, p.hidden) * 0.02)
        self.text = nn.Linear(p.text, p.hidden)
        self.attention = nn.MultiheadAttention(p.hidden, p.heads, batch_first=True)
        self.norm = nn.LayerNorm(p.hidden)
        self.mlp = nn.Sequential(
            nn.Linear(p.hidden, 2 * p.hidden), nn.GELU(), nn.Linear(2 * p.hidden, p.hidden)
        )
        self.probe = nn.Linear(p.hidden, 1)

    def forward(self, text: Tensor, mask: Tensor) -> Tensor:
        """Return AU tokens [B, 12, H] from text states [B, L, C]; mask is true on real tokens."""
        words = self.text(text)
        query = self.query.expand(len(text), -1, -1)
        read, _ = self.attention(query, words, words, key_padding_mask=~mask, need_weights=False)
        tokens = self.norm(query + read)
        out: Tensor = tokens + self.mlp(tokens)
        return out

    def presence(self, tokens: Tensor) -> Tensor:
        """Return AU logits [B, 12]; an auxiliary target that aligns the tokens with the AUs."""
        out: Tensor = self.probe(tokens)[..., 0]
        return out


class DepthHead(nn.Module):
    """Entry of each level at a position, from the coarser levels chosen there.

    Most of a face is that of the reference, so the reference's own entry gets a learned bonus,
    as long as the coarser levels are the reference's too.
    """

    def __init__(self, p: Preset) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(p.levels, p.hidden))
        self.chosen = nn.Linear(p.code, p.hidden)
        self.mlp = nn.Sequential(
            nn.LayerNorm(p.hidden), nn.Linear(p.hidden, p.hidden), nn.GELU(),
            nn.Linear(p.hidden, p.code),
        )  # fmt: skip
        self.scale = nn.Parameter(torch.full((p.levels,), 4.0))
        self.bias = nn.Parameter(torch.zeros(p.levels, p.entries))
        self.copy = nn.Linear(p.hidden, p.levels)
        nn.init.zeros_(self.copy.weight)
        nn.init.constant_(self.copy.bias, 2.0)

    def forward(
        self, h: Tensor, coarser: Tensor, books: Tensor, level: int, before: Tensor, same: Tensor
    ) -> Tensor:
        """Return logits [..., K] of one level.

        Args:
            h: states [..., H].
            coarser: sum of the code vectors chosen so far [..., D].
            books: codebooks [Q, K, D].
            level: 0 is the coarsest.
            before: the reference's entry of this level int64 [...].
            same: whether all coarser entries are the reference's, bool [...].
        """
        v = self.mlp(h + self.level[level] + self.chosen(coarser))
        # Nearness to the entries, as the quantiser itself decides.
        book = F.normalize(books[level], dim=-1)
        logits: Tensor = (self.scale[level] * (v @ book.T) + self.bias[level]).float()
        bonus = self.copy(h)[..., level].float() * same
        return logits.scatter_add(-1, before[..., None], bonus[..., None])


class MaskedTransformer(nn.Module):
    """Bidirectional transformer over the token grid, the AU tokens and the appearance token."""

    def __init__(self, p: Preset) -> None:
        super().__init__()
        n = p.grid**2
        self.face = FaceEncoder(p)
        self.au = AUCrossAttention(p)
        self.null = nn.Parameter(torch.randn(AUS, p.hidden) * 0.02)
        self.mask = nn.Parameter(torch.randn(p.hidden) * 0.02)
        self.place = nn.Parameter(torch.randn(n, p.hidden) * 0.02)
        self.kind = nn.Parameter(torch.randn(AUS + 1, p.hidden) * 0.02)
        self.token = nn.Linear(p.code, p.hidden)
        self.vae = nn.Linear(p.code, p.hidden)
        # Weighted fusion of the token kinds: appearance, structure, VAE, AU.
        self.fusion = nn.Parameter(torch.ones(4))
        layer = nn.TransformerEncoderLayer(
            p.hidden, p.heads, 4 * p.hidden, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, p.layers, enable_nested_tensor=False)
        self.depth = DepthHead(p)

    def context(self, image: Tensor, quantised: Tensor) -> tuple[Tensor, Tensor]:
        """Return appearance [B, 1, H] and the fused tokens of the grid [B, N, H] of a reference.

        Args:
            image: reference [B, 3, S, S] in -1..1.
            quantised: its code vectors summed over levels [B, N, D].
        """
        appearance, structure = self.face(image)
        grid = self.fusion[1] * structure + self.fusion[2] * self.vae(quantised) + self.place
        return self.fusion[0] * appearance, grid

    def forward(
        self, tokens: Tensor, masked: Tensor, au: Tensor, appearance: Tensor, grid: Tensor
    ) -> Tensor:
        """Return states [B, N, H] of the grid.

        Args:
            tokens: code vectors summed over levels [B, N, D]; ignored where masked.
            masked: bool [B, N].
            au: AU tokens [B, 12, H].
            appearance: [B, 1, H].
            grid: fused reference tokens [B, N, H].
        """
        x = torch.where(masked[..., None], self.mask, self.token(tokens)) + grid
        extra = torch.cat([self.fusion[3] * au, appearance], 1) + self.kind
        out: Tensor = self.blocks(torch.cat([x, extra], 1))
        return out[:, : tokens.shape[1]]


def token_loss(
    model: MaskedTransformer,
    books: Tensor,
    states: Tensor,
    codes: Tensor,
    reference: Tensor,
    masked: Tensor,
    weight: Tensor,
) -> Tensor:
    """Return the weighted cross entropy of all levels at the masked positions.

    Args:
        model: whose depth head is asked.
        books: codebooks [Q, K, D].
        states: [B, N, H].
        codes: targets [B, N, Q].
        reference: codes of the reference [B, N, Q].
        masked: bool [B, N].
        weight: of each token [B, N, Q].
    """
    vectors = embed(books, codes[masked][None])[0]  # [M, Q, D]
    coarser = vectors.cumsum(1) - vectors
    h, target, w = states[masked], codes[masked], weight[masked]
    before = reference[masked]
    same = torch.ones_like(before[:, 0], dtype=torch.bool)
    total = torch.zeros((), dtype=torch.float32)
    for q in range(len(books)):
        logits = model.depth(h, coarser[:, q], books, q, before[:, q], same)
        same = same & (target[:, q] == before[:, q])
        total = total + (F.cross_entropy(logits, target[:, q], reduction="none") * w[:, q]).sum()
    return total / w.sum()
