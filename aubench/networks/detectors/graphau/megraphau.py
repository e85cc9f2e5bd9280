"""ME-GraphAU: AU-specific features, a graph over them, cosines with a learned direction an AU.

Luo et al., "Learning Multi-dimensional Edge Feature-based AU Relation Graph for Facial Action Unit
Recognition", IJCAI 2022. The first stage (ANFL) joins the AUs by their similarity, the second
(MEFL) by learned edge features. Tensor names follow the published checkpoints.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Stage = Literal["anfl", "mefl"]
STAGES: tuple[Stage, ...] = get_args(Stage)
"""First stage: similarity graph. Second stage: edge features."""


class LinearBlock(nn.Module):
    """Linear, batch norm over channels, ReLU, on tokens [B, T, D]."""

    def __init__(self, wide: int, narrow: int) -> None:
        super().__init__()
        self.fc: nn.Linear = nn.Linear(wide, narrow)
        self.bn: nn.BatchNorm1d = nn.BatchNorm1d(narrow)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, T, narrow]."""
        y: Tensor = self.fc(x)
        return F.relu(self.bn(y.transpose(1, 2)).transpose(1, 2))


class Graph(nn.Module):
    """First stage: one update over the K nearest AUs, f + BN(A V f + U f), ReLU."""

    def __init__(self, channels: int, nodes: int, neighbours: int) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.U = nn.Linear(channels, channels)
        self.V = nn.Linear(channels, channels)
        self.bnv: nn.BatchNorm1d = nn.BatchNorm1d(nodes)

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


