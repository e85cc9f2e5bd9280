"""Design ``grid`` of stage II, the nano's: a place is a position, a head predicts its levels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqauface.networks.conditions import AUS, AUQueries, Condition, FaceEncoder, LabelStates
from vqauface.networks.rqvae import embed
from vqauface.presets import Preset


@dataclass(frozen=True)
class GridContext:
    """What does not change while tokens are filled in.

    Attributes:
        au: AU tokens [B, 12, H].
        appearance: [B, 1, H], None where left out.
        grid: Fused reference tokens [B, N, H].
        reference: Codes of the reference [B, N, Q].
        logits: Logits of the AUs by the probe [B, 12].
    """

    au: Tensor
    appearance: Tensor | None
    grid: Tensor
    reference: Tensor
    logits: Tensor


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
            nn.LayerNorm(p.hidden),
            nn.Linear(p.hidden, p.hidden),
            nn.GELU(),
            nn.Linear(p.hidden, p.code),
        )
        self.scale = nn.Parameter(torch.full((p.levels,), 4.0))
        self.bias = nn.Parameter(torch.zeros(p.levels, p.entries))
        self.copy = nn.Linear(p.hidden, p.levels)
        nn.init.zeros_(self.copy.weight)
        nn.init.constant_(self.copy.bias, 2.0)

    def forward(
        self,
        h: Tensor,
        coarser: Tensor,
        codebooks: Tensor,
        level: int,
        before: Tensor | None,
        same: Tensor,
    ) -> Tensor:
        """Return logits [..., K] of one level.

        Args:
            h: States [..., H].
            coarser: Sum of the code vectors chosen so far [..., D].
            codebooks: Entries of all levels [Q, K, D].
            level: 0 is the coarsest.
            before: The reference's entry of this level int64 [...]; None without VAE tokens.
            same: Whether all coarser entries are the reference's, bool [...].
        """
        v = self.mlp(h + self.level[level] + self.chosen(coarser))
        # Nearness to the entries, as the quantiser itself decides.
        book = F.normalize(codebooks[level], dim=-1)
        logits: Tensor = (self.scale[level] * (v @ book.T) + self.bias[level]).float()
        if before is None:
            return logits
        bonus = self.copy(h)[..., level].float() * same
        return logits.scatter_add(-1, before[..., None], bonus[..., None])


class MaskedTransformer(nn.Module):
    """Bidirectional transformer over the token grid, the AU tokens and the appearance token."""

    def __init__(self, p: Preset) -> None:
        super().__init__()
        n = p.grid**2
        self.kinds = frozenset(k for k in ("appearance", "structure", "vae") if p.has(k))
        self.face = FaceEncoder(p)
        self.au = AUQueries(p)
        if p.input == "labels":
            self.labels = LabelStates(p)
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

    def places(self, p: Preset) -> int:
        """Return how many places of the sequence are masked and filled in."""
        return p.grid**2

    def reference_tokens(self, c: Condition, codebooks: Tensor) -> tuple[Tensor | None, Tensor]:
        """Return appearance [B, 1, H] and the fused tokens of the grid [B, N, H] of a reference."""
        appearance, structure = self.face(c.image, c.appearance, c.structure)
        vae = None
        if "vae" in self.kinds:
            vae = self.vae(embed(codebooks, c.codes).sum(2))
        if structure is not None and vae is not None:
            at = self.face.places(structure)
            grid = self.fusion[1] * at + self.fusion[2] * vae + self.place
        elif structure is not None:
            grid = self.fusion[1] * self.face.places(structure) + self.place
        elif vae is not None:
            grid = self.fusion[2] * vae + self.place
        else:
            grid = self.place.expand(len(c.image), -1, -1)
        return (None if appearance is None else self.fusion[0] * appearance), grid

    def au_tokens(self, c: Condition) -> Tensor:
        """Return AU tokens [B, 12, H] of texts or labels."""
        if c.hidden is None:
            assert c.labels is not None
            hidden, words = self.labels(c.labels)
        else:
            assert c.words is not None
            hidden, words = c.hidden, c.words
        tokens: Tensor = self.au(hidden, words)
        return tokens

    def context(
        self, c: Condition, codebooks: Tensor, dropped: Tensor | None = None
    ) -> GridContext:
        """Return the context of a batch; where ``dropped`` bool [B] the behaviour is unknown."""
        appearance, grid = self.reference_tokens(c, codebooks)
        au = self.au_tokens(c) if c.au is None else c.au
        logits = self.au.presence(au)
        if dropped is not None:
            au = torch.where(dropped[:, None, None], self.null.to(au.dtype), au)
        return GridContext(au, appearance, grid, c.codes, logits)

    def forward(
        self, tokens: Tensor, masked: Tensor, au: Tensor, appearance: Tensor | None, grid: Tensor
    ) -> Tensor:
        """Return states [B, N, H] of the grid.

        Args:
            tokens: Code vectors summed over levels [B, N, D]; ignored where masked.
            masked: bool [B, N].
            au: AU tokens [B, 12, H].
            appearance: [B, 1, H], or None.
            grid: Fused reference tokens [B, N, H].
        """
        x = torch.where(masked[..., None], self.mask, self.token(tokens)) + grid
        extra = self.fusion[3] * au
        if appearance is not None:
            extra = torch.cat([extra, appearance], 1)
        extra = extra + self.kind[: extra.shape[1]]
        out: Tensor = self.blocks(torch.cat([x, extra], 1))
        return out[:, : tokens.shape[1]]

    def loss(
        self, context: GridContext, codebooks: Tensor, codes: Tensor, masked: Tensor, changed: float
    ) -> Tensor:
        """Return the cross entropy at masked places.

        Args:
            context: Context of the batch.
            codebooks: Entries of all levels [Q, K, D].
            codes: Targets [B, N, Q].
            masked: bool [B, N].
            changed: Weight of places whose coarsest entry is not the reference's.
        """
        tokens = embed(codebooks, codes).sum(2)
        states = self(tokens, masked, context.au, context.appearance, context.grid)
        moved = (codes[..., 0] != context.reference[..., 0])[..., None]
        weight = 1 + (changed - 1) * moved.float().expand(codes.shape)
        reference = context.reference if "vae" in self.kinds else None
        return token_loss(self, codebooks, states, codes, reference, masked, weight)


def token_loss(
    model: MaskedTransformer,
    codebooks: Tensor,
    states: Tensor,
    codes: Tensor,
    reference: Tensor | None,
    masked: Tensor,
    weight: Tensor,
) -> Tensor:
    """Return the weighted cross entropy of all levels at the masked positions.

    Args:
        model: Model whose depth head predicts.
        codebooks: Entries of all levels [Q, K, D].
        states: [B, N, H].
        codes: Targets [B, N, Q].
        reference: Codes of the reference [B, N, Q]; None without VAE tokens.
        masked: bool [B, N].
        weight: Weight of each token [B, N, Q].
    """
    vectors = embed(codebooks, codes[masked][None])[0]  # [M, Q, D]
    coarser = vectors.cumsum(1) - vectors
    h, target, w = states[masked], codes[masked], weight[masked]
    before = None if reference is None else reference[masked]
    same = torch.ones_like(target[:, 0], dtype=torch.bool)
    total = torch.zeros((), dtype=torch.float32, device=h.device)
    for q in range(len(codebooks)):
        mine = None if before is None else before[:, q]
        logits = model.depth(h, coarser[:, q], codebooks, q, mine, same)
        if mine is not None:
            same = same & (target[:, q] == mine)
        total = total + (F.cross_entropy(logits, target[:, q], reduction="none") * w[:, q]).sum()
    return total / w.sum()
