"""Normals of a mesh."""

from __future__ import annotations

from typing import Any

import numpy as np

from aubench.synfacs.compiled import compiled

Array = np.ndarray[Any, Any]

TINY = np.float32(1e-12)


@compiled
def vertex_normals(V: Array, tris: Array) -> Array:
    """Return unit vertex normals float32 [n, 3] of float32 vertices and int32 triangles."""
    N = np.zeros(V.shape, np.float32)
    for t in range(tris.shape[0]):
        i, j, k = tris[t, 0], tris[t, 1], tris[t, 2]
        ax, ay, az = V[j, 0] - V[i, 0], V[j, 1] - V[i, 1], V[j, 2] - V[i, 2]
        bx, by, bz = V[k, 0] - V[i, 0], V[k, 1] - V[i, 1], V[k, 2] - V[i, 2]
        fx, fy, fz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        for v in (i, j, k):
            N[v, 0] += fx
            N[v, 1] += fy
            N[v, 2] += fz
    for v in range(N.shape[0]):
        x, y, z = N[v, 0], N[v, 1], N[v, 2]
        length = np.sqrt(x * x + y * y + z * z) + TINY
        N[v, 0], N[v, 1], N[v, 2] = x / length, y / length, z / length
    return N
