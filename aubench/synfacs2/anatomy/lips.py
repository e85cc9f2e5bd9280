"""Lips that meet: after any motion they are neither apart nor through each other, but on request.

The mouth of a mesh opens or crosses when motions of the upper and the lower lip are added. Along
the seam of the lips, columns of vertices give the gap between them; it is brought back to that of
the resting mouth, half by the upper lip, half by the lower, fading with the distance from the seam.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from aubench.synfacs2.anatomy.head import BODY, F32, head, smoothstep

Array = np.ndarray[Any, Any]

JAW = ((0.0, 0.10, 0.15, 0.19, 0.205), (-0.17, -0.15, -0.14, -0.12, -0.1245))
"""Distance from the midline, and how far an opening jaw takes the lower edge there at least."""
COLUMNS = np.linspace(-0.19, 0.19, 19)
"""Where the gap is measured on the mean head, decimetres from the midline."""
EDGE = 10
"""Vertices that may form an edge in a column; which one does changes as lips roll."""
REACH = 0.13
"""How far from the seam the lips give way, decimetres."""


@dataclass(frozen=True)
class Seam:
    """Vertices of the two edges of the lips, and which vertices follow them.

    Attributes:
        upper: Vertices of which the lowest is the upper edge, by column, int [19, EDGE].
        lower: Vertices of which the highest is the lower edge, by column, int [19, EDGE].
        index: Vertices that follow, int [K].
        weight: Share of the half gap that each follows, negative above the seam, float32 [K].
        column: Position of each among the columns, float64 [K].
    """

    upper: Array
    lower: Array
    index: Array
    weight: Array
    column: Array


@lru_cache(maxsize=1)
def seam() -> Seam:
    """Return the seam of the lips of the mesh."""
    h = head()
    x, y, z = h.mean.T.astype(float)
    jaw = np.zeros_like(h.coarse)
    h.add(jaw, "a:jawOpen", 1.0)
    drop = np.asarray(h.subdivision @ jaw.astype(F32))[:, 1]
    # A jaw that opens takes the lower lip with it, less towards the corners.
    below = drop < np.interp(np.abs(x), *JAW)
    lip = (h.vertex_part == BODY) & (h.lips > 0.5) & (h.inside < 0.2) & (z > 1.25)
    upper, lower = [], []
    for c in COLUMNS:
        near = lip & (np.abs(x - c) < 0.012)
        upper.append(np.argsort(np.where(near & ~below, y - 0.3 * z, 9), kind="stable")[:EDGE])
        lower.append(np.argsort(np.where(near & below, -y - 0.3 * z, 9), kind="stable")[:EDGE])
    edges = [(y[u].min() + y[v].max()) / 2 for u, v in zip(upper, lower, strict=True)]
    line = np.interp(x, COLUMNS, edges)
    reach = np.abs(y - line)
    share = smoothstep(REACH, 0.0, reach) * smoothstep(0.245, 0.185, np.abs(x))
    share = share * (h.vertex_part == BODY) * smoothstep(1.15, 1.32, z)
    index = np.nonzero(share > 1e-3)[0]
    weight = np.where(below[index], share[index], -share[index]).astype(F32)
    column = np.interp(x[index], COLUMNS, np.arange(len(COLUMNS)))
    return Seam(np.array(upper), np.array(lower), index, weight, column)


def gap(fine: Array) -> Array:
    """Return the gap between the lips at the columns, float64 [19], decimetres; below 0 crossed."""
    s = seam()
    return np.asarray(fine[s.upper, 1].min(1) - fine[s.lower, 1].max(1), float)


@lru_cache(maxsize=1)
def _edges() -> tuple[Any, Any]:
    """Return the rows of the subdivision that give the upper and the lower edge."""
    s, matrix = seam(), head().subdivision
    return matrix[s.upper.ravel()], matrix[s.lower.ravel()]


def edge_gap(coarse: Array) -> Array:
    """Return the same gap from coarse vertices [m, 3], without subdividing all of them."""
    upper, lower = _edges()
    above = (upper @ coarse[:, 1]).reshape(-1, EDGE).min(1)
    return np.asarray(above - (lower @ coarse[:, 1]).reshape(-1, EDGE).max(1), float)


def seal(fine: Array, wanted: Array) -> None:
    """Move the lips in place until their gap is as wanted.

    Args:
        fine: Vertices float32 [n, 3], decimetres.
        wanted: Gap at the columns, float64 [19], decimetres.
    """
    s = seam()
    for _ in range(2):  # the second takes what smoothing has left
        excess = gap(fine) - wanted
        padded = np.pad(excess, 1, mode="edge")
        smooth = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
        half = np.interp(s.column, np.arange(len(COLUMNS)), smooth / 2)
        fine[s.index, 1] += (s.weight * half).astype(F32)
