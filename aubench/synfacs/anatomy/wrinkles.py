"""Furrows that the muscles raise: height patches on the texture plane, in eight variants."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from aubench.synfacs.anatomy.head import (
    F32,
    HIGH,
    TEXEL,
    U_MIN,
    V_MIN,
    WIDE,
    bump,
    noise,
    texture_grid,
)

Array = np.ndarray[Any, Any]
Patch = tuple[tuple[slice, slice], Array, Array]
Curve = list[tuple[float, float]]

VARIANTS = 8


def furrow(
    points: Curve, depth: float, sigma: float, *, taper: float = 0.5, bulge: float = 0.55
) -> Patch:
    """Return a furrow along a curve, with bulging sides.

    Args:
        points: control points (u, v) in decimetres.
        depth: of the furrow, decimetres.
        sigma: half width, decimetres.
        taper: exponent of the sine that thins both ends.
        bulge: height of the sides relative to the depth.

    Returns:
        Texel slices, heights, and cavity 0..1 of the patch.
    """
    path = np.asarray(points, float)
    t, fine = np.linspace(0, 1, len(path)), np.linspace(0, 1, 28)
    if len(path) >= 3:
        from scipy.interpolate import CubicSpline

        line = CubicSpline(t, path)(fine)
    else:
        line = np.stack([np.interp(fine, t, path[:, k]) for k in (0, 1)], 1)
    thick = np.sin(np.pi * np.clip(fine * 0.94 + 0.03, 0, 1)) ** taper
    margin = sigma * 6
    i0 = max(0, int((line[:, 0].min() - margin - U_MIN) / TEXEL))
    i1 = min(WIDE, int((line[:, 0].max() + margin - U_MIN) / TEXEL) + 1)
    j0 = max(0, int((line[:, 1].min() - margin - V_MIN) / TEXEL))
    j1 = min(HIGH, int((line[:, 1].max() + margin - V_MIN) / TEXEL) + 1)
    gu, gv = texture_grid()
    u, v = gu[j0:j1, i0:i1], gv[j0:j1, i0:i1]
    gap = np.hypot(*np.diff(line, axis=0).T).max()
    dense = np.linspace(0, 1, 27 * max(1, int(np.ceil(gap / (sigma * 0.6)))) + 1)
    narrow, wide = np.zeros_like(u), np.zeros_like(u)
    for x, y, w in zip(
        np.interp(dense, fine, line[:, 0]),
        np.interp(dense, fine, line[:, 1]),
        np.interp(dense, fine, thick),
        strict=True,
    ):
        squared = (u - x) ** 2 + (v - y) ** 2
        np.maximum(narrow, w * np.exp(-squared / (2 * sigma**2)), out=narrow)
        np.maximum(wide, w * np.exp(-squared / (2 * (2.4 * sigma) ** 2)), out=wide)
    height = depth * (-narrow + bulge * (wide - narrow * 0.5))
    return (slice(j0, j1), slice(i0, i1)), height.astype(F32), (narrow * depth / 0.010).astype(F32)


@lru_cache(maxsize=VARIANTS)
def wrinkle_set(variant: int) -> dict[str, list[Patch]]:
    """Return the furrows of a variant by name; L and R are the character's sides."""
    rng = np.random.default_rng(1000 + variant)
    out: dict[str, list[Patch]] = {}

    def jitter(scale: float = 0.012) -> float:
        return float(rng.normal(0, scale))

    def add(name: str, points: Curve, depth: float, sigma: float, **shape: float) -> None:
        out.setdefault(name, []).append(furrow(points, depth, sigma, **shape))

    _forehead(rng, jitter, add)
    for s, side in ((1, "L"), (-1, "R")):
        _eye(rng, jitter, add, s, side)
        _cheek(add, s, side)
    _chin_and_lips(jitter, add)
    out["chin"] = [_pebbles(rng)]
    return out


def _forehead(rng: np.random.Generator, jitter: Any, add: Any) -> None:
    lines = int(rng.integers(3, 5))
    for i in range(lines):
        y = 7.70 + i * 0.285 / (lines - 1) + jitter()
        depth, tilt = 0.012 * rng.uniform(0.8, 1.2), jitter(0.01)
        inner = [(-0.15, y + 0.005), (0, y + 0.010), (0.15, y + 0.005)]
        ends = [(-0.32, y - 0.035 + tilt)], [(0.32, y - 0.035 - tilt)]
        add("forehead_inner", [*ends[0], *inner, *ends[1]], depth, 0.014)
        for s, side in ((1, "L"), (-1, "R")):
            arc = [(s * 0.14, y), (s * 0.34, y + 0.035), (s * 0.52, y + 0.02), (s * 0.66, y - 0.03)]
            add(f"forehead_outer{side}", arc, depth, 0.014)
    for s in (1, -1):
        frown = [(s * 0.045, 7.43), (s * 0.060, 7.52), (s * 0.066, 7.62 + jitter())]
        add("glabella", frown, 0.020 * rng.uniform(0.85, 1.15), 0.016, taper=0.9)
        if rng.random() < 0.5:
            add("glabella", [(s * 0.10, 7.52), (s * 0.115, 7.58), (s * 0.12, 7.64)], 0.007, 0.011)
        oblique = [(s * 0.035, 7.50), (s * 0.07, 7.60), (s * 0.15, 7.66), (s * 0.25, 7.66)]
        add("oblique", oblique, 0.014, 0.014)
    add("glabella", [(-0.10, 7.375), (0, 7.385 + jitter(0.004)), (0.10, 7.375)], 0.010, 0.012)


