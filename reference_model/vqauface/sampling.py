"""Parallel decoding of masked tokens, with randomness of each sample its own (MaskGIT)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vqauface.maskgit import FlatContext, MaskGitTransformer
from vqauface.networks.conditions import Condition
from vqauface.networks.rqvae import embed
from vqauface.networks.transformer import GridContext, MaskedTransformer

Model = MaskedTransformer | MaskGitTransformer


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        steps: Steps of the schedule.
        temperature: 0 takes the likeliest entry.
        guidance: 1 is off; above, what the text adds is exaggerated.
    """

    steps: int
    temperature: float
    guidance: float


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


def gumbel_confidence_noise(u: Tensor, temperature: float, step: int, steps: int) -> Tensor:
    """Return the Gumbel noise of the confidence; it fades to nothing at the last step."""
    noise = -torch.log(-torch.log(u.clamp(1e-6, 1 - 1e-6)))
    return temperature * (1 - (step + 1) / steps) * noise


def lowest_confidence(confidence: Tensor, masked: Tensor, left: int) -> Tensor:
    """Return which places stay masked, the ``left`` least sure; those filled in never return."""
    confidence = confidence.masked_fill(~masked, float("inf"))
    order = confidence.argsort(dim=-1, stable=True)
    out = torch.zeros_like(masked)
    if left > 0:
        out.scatter_(1, order[:, :left], True)
    return out


@torch.inference_mode()
def decode(
    model: Model, codebooks: Tensor, condition: Condition, seeds: Sequence[int], how: Sampling
) -> Tensor:
    """Return codes int64 [B, N, Q].

    Args:
        model: Trained, of either design.
        codebooks: Entries of all levels [Q, K, D].
        condition: Reference and behaviour of the batch.
        seeds: One a sample.
        how: Options.
    """
    context = model.context(condition, codebooks)
    if isinstance(model, MaskedTransformer):
        assert isinstance(context, GridContext)
        return decode_grid(model, codebooks, context, seeds, how)
    assert isinstance(context, FlatContext)
    plain = None
    if how.guidance != 1:
        every = torch.ones(len(seeds), dtype=torch.bool, device=codebooks.device)
        plain = model.context(condition, codebooks, every)
    return decode_flat(model, context, plain, seeds, how)


@torch.inference_mode()
def decode_grid(
    model: MaskedTransformer,
    codebooks: Tensor,
    context: GridContext,
    seeds: Sequence[int],
    how: Sampling,
) -> Tensor:
    """Return codes int64 [B, N, Q]; positions are filled in, all levels of one at once."""
    batch, places = context.grid.shape[:2]
    levels, width, device = len(codebooks), codebooks.shape[-1], codebooks.device
    u = uniforms(seeds, how.steps, places, levels).to(device)
    codes = torch.zeros(batch, places, levels, dtype=torch.long, device=device)
    tokens = torch.zeros(batch, places, width, device=device)
    masked = torch.ones(batch, places, dtype=torch.bool, device=device)
    null = model.null.expand(batch, -1, -1)
    unguided = replace(context, au=null) if how.guidance != 1 else None
    for step in range(how.steps):
        drawn, sure = _levels(model, codebooks, context, unguided, tokens, masked, u[:, step], how)
        codes = torch.where(masked[..., None], drawn, codes)
        left = kept_masked(step, how.steps, places)
        confidence = sure / levels + gumbel_confidence_noise(
            u[:, step, :, levels], how.temperature, step, how.steps
        )
        masked = lowest_confidence(confidence, masked, left)
        tokens = embed(codebooks, codes).sum(2)
    return codes