class CrossAttention(nn.Module):
    """Projections of attention with one head; no output projection, no skip."""

    scale: float

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear_q: nn.Linear = nn.Linear(channels, channels // 2)
        self.linear_k: nn.Linear = nn.Linear(channels, channels // 2)
        self.linear_v: nn.Linear = nn.Linear(channels, channels)
        self.scale = (channels // 2) ** -0.5

    def weights(self, q: Tensor, k: Tensor) -> Tensor:
        """Return attention [..., Tq, Tk] of queries [..., Tq, C/2] over keys [..., Tk, C/2]."""
        return torch.softmax(q @ k.transpose(-1, -2) * self.scale, -1)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Return [..., T, C]: what tokens ``x`` gather from the tokens of ``context``."""
        weights = self.weights(self.linear_q(x), self.linear_k(context))
        gathered: Tensor = weights @ self.linear_v(context)
        return gathered


class EdgeExtractor(nn.Module):
    """Second stage: a feature for each ordered pair of AUs.

    ``FAM`` lets each AU's tokens look at the face; ``ARM`` lets the tokens of AU j look at those
    of AU i, which gives edge i * N + j.
    """

    def __init__(self, channels: int, nodes: int) -> None:
        super().__init__()
        self.FAM = CrossAttention(channels)
        self.ARM = CrossAttention(channels)
        self.edge_proj: nn.Linear = nn.Linear(channels, channels)
        self.bn: nn.BatchNorm2d = nn.BatchNorm2d(nodes * nodes)

    def forward(self, f_u: Tensor, x: Tensor) -> Tensor:
        """Return edge features [B, N * N, C] of AU tokens [B, N, T, C] and tokens [B, T, C].

        Outside training, projection and batch norm are affine, so the mean over tokens is taken
        before them: the same numbers but for rounding, at 1/T of the memory.
        """
        f = self.FAM(f_u, x[:, None])
        q, k, v = self.ARM.linear_q(f), self.ARM.linear_k(f), self.ARM.linear_v(f)
        rows = []
        for i in range(f.shape[1]):  # a row of edges at a time, which bounds the memory
            weights = self.ARM.weights(q, k[:, i, None])
            if not self.bn.training:
                weights = weights.mean(-2, keepdim=True)
            rows.append(weights @ v[:, i, None])
        edges = torch.stack(rows, 1).flatten(1, 2)
        mean: Tensor = self.bn(self.edge_proj(edges)).mean(2)
        return mean


def edge_update(f: Tensor, e: Tensor, layer: dict[str, nn.Module]) -> tuple[Tensor, Tensor]:
    """Return the change of the nodes [B, N, C] and the new edges [B, N * N, C].

    Args:
        f: Node features [B, N, C].
        e: Edge features [B, N * N, C], edge i * N + j.
        layer: Linear maps ``U V A B E``, batch norms ``bnv`` over nodes and ``bne`` over edges.
    """
    nodes = f.shape[1]
    pairs = layer["A"](f)[:, :, None] + layer["B"](f)[:, None]
    e = e + F.relu(layer["bne"](pairs.flatten(1, 2) + layer["E"](e)))
    gate = torch.softmax(torch.sigmoid(e).view(len(e), nodes, nodes, -1), 2)
    message = (gate * layer["V"](f)[:, None]).sum(2) / nodes
    return layer["bnv"](layer["U"](f) + message), e


class EdgeGraph(nn.Module):
    """Second stage: two updates of nodes and edges by each other."""

    def __init__(self, channels: int, nodes: int) -> None:
        super().__init__()
        for number in (1, 2):
            for name in "UVABE":
                self.add_module(f"{name}{number}", nn.Linear(channels, channels, bias=False))
            self.add_module(f"bnv{number}", nn.BatchNorm1d(nodes))
            self.add_module(f"bne{number}", nn.BatchNorm1d(nodes * nodes))

    def forward(self, f: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        """Return updated nodes [B, N, C] and edges [B, N * N, C]."""
        for number in (1, 2):
            names = (*"UVABE", "bnv", "bne")
            layer = {name: self.get_submodule(f"{name}{number}") for name in names}
            change, e = edge_update(f, e, layer)
            f = F.relu(f + change)
        return f, e


def cosines(f: Tensor, directions: Tensor) -> Tensor:
    """Return cosines [B, N] of features [B, N, C] with the positive part of directions [N, C]."""
    return (F.normalize(f, dim=-1) * F.normalize(F.relu(directions), dim=-1)).sum(-1)


def au_tokens(linears: nn.ModuleList, x: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return the tokens of each AU, N of [B, T, C], and their means [B, N, C], of [B, T, C]."""
    tokens = [linear(x) for linear in linears]
    return tokens, torch.stack([one.mean(1) for one in tokens], 1)


class Head(nn.Module):
    """AU features and their cosine with a learned direction an AU.

    Args:
        channels: C.
        classes: Number of AUs, N.
        neighbours: K of the first stage's graph.
        stage: ``anfl`` or ``mefl``.
    """

    def __init__(
        self, channels: int, classes: int = 12, neighbours: int = 4, stage: Stage = "anfl"
    ) -> None:
        super().__init__()
        self.stage = stage
        self.class_linears: nn.ModuleList = nn.ModuleList(
            LinearBlock(channels, channels) for _ in range(classes)
        )
        self.gnn: Graph | EdgeGraph
        if stage == "anfl":
            self.gnn = Graph(channels, classes, neighbours)
        else:
            self.edge_extractor: EdgeExtractor = EdgeExtractor(channels, classes)
            self.gnn = EdgeGraph(channels, classes)
            self.edge_fc: nn.Linear = nn.Linear(channels, 4)
        self.sc: nn.Parameter = nn.Parameter(torch.empty(classes, channels))
        nn.init.xavier_uniform_(self.sc)

    def _joined(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        tokens, f = au_tokens(self.class_linears, x)
        if isinstance(self.gnn, Graph):
            return self.gnn(f), None
        nodes, edges = self.gnn(f, self.edge_extractor(torch.stack(tokens, 1), x))
        return nodes, edges

    def node_features(self, x: Tensor) -> Tensor:
        """Return f_v [B, N, C] after the graph, from tokens [B, T, C]."""
        return self._joined(x)[0]

    def forward(self, x: Tensor) -> Tensor:
        """Return AU probabilities [B, N] in 0..1: cosines of non-negative vectors."""
        return cosines(self.node_features(x), self.sc)

    def with_edges(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities [B, N] and edge logits [B, N * N, 4] of the second stage.

        Raises:
            ValueError: The first stage has no edges.
        """
        nodes, edges = self._joined(x)
        if edges is None:
            raise ValueError("the first stage (anfl) has no edges")
        return cosines(nodes, self.sc), self.edge_fc(edges)


class MEGraphAU(nn.Module):
    """A backbone that gives tokens, a projection, and the head.

    Args:
        backbone: Module from [B, 3, H, W] to tokens [B, T, width].
        width: D of the tokens.
        channels: C of the head.
        classes: Number of AUs, N (BP4D 12, DISFA 8).
        neighbours: K of the first stage's graph (BP4D 4, DISFA 3).
        stage: ``anfl`` or ``mefl``.
    """

    def __init__(
        self,
        backbone: nn.Module,
        width: int,
        channels: int,
        classes: int = 12,
        neighbours: int = 4,
        stage: Stage = "anfl",
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.global_linear: LinearBlock = LinearBlock(width, channels)
        self.head: Head = Head(channels, classes, neighbours, stage)

    def features(self, x: Tensor) -> Tensor:
        """Return f_v [B, N, C] after the graph, before normalisation; differentiable."""
        return self.head.node_features(self.global_linear(self.backbone(x)))

    def forward(self, x: Tensor) -> Tensor:
        """Return probabilities [B, N]."""
        out: Tensor = self.head(self.global_linear(self.backbone(x)))
        return out

    def with_edges(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities [B, N] and edge logits [B, N * N, 4]; second stage only."""
        return self.head.with_edges(self.global_linear(self.backbone(x)))


def asymmetric_loss(p: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted asymmetric cross entropy of ME-GraphAU.

    Positives -log p, negatives -p log(1 - p) with the factor p taken without gradient.

    Args:
        p: Probabilities [B, N].
        target: 0/1 [B, N].
        weight: Weight of each AU [N], mean 1.
    """
    on = -target * torch.log(p.clamp(min=1e-8))
    off = -(1 - target) * p.detach() * torch.log((1 - p).clamp(min=1e-8))
    return ((on + off) * weight).mean()


def edge_targets(target: Tensor) -> Tensor:
    """Return classes 2 a_i + a_j, int64 [B, N * N] in row-major order, of labels [B, N].

    Pairs with an unknown label (negative) have class -100, which cross entropy leaves out.
    """
    a = target.long()
    pairs = 2 * a[:, :, None] + a[:, None, :]
    known = (a >= 0)[:, :, None] & (a >= 0)[:, None, :]
    return torch.where(known, pairs, -100).flatten(1)


def edge_loss(logits: Tensor, target: Tensor, weight: float = 1e-3) -> Tensor:
    """Return the second stage's loss on edges: weighted mean cross entropy.

    Args:
        logits: [B, N * N, 4].
        target: 0/1 [B, N]; negative is unknown.
        weight: Lambda; the paper's is 0.05 for ResNet-50, 0.01 for Swin-B.
    """
    return weight * F.cross_entropy(logits.transpose(1, 2), edge_targets(target))