def _eye(rng: np.random.Generator, jitter: Any, add: Any, s: int, side: str) -> None:
    feet = int(rng.integers(3, 5))
    for angle in np.deg2rad(np.linspace(38, -42, feet) + jitter(4)):
        length = 0.16 * rng.uniform(0.85, 1.2)
        x, y = 0.515, 7.345 + 0.10 * np.sin(angle)
        dx, dy = length * np.cos(angle), length * np.sin(angle)
        foot = [(s * x, y), (s * (x + dx / 2), y + dy / 2 - 0.004), (s * (x + dx), y + dy - 0.012)]
        add(f"crow{side}", foot, 0.015 * rng.uniform(0.8, 1.1), 0.011)
    bag = [(s * 0.14, 7.235), (s * 0.24, 7.185), (s * 0.36, 7.185), (s * 0.48, 7.235)]
    add(f"infraorbital{side}", bag, 0.016, 0.019)
    lid = [(s * 0.17, 7.275), (s * 0.27, 7.243), (s * 0.38, 7.245), (s * 0.46, 7.285)]
    add(f"lid{side}", lid, 0.013, 0.011)


def _cheek(add: Any, s: int, side: str) -> None:
    upper = [(s * 0.165, 7.06), (s * 0.205, 6.98), (s * 0.240, 6.90), (s * 0.28, 6.82)]
    add(f"nasolabial_upper{side}", upper, 0.024, 0.024, bulge=0.8)
    lower = [(0.20, 7.00), (0.265, 6.90), (0.325, 6.79), (0.345, 6.68), (0.335, 6.60)]
    mirrored = [(s * x, y) for x, y in lower]
    add(f"nasolabial_lower{side}", mirrored, 0.021, 0.025, bulge=0.8, taper=0.9)
    add(f"nose{side}", [(s * 0.06, 7.33), (s * 0.10, 7.25), (s * 0.115, 7.17)], 0.010, 0.012)
    # The dimpler's bracket stands close to the corner and is the sharpest furrow of the cheek.
    dimple = [(s * 0.268, 6.755), (s * 0.300, 6.695), (s * 0.272, 6.630)]
    add(f"dimple{side}", dimple, 0.034, 0.019, taper=1.0, bulge=0.9)
    marionette = [(s * 0.235, 6.655), (s * 0.265, 6.61), (s * 0.28, 6.55), (s * 0.27, 6.48)]
    add(f"marionette{side}", marionette, 0.018, 0.021, taper=1.0)
    corner = [(s * 0.205, 6.69), (s * 0.245, 6.660), (s * 0.270, 6.620)]
    add(f"corner{side}", corner, 0.017, 0.012)


def _chin_and_lips(jitter: Any, add: Any) -> None:
    fold = [(-0.17, 6.50), (-0.09, 6.535), (0, 6.545), (0.09, 6.535), (0.17, 6.50)]
    add("mentolabial", fold, 0.020, 0.018)
    for i in range(9):
        x = -0.19 + i * 0.0475 + jitter(0.005)
        add("lip_lines", [(x, 6.85 + jitter(0.008)), (x * 0.95, 6.75)], 0.009, 0.009)
        add("lip_lines", [(x, 6.49 + jitter(0.008)), (x * 0.95, 6.58)], 0.008, 0.009)
    above = [(-0.18, 6.790), (-0.08, 6.812), (0, 6.806), (0.08, 6.812), (0.18, 6.790)]
    add("press", above, 0.015, 0.015)
    add("press", [(-0.17, 6.560), (0, 6.535), (0.17, 6.560)], 0.019, 0.017)
    for s in (1, -1):
        add("press", [(s * 0.20, 6.73), (s * 0.225, 6.685), (s * 0.20, 6.64)], 0.013, 0.014)


def _pebbles(rng: np.random.Generator) -> Patch:
    grain = (noise(rng, HIGH, WIDE, 110) + noise(rng, HIGH, WIDE, 70)) * 0.65
    rows = slice(int((6.26 - V_MIN) / TEXEL), int((6.54 - V_MIN) / TEXEL))
    columns = slice(int((-0.24 - U_MIN) / TEXEL), int((0.24 - U_MIN) / TEXEL))
    at = (rows, columns)
    gu, gv = texture_grid()
    weight = bump(gu[at], gv[at], 0, 6.40, 0.125, 0.065)
    cavity = np.clip(-grain[at], 0, 2) * weight * 0.55
    return at, (grain[at] * weight * 0.0075).astype(F32), cavity.astype(F32)
