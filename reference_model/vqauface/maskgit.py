"""Design ``flat`` of stage II, the paper's: MaskGIT over all residual tokens (4.2.3).

The context is a weighted sum of AU tokens F_au and VAE tokens F_v, with the appearance token F_a
put beside it; the transformer reads it by cross-attention while its own sequence is the
``grid² × levels`` residual tokens of the face, level by level, the coarsest first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqauface.networks.conditions import AUCrossAttention, Condition, FaceEncoder, LabelStates
from vqauface.networks.rqvae import embed
from vqauface.presets import Preset

KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class FlatContext:
    """What does not change while tokens are filled in.

    Attributes:
        tokens: The context [B, T, H].
        logits: Logits of the AUs by the probe [B, 12].
    """

    tokens: Tensor
    logits: Tensor


class ContextBlock(nn.Module):
    """Self-attention, cross-attention to the context, perceptron; each after a layer norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.q, self.kv = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.read = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(self._split(q), k, v).transpose(1, 2).flatten(2)

    def keys(self, context: Tensor) -> KeysValues:
        """Return keys and values of a context [B, T, H]; computed once for all decoding steps."""
        k, v = self.kv(context).chunk(2, -1)
        return self._split(k), self._split(v)

    def forward(self, x: Tensor, context_kv: KeysValues) -> Tensor:
        """Return the shape of ``x`` [B, T, H]."""
        q, k, v = self.qkv(self.norm1(x)).chunk(3, -1)
        x = x + self.out(self._attend(q, self._split(k), self._split(v)))
        x = x + self.read(self._attend(self.q(self.norm2(x)), *context_kv))
        y: Tensor = self.mlp(self.norm3(x))
        return x + y


class MaskGitTransformer(nn.Module):
    """All residual tokens of a face at once, in a vocabulary of levels × entries."""

    def __init__(self, p: Preset) -> None:
        super().__init__()
        n, self.levels, self.entries = p.grid**2, p.levels, p.entries
        self.query, self.coarse = p.query, p.coarse
        self.kinds = frozenset(k for k in ("appearance", "structure", "vae") if p.has(k))
        self.face = FaceEncoder(p)
        self.au = AUCrossAttention(p)
        if p.input == "labels":
            self.labels = LabelStates(p)
        self.vae = nn.Linear(p.code, p.hidden)
        # The weighted sum: F_au, F_v.
        self.fusion = nn.Parameter(torch.ones(2))
        self.kind = nn.Parameter(torch.randn(2, p.hidden) * 0.02)
        self.place = nn.Parameter(torch.randn(n, p.hidden) * 0.02)
        self.level = nn.Parameter(torch.randn(p.levels, 1, p.hidden) * 0.02)
        self.token = nn.Embedding(p.levels * p.entries + 1, p.hidden)  # the last is the mask
        self.blocks = nn.ModuleList(ContextBlock(p.hidden, p.heads) for _ in range(p.layers))
        self.norm = nn.LayerNorm(p.hidden)
        # A token of a level can only be one of its entries: [Q, K, H] in place of [Q·K, H].
        self.head = nn.Parameter(torch.randn(p.levels, p.entries, p.hidden) * p.hidden**-0.5)
        self.bias = nn.Parameter(torch.zeros(p.levels, p.entries))

    def places(self, p: Preset) -> int:
        """Return how many places of the sequence are masked and filled in."""
        return p.tokens

    def positions(self) -> Tensor:
        """Return what tells the places apart [Q·N, H]."""
        return (self.level + self.place).flatten(0, 1)

    def context(
        self, c: Condition, codebooks: Tensor, dropped: Tensor | None = None
    ) -> FlatContext:
        """Return the context of a batch; where ``dropped`` bool [B] the behaviour is unknown."""
        appearance, structure = self.face(c.image, c.appearance, c.structure)
        if structure is not None and self.query == "structure":
            structure = self.face.places(structure) + self.place
        if c.hidden is None:
            assert c.labels is not None
            text, mask = self.labels(c.labels)
        else:
            assert c.words is not None
            text, mask = c.hidden, c.words
        if dropped is not None:
            text = torch.where(dropped[:, None, None], self.au.null.to(text.dtype), text)
        au = self.au(text, mask, structure)
        logits = self.au.presence(au)
        if "vae" in self.kinds:
            vectors = embed(codebooks, c.codes).transpose(1, 2).flatten(1, 2)  # [B, Q·N, D]
            vae = self.fusion[1] * self.vae(vectors) + self.positions()
            if au.shape[1] == vae.shape[1]:
                tokens = self.fusion[0] * au + vae
            elif structure is not None and self.query == "structure":
                tokens = self.fusion[0] * au.repeat(1, self.levels, 1) + vae
            else:  # without structure tokens F_au has the text's length
                tokens = torch.cat([self.fusion[0] * au, vae], 1)
        else:
            tokens = self.fusion[0] * au
        tokens = tokens + self.kind[0]
        if appearance is not None:
            tokens = torch.cat([tokens, appearance + self.kind[1]], 1)
        return FlatContext(tokens, logits)

    def keys(self, context: FlatContext) -> list[KeysValues]:
        """Return each block's keys and values of the context."""
        return [block.keys(context.tokens) for block in self.blocks]

    def flatten(self, codes: Tensor) -> Tensor:
        """Return entries [B, Q·N], level by level, of codes [B, N, Q]."""
        return codes.transpose(1, 2).flatten(1)

    def unflatten(self, entries: Tensor) -> Tensor:
        """Return codes [B, N, Q] of entries [B, Q·N]."""
        return entries.unflatten(1, (self.levels, -1)).transpose(1, 2)

    def forward(self, entries: Tensor, masked: Tensor, context_kv: list[KeysValues]) -> Tensor:
        """Return states [B, Q·N, H].

        Args:
            entries: int64 [B, Q·N] in 0..K-1, ignored where masked.
            masked: bool [B, Q·N].
            context_kv: Keys and values of the context.
        """
        count = entries.shape[1] // self.levels
        first = torch.arange(self.levels, device=entries.device).repeat_interleave(count)
        words = torch.where(masked, self.levels * self.entries, entries + first * self.entries)
        x = self.token(words) + self.positions()
        for block, kv in zip(self.blocks, context_kv, strict=True):
            x = block(x, kv)
        out: Tensor = self.norm(x)
        return out

    def logits(self, states: Tensor, level: int) -> Tensor:
        """Return logits [..., K] of a level's entries from states [..., H]."""
        out: Tensor = states @ self.head[level].T + self.bias[level]
        return out.float()

    def loss(
        self, context: FlatContext, codebooks: Tensor, codes: Tensor, masked: Tensor, changed: float
    ) -> Tensor:
        """Return the mean cross entropy of masked tokens.

        Args:
            context: Context of the batch.
            codebooks: Unused; the other design's loss takes them.
            codes: Targets [B, N, Q].
            masked: bool [B, Q·N].
            changed: Unused, since the paper weighs all tokens alike.
        """
        entries = self.flatten(codes)
        states = self(entries, masked, self.keys(context))
        count = codes.shape[1]
        total = states.new_zeros((), dtype=torch.float32)
        for level in range(self.levels):
            part = slice(level * count, (level + 1) * count)
            at = masked[:, part]
            found = self.logits(states[:, part][at], level)
            total = total + F.cross_entropy(found, entries[:, part][at], reduction="sum")
        return total / masked.sum()
