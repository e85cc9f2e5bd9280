"""Light on skin: wrapped diffuse, shadow map, subsurface blur, specular, ambient occlusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter

from aubench.synfacs.anatomy.head import F32, head, smoothstep
from aubench.synfacs.rendering.raster import rasterize
from aubench.synfacs.rendering.scene import Scene

Array = np.ndarray[Any, Any]

SHADOW_SIDE = 160


@dataclass(frozen=True)
class Lights:
    """Unit directions towards key, fill and rim light, and their linear RGB strengths."""

    key: Array
    fill: Array
    rim: Array
    key_colour: Array
    fill_colour: Array


def unit(v: Any) -> Array:
    """Return a float32 unit vector."""
    vector = np.asarray(v, float)
    return np.asarray(vector / np.linalg.norm(vector), F32)


def lights(scene: Scene) -> Lights:
    """Return the lights of a scene."""
    az, el = np.deg2rad([scene.azimuth, scene.elevation])
    key = unit([np.sin(az) * np.cos(el), np.sin(el), np.cos(az) * np.cos(el)])
    tint = np.array([1, 0.96, 0.9]) * (1 + np.array([0.08, 0, -0.10]) * scene.warmth)
    return Lights(
        key=key,
        fill=unit([-np.sign(key[0] or 1) * 0.75, 0.15, 0.65]),
        rim=unit([scene.rim_side * 0.85, 0.25, -0.45]),
        key_colour=np.asarray(scene.key * np.clip(tint, 0.6, 1.4), F32),
        fill_colour=np.asarray(scene.fill * np.array([0.92, 0.97, 1.05]), F32),
    )


def blur(image: Array, radius: int) -> Array:
    """Return a box blur of the first two axes."""
    size = (2 * radius + 1,) * 2 + (1,) * (image.ndim - 2)
    return np.asarray(uniform_filter(image, size=size, mode="nearest"))


def shadow(V: Array, points: Array, normals: Array, key: Array) -> Array:
    """Return light 0..1 at points [K, 3] from a depth map of the coarse mesh along the key."""
    right = unit(np.cross([0, 1, 0], key))
    above = np.cross(key, right).astype(F32)
    centre, side, scale = np.array([0, 7, 0.6], F32), SHADOW_SIDE, SHADOW_SIDE / 3.6
    q = V[: head().n_coarse] - centre
    flat = np.stack([q @ right * scale + side / 2, side / 2 - q @ above * scale, -(q @ key)], 1)
    flat = flat.astype(F32)
    caster = head().caster
    hit, owner, weights = rasterize(flat, caster, side, side, cull=True)
    depth = np.full(side * side, 9, F32)
    depth[hit] = (flat[caster[owner], 2] * weights).sum(1)
    padded = np.full((side + 2, side + 2), 9, F32)
    padded[1:-1, 1:-1] = depth.reshape(side, side)
    line = padded.ravel()
    lifted = points + normals * 0.02 - centre
    sx = np.clip(lifted @ right * scale + side / 2 + 0.5, 0, side)
    sy = np.clip(side / 2 - lifted @ above * scale + 0.5, 0, side)
    z = -(lifted @ key) - 0.05
    ix, iy = (
        np.minimum(sx.astype(np.int32), side),
        np.minimum(sy.astype(np.int32), side),
    )
    fx, fy, at = sx - ix, sy - iy, iy * (side + 2) + ix
    lit = [(z < line[at + k]).astype(F32) for k in (0, 1, side + 2, side + 3)]
    smooth = (lit[0] * (1 - fx) + lit[1] * fx) * (1 - fy) + (lit[2] * (1 - fx) + lit[3] * fx) * fy
    return np.asarray(smooth * smoothstep(-0.15, 0.15, normals @ key), F32)
