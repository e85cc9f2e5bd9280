"""Presets, conditions and codebooks for tests of VQ-AUFace's networks."""

import torch
from vqauface.networks.conditions import Condition
from vqauface.presets import preset

TINY, FLAT = preset("tiny"), preset("tiny-flat")


def condition(p, batch=5, seed=0, length=7):
    draw = torch.Generator().manual_seed(seed)
    words = torch.ones(batch, length, dtype=torch.bool)
    words[:, -2:] = False
    text = p.input == "text"
    return Condition(
        torch.rand(batch, 3, p.size, p.size, generator=draw) * 2 - 1,
        torch.randint(0, p.entries, (batch, p.grid**2, p.levels), generator=draw),
        torch.randn(batch, length, p.text, generator=draw) if text else None,
        words if text else None,
        torch.randint(0, 2, (batch, 12), generator=draw).float(),
        torch.randn(batch, 1, 128, generator=draw) if p.appearance == "nano-id" else None,
        torch.randn(batch, 5, 32, generator=draw) if p.structure == "clip" else None,
    )


def books_of(p):
    draw = torch.Generator().manual_seed(1)
    return torch.randn(p.levels, p.entries, p.code, generator=draw)