def _levels(
    model: MaskedTransformer,
    codebooks: Tensor,
    context: GridContext,
    unguided: GridContext | None,
    tokens: Tensor,
    masked: Tensor,
    u: Tensor,
    how: Sampling,
) -> tuple[Tensor, Tensor]:
    """Return drawn codes [B, N, Q] and the sum of their log probabilities [B, N]."""
    states = model(tokens, masked, context.au, context.appearance, context.grid)
    plain = states
    if unguided is not None:
        plain = model(tokens, masked, unguided.au, context.appearance, context.grid)
    shape = (*masked.shape, len(codebooks))
    drawn = torch.zeros(shape, dtype=torch.long, device=tokens.device)
    coarser = torch.zeros_like(tokens)
    sure = torch.zeros(masked.shape, device=tokens.device)
    same = torch.ones_like(masked)
    for q in range(len(codebooks)):
        before = context.reference[..., q] if "vae" in model.kinds else None
        logits = model.depth(states, coarser, codebooks, q, before, same)
        if unguided is not None:
            base = model.depth(plain, coarser, codebooks, q, before, same)
            logits = base + how.guidance * (logits - base)
        drawn[..., q], logp = choose(logits, u[:, :, q], how.temperature)
        coarser = coarser + codebooks[q][drawn[..., q]]
        if before is not None:
            same = same & (drawn[..., q] == before)
        sure = sure + logp
    return drawn, sure


@torch.inference_mode()
def decode_flat(
    model: MaskGitTransformer,
    context: FlatContext,
    plain: FlatContext | None,
    seeds: Sequence[int],
    how: Sampling,
) -> Tensor:
    """Return codes int64 [B, N, Q]; every residual token is filled in by itself.

    Keys and values of the context are computed once. With ``coarse`` no token of a level is filled
    in while one of a coarser level is open.
    """
    places, device = len(model.positions()), context.tokens.device
    count = places // model.levels
    u = uniforms(seeds, how.steps, places, 1).to(device)
    entries = torch.zeros(len(seeds), places, dtype=torch.long, device=device)
    masked = torch.ones(len(seeds), places, dtype=torch.bool, device=device)
    context_kv = model.keys(context)
    untold = model.keys(plain) if plain is not None else None
    for step in range(how.steps):
        states = model(entries, masked, context_kv)
        base = model(entries, masked, untold) if untold is not None else None
        sure = torch.zeros(masked.shape, device=device)
        for level in range(model.levels):
            part = slice(level * count, (level + 1) * count)
            if not masked[:, part].any():
                continue
            logits = model.logits(states[:, part], level)
            if base is not None:
                unguided = model.logits(base[:, part], level)
                logits = unguided + how.guidance * (logits - unguided)
            drawn, sure[:, part] = choose(logits, u[:, step, part, 0], how.temperature)
            entries[:, part] = torch.where(masked[:, part], drawn, entries[:, part])
        confidence = sure + gumbel_confidence_noise(
            u[:, step, :, 1], how.temperature, step, how.steps
        )
        if model.coarse:
            confidence = confidence + later(model.levels, count, device)
        masked = lowest_confidence(confidence, masked, kept_masked(step, how.steps, places))
    return model.unflatten(entries)


def later(levels: int, count: int, device: torch.device) -> Tensor:
    """Return what puts any token of a level before all of the next, [Q·N]."""
    rank = torch.arange(levels, 0, -1, device=device, dtype=torch.float32)
    return (1e4 * rank).repeat_interleave(count)


def training_mask(
    batch: int, places: int, draw: torch.Generator, levels: int = 1, coarse: bool = False
) -> Tensor:
    """Return bool [B, places], its share drawn from the cosine schedule, at least one masked.

    With ``coarse`` the finest levels are masked first, as decoding leaves them.
    """
    share = torch.cos(torch.rand(batch, 1, generator=draw) * math.pi / 2)
    order = torch.rand(batch, places, generator=draw)
    if not coarse:
        return (order < share) | (order == order.min(1, keepdim=True).values)
    count = places // levels
    order = order + torch.arange(levels, 0, -1).repeat_interleave(count)
    kept = (share * places).ceil().clamp(1, places).long()
    return order.argsort(1).argsort(1) < kept
