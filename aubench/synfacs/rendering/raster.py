"""A z-buffer for triangles, compiled by numba; the order of triangles decides ties."""

from __future__ import annotations

from typing import Any

import numpy as np

from aubench.synfacs.compiled import compiled

F32 = np.float32
Array = np.ndarray[Any, Any]


@compiled
def _fill(
    P: Array,
    tris: Array,
    cull: bool,
    width: int,
    height: int,
    depth: Array,
    owner: Array,
    b1: Array,
    b2: Array,
) -> None:
    """Draw into flat buffers: depth, owning triangle, its two barycentric weights."""
    for t in range(tris.shape[0]):
        i, j, k = tris[t, 0], tris[t, 1], tris[t, 2]
        ax, ay, az = P[i, 0], P[i, 1], P[i, 2]
        bx, by, bz = P[j, 0], P[j, 1], P[j, 2]
        cx, cy, cz = P[k, 0], P[k, 1], P[k, 2]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if cull:
            if area >= -1e-6:
                continue
        elif abs(area) < 1e-6:
            continue
        x0 = max(0, int(np.ceil(min(ax, bx, cx) - 0.5)))
        x1 = min(width - 1, int(np.floor(max(ax, bx, cx) - 0.5)))
        y0 = max(0, int(np.ceil(min(ay, by, cy) - 0.5)))
        y1 = min(height - 1, int(np.floor(max(ay, by, cy) - 0.5)))
        inverse = 1.0 / area
        for y in range(y0, y1 + 1):
            sy = y + 0.5 - ay
            for x in range(x0, x1 + 1):
                sx = x + 0.5 - ax
                w1 = ((cy - ay) * sx - (cx - ax) * sy) * inverse
                w2 = (-(by - ay) * sx + (bx - ax) * sy) * inverse
                if w1 >= -1e-5 and w2 >= -1e-5 and w1 + w2 <= 1.00001:
                    z = az + w1 * (bz - az) + w2 * (cz - az)
                    p = y * width + x
                    if z < depth[p]:
                        depth[p] = z
                        owner[p] = t
                        b1[p] = w1
                        b2[p] = w2


@compiled
def interpolate(values: Array, tris: Array, owner: Array, weights: Array) -> Array:
    """Return float32 [C, K]: vertex values [V, C] at K samples of triangles ``owner``."""
    K, C = owner.shape[0], values.shape[1]
    out = np.empty((C, K), np.float32)
    for s in range(K):
        t = owner[s]
        i, j, k = tris[t, 0], tris[t, 1], tris[t, 2]
        a, b, c = weights[s, 0], weights[s, 1], weights[s, 2]
        for ch in range(C):
            out[ch, s] = a * values[i, ch] + b * values[j, ch] + c * values[k, ch]
    return out


def rasterize(
    points: Array,
    tris: Array,
    width: int,
    height: int,
    *,
    cull: bool,
) -> tuple[Array, Array, Array]:
    """Return the samples covered by triangles.

    Args:
        points: float32 [V, 3] in pixels, y down, z growing away from the viewer.
        tris: int32 [T, 3].
        width: of the image, in samples.
        height: of the image, in samples.
        cull: drop triangles that face away.

    Returns:
        Flat sample indices [K], triangle of each [K], barycentric weights float32 [K, 3].
    """
    n = width * height
    depth = np.full(n, 1e9, F32)
    owner = np.full(n, -1, np.int32)
    b1, b2 = np.zeros(n, F32), np.zeros(n, F32)
    _fill(points.astype(F32), tris, cull, width, height, depth, owner, b1, b2)
    hit = np.nonzero(owner >= 0)[0]
    x, y = b1[hit], b2[hit]
    return hit, owner[hit], np.stack([1 - x - y, x, y], 1)
