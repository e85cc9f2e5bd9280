"""OpenGraphAU: ME-GraphAU's design for 27 AUs and 14 one-sided ones.

Public release by ME-GraphAU's authors. Tensor names follow its published checkpoints, and so do
its ways: among them, the scores of L12 and R12 come from the node of AU11.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aubench.networks.detectors.graphau.megraphau import (
    EdgeExtractor,
    Graph,
    LinearBlock,
    Stage,
    au_tokens,
    cosines,
    edge_update,
)

MAIN = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 23, 24, 25, 26, 27,
        32, 38, 39)  # fmt: skip
"""AU numbers of the main outputs."""

OUTPUTS = tuple(f"AU{au}" for au in MAIN) + tuple(
    f"{side}{au}" for au in (1, 2, 4, 6, 10, 12, 14) for side in "LR"
)
"""Names of the 41 outputs."""

SIDED = (0, 1, 2, 4, 7, 8, 11)
"""Main node of each left/right pair. The sixth pair, L12 and R12, has AU11's: the published
weights were trained so, and AU12's node would not give their numbers."""


class OpenGraphLayer(nn.Module):
    """One update of nodes and edges; unlike ME-GraphAU's, the ReLU is inside the skip."""

    def __init__(self, channels: int, nodes: int) -> None:
        super().__init__()
        for name in "UVABE":
            self.add_module(name, nn.Linear(channels, channels, bias=False))
        self.bnv: nn.BatchNorm1d = nn.BatchNorm1d(nodes)
        self.bne: nn.BatchNorm1d = nn.BatchNorm1d(nodes * nodes)

    def forward(self, f: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        """Return updated nodes [B, N, C] and edges [B, N * N, C]."""
        change, e = edge_update(f, e, dict(self.named_children()))
        return f + F.relu(change), e


class OpenEdgeGraph(nn.Module):
    """Second stage: two layers."""

    def __init__(self, channels: int, nodes: int) -> None:
        super().__init__()
        self.graph_layers: nn.ModuleList = nn.ModuleList(
            OpenGraphLayer(channels, nodes) for _ in range(2)
        )

    def forward(self, f: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        """Return updated nodes [B, N, C] and edges [B, N * N, C]."""
        for layer in self.graph_layers:
            f, e = layer(f, e)
        return f, e


class OpenHead(nn.Module):
    """Features of 27 AUs; cosines for them and, from seven of them, for left and right.

    Args:
        channels: C.
        neighbours: K of the first stage's graph.
        stage: ``anfl`` or ``mefl``.
    """

    def __init__(self, channels: int, neighbours: int = 4, stage: Stage = "anfl") -> None:
        super().__init__()
        nodes = len(MAIN)
        self.main_class_linears: nn.ModuleList = nn.ModuleList(
            LinearBlock(channels, channels) for _ in range(nodes)
        )
        self.gnn: Graph | OpenEdgeGraph
        if stage == "anfl":
            self.gnn = Graph(channels, nodes, neighbours)
        else:
            self.edge_extractor: EdgeExtractor = EdgeExtractor(channels, nodes)
            self.gnn = OpenEdgeGraph(channels, nodes)
        self.main_sc: nn.Parameter = nn.Parameter(torch.empty(nodes, channels))
        self.sub_sc: nn.Parameter = nn.Parameter(torch.empty(2 * len(SIDED), channels))
        nn.init.xavier_uniform_(self.main_sc)
        nn.init.xavier_uniform_(self.sub_sc)

    def node_features(self, x: Tensor) -> Tensor:
        """Return f_v [B, 27, C] after the graph, from tokens [B, T, C]."""
        tokens, f = au_tokens(self.main_class_linears, x)
        updated: Tensor
        if isinstance(self.gnn, Graph):
            updated = self.gnn(f)
        else:
            updated, _ = self.gnn(f, self.edge_extractor(torch.stack(tokens, 1), x))
        return updated

    def forward(self, x: Tensor) -> Tensor:
        """Return probabilities [B, 41] in the order of ``OUTPUTS``."""
        f = self.node_features(x)
        pairs = [node for node in SIDED for _ in "LR"]
        return torch.cat([cosines(f, self.main_sc), cosines(f[:, pairs], self.sub_sc)], 1)


class OpenGraphAU(nn.Module):
    """A backbone that gives tokens, a projection, and the head; arguments as of `MEGraphAU`."""

    def __init__(
        self,
        backbone: nn.Module,
        width: int,
        channels: int,
        neighbours: int = 4,
        stage: Stage = "anfl",
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.global_linear: LinearBlock = LinearBlock(width, channels)
        self.head: OpenHead = OpenHead(channels, neighbours, stage)

    def features(self, x: Tensor) -> Tensor:
        """Return f_v [B, 27, C] after the graph, before normalisation; differentiable."""
        return self.head.node_features(self.global_linear(self.backbone(x)))

    def forward(self, x: Tensor) -> Tensor:
        """Return probabilities [B, 41]."""
        out: Tensor = self.head(self.global_linear(self.backbone(x)))
        return out
