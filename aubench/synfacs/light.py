"""Light on skin: wrapped diffuse, shadow map, subsurface blur, specular, ambient occlusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter

from aubench.synfacs.head import F32, head, smoothstep
from aubench.synfacs.raster import rasterize
from aubench.synfacs.scene import Scene

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
    ix, iy = np.minimum(sx.astype(np.int32), side), np.minimum(sy.astype(np.int32), side)
    fx, fy, at = sx - ix, sy - iy, iy * (side + 2) + ix
    lit = [(z < line[at + k]).astype(F32) for k in (0, 1, side + 2, side + 3)]
    smooth = (lit[0] * (1 - fx) + lit[1] * fx) * (1 - fy) + (lit[2] * (1 - fx) + lit[3] * fx) * fy
    return np.asarray(smooth * smoothstep(-0.15, 0.15, normals @ key), F32)


def half_dot(key: Array, bump: Array) -> Array:
    """Return the clipped cosine between normals [3, K] and the half vector to the viewer."""
    half = unit(key + np.array([0, 0, 1], F32))
    return np.asarray(np.clip(half[0] * bump[0] + half[1] * bump[1] + half[2] * bump[2], 0, 1))


def diffuse(
    bump: Array, light: Lights, scene: Scene, lit: Array, lit_red: Array, open_sky: Array
) -> Array:
    """Return irradiance float32 [3, K]; red is wrapped and lit further into the shadow."""
    on_key, on_fill, on_rim = (
        d[0] * bump[0] + d[1] * bump[1] + d[2] * bump[2] for d in (light.key, light.fill, light.rim)
    )
    fill = np.clip((on_fill + 0.35) / 1.35, 0, None) * (0.3 + 0.7 * open_sky)
    rest = np.clip(on_rim, 0, 1) * open_sky * scene.rim
    rest = rest + scene.ambient * (0.72 + 0.28 * bump[1]) * open_sky * (0.8 + 0.2 * open_sky)
    contact = 0.45 + 0.55 * open_sky
    out = np.empty((3, bump.shape[1]), F32)
    for c, wrap in enumerate((0.42, 0.20, 0.12)):
        x = np.clip((on_key + wrap) / (1 + wrap), 0, None)
        x = x * (0.75 + 0.25 * x)
        out[c] = x * (lit_red if c == 0 else lit) * contact * light.key_colour[c]
        out[c] += fill * light.fill_colour[c] + rest
    return out


def specular(bump: Array, light: Lights, lit: Array, open_sky: Array, fill: float) -> Array:
    """Return skin highlights [K] before the oil map."""
    x2 = half_dot(light.key, bump) ** 2
    x4 = x2 * x2
    x16 = x4 * x4 * x4 * x4
    x64 = (x16 * x16) * (x16 * x16)
    y2 = half_dot(light.fill, bump) ** 2
    y4 = y2 * y2
    y16 = y4 * y4 * y4 * y4
    on_key = light.key[0] * bump[0] + light.key[1] * bump[1] + light.key[2] * bump[2]
    edge = 1 - np.clip(bump[2], 0, 1)
    fresnel = 0.04 + 0.5 * edge * edge * edge * edge * edge
    bright = (x16 * 0.8 + x64 * 1.6) * lit * np.clip(on_key, 0, 1) + 0.35 * fill * y16
    return np.asarray(bright * fresnel * 2.2 * open_sky, F32)
