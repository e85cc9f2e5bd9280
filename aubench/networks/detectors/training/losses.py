"""Losses over known labels, cut into parts that add up to the loss of the whole batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aubench.networks.detectors.graphau.megraphau import (
    MEGraphAU,
    asymmetric_loss,
    edge_loss,
    edge_targets,
)

RAREST = 0.01
"""Rates below it are taken as this, so that a nearly absent AU does not outweigh the others."""


class Outputs(nn.Module):
    """The network with everything that its loss needs, in the one call that is shared out."""

    network: nn.Module
    edges: bool

    def __init__(self, network: nn.Module, edges: bool) -> None:
        super().__init__()
        self.network, self.edges = network, edges

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return probabilities [B, 12], and edge logits [B, 144, 4] of the second stage."""
        if self.edges and isinstance(self.network, MEGraphAU):
            return self.network.with_edges(x)
        return self.network(x), None


def au_weights(labels: Tensor) -> Tensor:
    """Return the weight of each AU [12]: one over its rate, scaled to a mean of 1.

    AUs of which no label is known weigh 0 and have no part in the mean.

    Args:
        labels: 0/1 [N, 12], negative is unknown.
    """
    known = labels >= 0
    count = known.sum(0)
    rate = (labels == 1).sum(0).float() / count.clamp(min=1)
    weight = 1 / rate.clamp(min=RAREST)
    seen = count > 0
    return torch.where(seen, weight / weight[seen].mean(), 0.0)


@dataclass(frozen=True)
class Whole:
    """What a batch knows, by which the losses of its parts are divided.

    Attributes:
        labels: Number of known labels.
        pairs: Number of pairs of known labels, of 144 an image.
    """

    labels: int
    pairs: int

    @classmethod
    def of(cls, labels: Tensor) -> Whole:
        """Count a batch's labels [B, 12], negative is unknown."""
        known = (labels >= 0).sum(1)
        return cls(max(1, int(known.sum())), max(1, int((known * known).sum())))


def masked_asymmetric(p: Tensor, target: Tensor, weight: Tensor, whole: Whole) -> Tensor:
    """Return a part's share of the weighted asymmetric loss, a mean over known labels.

    An unknown label is given target and probability 0, whose loss and gradient are 0.

    Args:
        p: Probabilities [B, 12].
        target: 0/1 [B, 12], negative is unknown.
        weight: Weight of each AU [12].
        whole: Labels of the batch that the part belongs to.
    """
    known = target >= 0
    loss = asymmetric_loss(torch.where(known, p, 0.0), torch.where(known, target, 0.0), weight)
    return loss * (p.numel() / whole.labels)


def masked_entropy(p: Tensor, target: Tensor, whole: Whole) -> Tensor:
    """Return a part's share of the binary cross entropy, a mean over known labels."""
    known = target >= 0
    loss = F.binary_cross_entropy(
        p.clamp(1e-6, 1 - 1e-6), torch.where(known, target, 0.0), known.to(p.dtype)
    )
    return loss * (p.numel() / whole.labels)


def masked_edges(logits: Tensor, target: Tensor, weight: float, whole: Whole) -> Tensor:
    """Return a part's share of the loss on edges, a mean over pairs of known labels.

    Args:
        logits: [B, 144, 4].
        target: 0/1 [B, 12], negative is unknown.
        weight: Lambda.
        whole: Labels of the batch that the part belongs to.
    """
    pairs = int((edge_targets(target) >= 0).sum())
    if not pairs:  # the mean over no pair is NaN
        return logits.sum() * 0.0
    return edge_loss(logits, target, weight) * (pairs / whole.pairs)
