"""Parallel decoding of masked tokens, with randomness of each sample its own (MaskGIT)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vqauface.rqvae import embed
from vqauface.transformer import MaskedTransformer


def uniforms(seeds: Sequence[int], steps: int, places: int, levels: int) -> Tensor:
    """Return numbers in 0..1 [B, steps, N, Q + 1]; a row depends on its seed alone."""
    rows = []
    for seed in seeds:
        draw = torch.Generator().manual_seed(seed)
        rows.append(torch.rand(steps, places, levels + 1, generator=draw))
    return torch.stack(rows)


def kept_masked(step: int, steps: int, places: int) -> int:
    """Return how many positions stay masked after a step of the cosine schedule."""
    return math.floor(places * math.cos(math.pi / 2 * (step + 1) / steps) + 1e-6)


def choose(logits: Tensor, u: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return entries [B, N] and their log probabilities, by inverse CDF at ``u`` [B, N]."""
    logp = torch.log_softmax(logits.float(), -1)
    if temperature <= 0:
        entry = logp.argmax(-1)
    else:
        p = torch.softmax(logits.float() / temperature, -1)
        reached = p.cumsum(-1) < u[..., None]
        entry = reached.sum(-1).clamp(max=logits.shape[-1] - 1)
    return entry, logp.gather(-1, entry[..., None])[..., 0]


@torch.inference_mode()
def decode(
    model: MaskedTransformer,
    books: Tensor,
    au: Tensor,
    appearance: Tensor,
    grid: Tensor,
    reference: Tensor,
    seeds: Sequence[int],
    *,
    steps: int,
    temperature: float,
    guidance: float,
) -> Tensor:
    """Return codes int64 [B, N, Q].

    Args:
        model: trained transformer.
        books: codebooks [Q, K, D].
        au: AU tokens [B, 12, H].
        appearance: [B, 1, H].
        grid: fused reference tokens [B, N, H].
        reference: codes of the reference [B, N, Q].
        seeds: one a sample.
        steps: of the schedule.
        temperature: 0 takes the likeliest entry.
        guidance: 1 is off; above, what the text adds is exaggerated.
    """
    batch, places = grid.shape[:2]
    levels, width = len(books), books.shape[-1]
    u = uniforms(seeds, steps, places, levels)
    codes = torch.zeros(batch, places, levels, dtype=torch.long)
    tokens = torch.zeros(batch, places, width)
    masked = torch.ones(batch, places, dtype=torch.bool)
    null = model.null.expand(batch, -1, -1)
    for step in range(steps):
        states = model(tokens, masked, au, appearance, grid)
        plain = model(tokens, masked, null, appearance, grid) if guidance != 1 else states
        drawn = torch.zeros_like(codes)
        coarser = torch.zeros_like(tokens)
        sure = torch.zeros(batch, places)
        same = torch.ones(batch, places, dtype=torch.bool)
        for q in range(levels):
            before = reference[..., q]
            logits = model.depth(states, coarser, books, q, before, same)
            if guidance != 1:
                base = model.depth(plain, coarser, books, q, before, same)
                logits = base + guidance * (logits - base)
            drawn[..., q], logp = choose(logits, u[:, step, :, q], temperature)
            coarser = coarser + books[q][drawn[..., q]]
            same = same & (drawn[..., q] == before)
            sure = sure + logp
        codes = torch.where(masked[..., None], drawn, codes)
        left = kept_masked(step, steps, places)
        noise = -torch.log(-torch.log(u[:, step, :, levels].clamp(1e-6, 1 - 1e-6)))
        confidence = sure / levels + temperature * (1 - (step + 1) / steps) * noise
        confidence = confidence.masked_fill(~masked, float("inf"))
        order = confidence.argsort(dim=-1, stable=True)
        masked = torch.zeros_like(masked)
        if left > 0:
            masked.scatter_(1, order[:, :left], True)
        tokens = embed(books, codes).sum(2)
    return codes
