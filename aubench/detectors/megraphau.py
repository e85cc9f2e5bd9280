"""The ME-GraphAU head, first stage: AU-specific features joined by a graph of similarities.

Luo et al., "Learning Multi-dimensional Edge Feature-based AU Relation Graph for Facial Action Unit
Recognition", IJCAI 2022, the ANFL part. Tensor names follow the published checkpoints.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LinearBlock(nn.Module):
    """Linear, batch norm over channels, ReLU, on tokens [B, T, D]."""

    def __init__(self, wide: int, narrow: int) -> None:
        super().__init__()
        self.fc = nn.Linear(wide, narrow)
        self.bn = nn.BatchNorm1d(narrow)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, T, narrow]."""
        y: Tensor = self.fc(x)
        return F.relu(self.bn(y.transpose(1, 2)).transpose(1, 2))


class Graph(nn.Module):
    """One update over the K nearest AUs: f + BN(A V f + U f), ReLU."""

    def __init__(self, channels: int, nodes: int, neighbours: int) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.U = nn.Linear(channels, channels)
        self.V = nn.Linear(channels, channels)
        self.bnv = nn.BatchNorm1d(nodes)

    def adjacency(self, f: Tensor) -> Tensor:
        """Return the normalised 0/1 adjacency [B, N, N] of node features [B, N, C].

        Each row keeps the entries not below its K-th largest dot product; both sides are scaled
        by the row sums, although the matrix is not symmetric.
        """
        detached = f.detach()
        similarity = detached @ detached.transpose(1, 2)
        threshold = similarity.topk(self.neighbours, dim=-1).values[..., -1:]
        kept = (similarity >= threshold).to(f.dtype)
        scale = kept.sum(-1).rsqrt()
        return scale[..., None] * kept * scale[:, None, :]

    def forward(self, f: Tensor) -> Tensor:
        """Return updated node features [B, N, C]."""
        message = self.adjacency(f) @ self.V(f) + self.U(f)
        return F.relu(f + self.bnv(message))


class Head(nn.Module):
    """AU features and their cosine with a learned direction a class.

    Args:
        channels: C.
        classes: number of AUs, N.
        neighbours: K of the graph.
    """

    def __init__(self, channels: int, classes: int = 12, neighbours: int = 4) -> None:
        super().__init__()
        self.class_linears = nn.ModuleList(LinearBlock(channels, channels) for _ in range(classes))
        self.gnn = Graph(channels, classes, neighbours)
        self.sc = nn.Parameter(torch.empty(classes, channels))
        nn.init.xavier_uniform_(self.sc)

    def node_features(self, x: Tensor) -> Tensor:
        """Return f_v [B, N, C] after the graph, from tokens [B, T, C]."""
        f = torch.stack([linear(x).mean(1) for linear in self.class_linears], 1)
        updated: Tensor = self.gnn(f)
        return updated

    def forward(self, x: Tensor) -> Tensor:
        """Return AU probabilities [B, N] in 0..1: cosines of non-negative vectors."""
        f = F.normalize(self.node_features(x), dim=-1)
        return (f * F.normalize(F.relu(self.sc), dim=-1)).sum(-1)


class MEGraphAU(nn.Module):
    """A backbone that gives tokens, a projection, and the head.

    Args:
        backbone: module from [B, 3, H, W] to tokens [B, T, width].
        width: D of the tokens.
        channels: C of the head.
    """

    def __init__(self, backbone: nn.Module, width: int, channels: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.global_linear = LinearBlock(width, channels)
        self.head = Head(channels)

    def features(self, x: Tensor) -> Tensor:
        """Return f_v [B, 12, C] after the graph."""
        return self.head.node_features(self.global_linear(self.backbone(x)))

    def forward(self, x: Tensor) -> Tensor:
        """Return probabilities [B, 12]."""
        out: Tensor = self.head(self.global_linear(self.backbone(x)))
        return out


def asymmetric_loss(p: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted asymmetric cross entropy of ME-GraphAU.

    Positives -log p, negatives -p log(1 - p) with the factor p taken without gradient.

    Args:
        p: probabilities [B, 12].
        target: 0/1 [B, 12].
        weight: of each AU [12], mean 1.
    """
    on = -target * torch.log(p.clamp(min=1e-8))
    off = -(1 - target) * p.detach() * torch.log((1 - p).clamp(min=1e-8))
    return ((on + off) * weight).mean()
