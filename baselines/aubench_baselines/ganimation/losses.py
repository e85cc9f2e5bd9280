"""The losses of GANimation, each with its weight."""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from aubench_baselines.ganimation.networks import blend


class Weights(Protocol):
    """Weights of the terms; see ``ganimation_train.Settings``."""

    @property
    def au(self) -> float:
        """Of the AU loss, divided by the batch size."""

    @property
    def cycle(self) -> float:
        """Of the way back."""

    @property
    def mask(self) -> float:
        """Of the attention's mean."""

    @property
    def variation(self) -> float:
        """Of the attention's total variation."""


def generator_loss(
    x: Tensor, aus: Tensor, wanted: Tensor, painter: Any, critic: Any, s: Weights
) -> dict[str, Tensor]:
    """Return the weighted terms of the generator's loss; their sum is its loss.

    Args:
        x: Real images [B, 3, H, W].
        aus: Their AUs [B, A].
        wanted: Commanded AUs [B, A].
        painter: The generator network.
        critic: Gives realness and AUs.
        s: The weights of the terms.
    """
    colour, first = painter(x, wanted)
    fake = blend(x, colour.float(), first.float())
    realness, predicted = critic(fake)
    colour, second = painter(fake, aus)
    back = blend(fake, colour.float(), second.float())
    masks = (first.float(), second.float())
    return {
        "fool": -realness.float().mean(),
        "au": s.au / len(x) * F.mse_loss(predicted.float(), wanted),
        "cycle": s.cycle * (back - x).abs().mean(),
        "mask": s.mask * sum((m.mean() for m in masks), torch.zeros(())),
        "tv": s.variation * sum((total_variation(m) for m in masks), torch.zeros(())),
    }


def total_variation(mask: Tensor) -> Tensor:
    """Return the sum of absolute differences of neighbours of [B, 1, H, W]."""
    across = (mask[..., :, 1:] - mask[..., :, :-1]).abs().sum()
    return across + (mask[..., 1:, :] - mask[..., :-1, :]).abs().sum()


def gradient_penalty(critic: Any, x: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """Return the mean of (gradient norm - 1)² between real and fake images.

    Args:
        critic: Gives realness [B, h, w] and AUs.
        x: Real images [B, 3, H, W].
        fake: Generated images.
        share: [B, 1, 1, 1] in 0..1, of the real image.
    """
    between = (share * x + (1 - share) * fake).detach().requires_grad_(True)
    realness, _ = critic(between)
    (slope,) = torch.autograd.grad(realness.float().sum(), between, create_graph=True)
    norm: Tensor = slope.flatten(1).norm(dim=1)
    return ((norm - 1) ** 2).mean()
