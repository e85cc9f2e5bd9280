"""Wrinkles from strain: where skin is compressed, lines of the subject rise across it.

The Green strain of each skin triangle from the neutral to the posed mesh is taken in a frame along
the texture plane and gathered on a grid of 2.5 mm. Where the smaller principal value passes a
threshold (higher for young skin), a bank of line patterns (eight directions, two wavelengths, fixed
by the subject) is blended by direction, as high as a sine of that wavelength must be to keep the
length of the skin. The idea is that of Wu, Kalra and Magnenat-Thalmann (1996): wrinkles across the
direction of principal compression. No AU is named here, so combinations, conflicts and uneven sides
get their wrinkles without a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from aubench.synfacs2.anatomy.head import (
    BODY,
    F32,
    HIGH,
    TEXEL,
    U_MIN,
    V_MIN,
    WIDE,
    bump,
    head,
    smoothstep,
)
from aubench.synfacs2.compiled import compiled

Array = np.ndarray[Any, Any]

STEP = 5
"""Texels a cell of the strain grid."""
COLUMNS, ROWS = WIDE // STEP, HIGH // STEP
DIRECTIONS = 8
WAVELENGTHS = (0.075, 0.036)
"""Of the two banks of lines, decimetres."""
SPREAD = 0.026
"""Standard deviation of the kernel that gathers strain, decimetres."""
FINEST = 1 / 64
"""Step of the patterns, which are kept as whole numbers."""


@dataclass(frozen=True)
class Plan:
    """What follows from the mesh alone.

    Attributes:
        triangles: int32 [T, 3].
        inverse: float32 [T, 2, 2], inverse edges in the texture plane.
        start: First entry of each live cell, int32 [C + 1].
        member: Triangle of each entry, int32.
        share: Its weight, float32; those of a cell sum to 1.
        cell: Flat grid index of each live cell, int32 [C].
        regions: float32 [3, ROWS, COLUMNS], gain of long and short lines, threshold.
        chin: float32 [ROWS, COLUMNS], where the chin dimples.
    """

    triangles: Array
    inverse: Array
    start: Array
    member: Array
    share: Array
    cell: Array
    regions: Array
    chin: Array


@lru_cache(maxsize=1)
def plan() -> Plan:
    """Return the plan of the mesh, made once a process."""
    h = head()
    every = h.triangles[h.part == BODY]
    points, uv = h.mean[every].astype(float), np.stack([h.u, h.v], 1)[every].astype(float)
    edge, flat = points[:, 1:] - points[:, :1], uv[:, 1:] - uv[:, :1]
    det = flat[:, 0, 0] * flat[:, 1, 1] - flat[:, 0, 1] * flat[:, 1, 0]
    area = np.linalg.norm(np.cross(edge[:, 0], edge[:, 1]), axis=1)
    centre = uv.mean(1)
    # Skin that the texture plane sees face on, without the mouth.
    good = (det > 0.42 * area) & (area > 1e-7) & (h.inside[every].max(1) < 0.10)
    good &= (points[:, :, 2].mean(1) > 0.7) & (np.abs(centre[:, 0]) < 1.0)
    good &= (centre[:, 1] > 6.25) & (centre[:, 1] < 8.08)
    tri, flat, det, area, centre = every[good], flat[good], det[good], area[good], centre[good]
    inverse = np.empty((len(tri), 2, 2))
    inverse[:, 0, 0], inverse[:, 0, 1] = flat[:, 1, 1] / det, -flat[:, 1, 0] / det
    inverse[:, 1, 0], inverse[:, 1, 1] = -flat[:, 0, 1] / det, flat[:, 0, 0] / det
    cu, cv = _cells()
    cells = np.stack([cu.ravel(), cv.ravel()], 1)
    near = cKDTree(centre).query_ball_point(cells, SPREAD * 1.6)
    lips = np.array([h.lips[tri[k]].mean() if len(k) else 0.0 for k in near]).reshape(cu.shape)
    regions, chin = _regions(cu, cv, gaussian_filter(lips, 0.8))
    live = (regions[:2].max(0) + chin > 0.01).ravel() & np.array([len(k) > 0 for k in near])
    cell = np.nonzero(live)[0]
    members, shares, start = [], [], [0]
    for c in cell:
        k = np.asarray(near[c], int)
        weight = area[k] * np.exp(-0.5 * ((cells[c] - centre[k]) ** 2).sum(1) / SPREAD**2)
        members.append(k)
        shares.append(weight / weight.sum())
        start.append(start[-1] + len(k))
    return Plan(
        tri.astype(np.int32),
        inverse.astype(F32),
        np.array(start, np.int32),
        np.concatenate(members).astype(np.int32),
        np.concatenate(shares).astype(F32),
        cell.astype(np.int32),
        regions,
        chin,
    )


def _cells() -> tuple[Array, Array]:
    """Return u and v of the middle of each cell, float64 [ROWS, COLUMNS]."""
    u = U_MIN + (np.arange(COLUMNS) + 0.5) * TEXEL * STEP
    v = V_MIN + (np.arange(ROWS) + 0.5) * TEXEL * STEP
    cu, cv = np.meshgrid(u, v)
    return cu, cv


def _regions(cu: Array, cv: Array, lips: Array) -> tuple[Array, Array]:
    """Return gain of long and of short lines, threshold of compression; and the chin."""
    side = np.abs(cu)
    forehead = smoothstep(7.56, 7.66, cv) * smoothstep(0.95, 0.70, side)
    glabella = bump(cu, cv, 0, 7.53, 0.12, 0.12)
    crow = bump(side, cv, 0.61, 7.32, 0.13, 0.15)
    lid = bump(side, cv, 0.30, 7.22, 0.17, 0.06)
    cheek = bump(side, cv, 0.40, 6.95, 0.20, 0.18)
    nose = bump(side, cv, 0.08, 7.28, 0.07, 0.10)
    around = bump(side, cv, 0.0, 6.69, 0.22, 0.14)
    beside = bump(side, cv, 0.34, 6.67, 0.10, 0.14)
    chin = bump(cu, cv, 0, 6.41, 0.17, 0.09)
    long = 0.95 * forehead + 0.9 * glabella + 0.15 * cheek + 0.40 * beside
    short = 1.3 * crow + 0.8 * lid + 0.35 * glabella + 0.6 * nose + 0.10 * cheek
    short = short + 0.70 * around + 0.45 * beside + 0.05 * forehead
    quiet = 1 - 0.75 * np.clip(lips * 1.4, 0, 1)
    threshold = 0.035 + 0.05 * cheek + 0.02 * around - 0.022 * crow - 0.02 * lid
    gains = (np.clip(long, 0, 1) * quiet, np.clip(short, 0, 1.3) * quiet)
    return np.stack([*gains, threshold]).astype(F32), chin.astype(F32)


@compiled
def _triangle_strain(rest: Array, posed: Array, tri: Array, inverse: Array) -> Array:
    """Return Green strain float32 [T, 3] (uu, vv, uv) in orthonormal frames along u."""
    out = np.zeros((tri.shape[0], 3), np.float32)
    for t in range(tri.shape[0]):
        i, j, k = tri[t, 0], tri[t, 1], tri[t, 2]
        guu, guv, gvv, huu, huv, hvv = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        a, b, c, d = inverse[t, 0, 0], inverse[t, 0, 1], inverse[t, 1, 0], inverse[t, 1, 1]
        for q in range(3):
            e1, e2 = rest[j, q] - rest[i, q], rest[k, q] - rest[i, q]
            xu, xv = e1 * a + e2 * c, e1 * b + e2 * d
            guu += xu * xu
            guv += xu * xv
            gvv += xv * xv
            e1, e2 = posed[j, q] - posed[i, q], posed[k, q] - posed[i, q]
            xu, xv = e1 * a + e2 * c, e1 * b + e2 * d
            huu += xu * xu
            huv += xu * xv
            hvv += xv * xv
        # With L L' = G of the rest, C = L^-1 H L^-T lies in a frame with its first axis along u.
        l11 = np.sqrt(guu) + 1e-9
        l21 = guv / l11
        l22 = np.sqrt(max(gvv - l21 * l21, 1e-12))
        c11 = huu / (l11 * l11)
        c12 = (huv - l21 * huu / l11) / (l11 * l22)
        c22 = (hvv - 2 * l21 * huv / l11 + l21 * l21 * huu / (l11 * l11)) / (l22 * l22)
        out[t, 0] = min(max(0.5 * (c11 - 1), -0.45), 0.6)
        out[t, 1] = min(max(0.5 * (c22 - 1), -0.45), 0.6)
        out[t, 2] = min(max(0.5 * c12, -0.45), 0.45)
    return out


@compiled
def _gather(values: Array, start: Array, member: Array, share: Array, cell: Array, n: int) -> Array:
    """Return float32 [3, n]: weighted means of triangle values at the live cells."""
    out = np.zeros((3, n), np.float32)
    for c in range(cell.shape[0]):
        a, b, d = np.float32(0), np.float32(0), np.float32(0)
        for e in range(start[c], start[c + 1]):
            t, w = member[e], share[e]
            a += w * values[t, 0]
            b += w * values[t, 1]
            d += w * values[t, 2]
        out[0, cell[c]], out[1, cell[c]], out[2, cell[c]] = a, b, d
    return out


def strain(rest: Array, posed: Array) -> Array:
    """Return Green strain (uu, vv, uv) on the grid, float32 [3, ROWS, COLUMNS].

    Args:
        rest: Neutral fine vertices float32 [n, 3].
        posed: Moved ones, in the same frame of the head.
    """
    p = plan()
    values = _triangle_strain(rest, posed, p.triangles, p.inverse)
    out = _gather(values, p.start, p.member, p.share, p.cell, ROWS * COLUMNS)
    return np.asarray(out.reshape(3, ROWS, COLUMNS))


def _lines(draw: np.random.Generator, wave: float, turn: float, length: float) -> Array:
    """Return lines along ``turn`` (radians from u), float32 [HIGH, WIDE]: sharp valleys."""
    fy, fx = np.meshgrid(np.fft.fftfreq(HIGH, TEXEL), np.fft.rfftfreq(WIDE, TEXEL), indexing="ij")
    across = -fx * np.sin(turn) + fy * np.cos(turn)
    along = fx * np.cos(turn) + fy * np.sin(turn)
    spectrum = np.exp(-0.5 * ((np.abs(across) - 1 / wave) / (0.17 / wave)) ** 2)
    spectrum = spectrum * np.exp(-0.5 * (along * length) ** 2)
    x = np.fft.irfft2(np.fft.rfft2(draw.standard_normal((HIGH, WIDE))) * spectrum, (HIGH, WIDE))
    x = x / (x.std() + 1e-12)
    valley = -(np.clip(x - 0.1, 0, None) ** 1.5) * 0.9 + 0.25 * np.clip(-x, 0, 1.5)
    return np.asarray(np.clip(valley, -1.8, 0.4), F32)


@lru_cache(maxsize=1)
def _sheets() -> tuple[Array, Array]:
    """Return the lines int8 [2, DIRECTIONS, HIGH, WIDE] and the dimples float32 [HIGH, WIDE]."""
    draw = np.random.default_rng(40_000)
    out = np.empty((2, DIRECTIONS, HIGH, WIDE), np.int8)
    for k in range(DIRECTIONS):
        turn = np.pi * k / DIRECTIONS
        for b, (wave, run) in enumerate(zip(WAVELENGTHS, (0.30, 0.10), strict=True)):
            out[b, k] = np.round(_lines(draw, wave, turn, run * 2.2) / FINEST)
    x = draw.standard_normal((HIGH, WIDE))
    x = gaussian_filter(x, 2.6, mode="wrap") - gaussian_filter(x, 5.5, mode="wrap")
    x = x / x.std()
    return out, np.asarray(np.where(x < 0, x, 0.45 * x).clip(-2, 1), F32)


@lru_cache(maxsize=3)
def pattern(seed: int) -> tuple[Array, Array]:
    """Return a subject's lines int8 [2, DIRECTIONS, HIGH, WIDE] (steps of 1/64) and chin dimples.

    They are places on sheets without an edge, another for each direction: 288,000 for each.
    """
    draw, (sheets, dimples) = np.random.default_rng([41_000, seed]), _sheets()
    out = np.empty_like(sheets)
    for b in range(2):
        for k in range(DIRECTIONS):
            shift = (int(draw.integers(HIGH)), int(draw.integers(WIDE)))
            out[b, k] = np.roll(sheets[b, k], shift, (0, 1))
    chin = np.roll(dimples, (int(draw.integers(HIGH)), int(draw.integers(WIDE))), (0, 1))
    return out, chin


@compiled
def _amplitudes(E: Array, regions: Array, turns: int, young: Any, gain: Any, waves: Array) -> Array:
    """Return the height of each bank and direction, float32 [2, turns, ROWS, COLUMNS], dm."""
    rows, columns = E.shape[1], E.shape[2]
    out = np.zeros((2, turns, rows, columns), np.float32)
    for r in range(rows):
        for q in range(columns):
            a, b, c = E[0, r, q], E[1, r, q], E[2, r, q]
            half = np.sqrt(0.25 * (a - b) ** 2 + c * c)
            squeeze = half - 0.5 * (a + b) - regions[2, r, q] * young
            if squeeze <= 0:
                continue
            # Lines lie along the larger value; compression alike from all sides has none.
            turn = 0.5 * np.arctan2(2 * c, a - b)
            if turn < 0:
                turn += np.pi
            at = turn / np.pi * turns
            k, f = int(at) % turns, np.float32(at - int(at))
            ramp = min(squeeze / 0.05, 1.0) * half / (half + 0.02)
            for w in range(2):
                high = (
                    waves[w] / np.pi * np.sqrt(min(squeeze, 0.22)) * regions[w, r, q] * gain * ramp
                )
                out[w, k, r, q] = high * (1 - f)
                out[w, (k + 1) % turns, r, q] = high * f
    return out


@compiled
def _raise(amp: Array, patterns: Array, height: Array, finest: Any) -> None:
    """Add the patterns to ``height``, each as high as the four cells around say."""
    rows, columns, turns = amp.shape[2], amp.shape[3], amp.shape[1]
    step = height.shape[0] // rows
    for w in range(2):
        for k in range(turns):
            for r in range(rows - 1):
                for q in range(columns - 1):
                    a00, a01 = amp[w, k, r, q], amp[w, k, r, q + 1]
                    a10, a11 = amp[w, k, r + 1, q], amp[w, k, r + 1, q + 1]
                    if a00 + a01 + a10 + a11 <= 0:
                        continue
                    for y in range(step):
                        fy = np.float32((y + 0.5) / step)
                        left, right = a00 + (a10 - a00) * fy, a01 + (a11 - a01) * fy
                        i = r * step + step // 2 + y
                        for x in range(step):
                            fx = np.float32((x + 0.5) / step)
                            j = q * step + step // 2 + x
                            rise = left + (right - left) * fx
                            height[i, j] += rise * patterns[w, k, i, j] * finest


def wrinkles(rest: Array, posed: Array, seed: int, age: float, chin: float = 0.0) -> Array:
    """Return the height of wrinkles on the texture plane, float32 [HIGH, WIDE], decimetres.

    Args:
        rest: Neutral fine vertices float32 [n, 3].
        posed: Moved ones, in the same frame of the head.
        seed: Seed of the subject's pattern.
        age: 0 young to 1 old; old skin wrinkles sooner and deeper.
        chin: Contraction of the mentalis, 0..1, which dimples the chin where it inserts.
    """
    E, p = strain(rest, posed), plan()
    height = np.zeros((HIGH, WIDE), F32)
    young, gain = F32(2.0 - 1.3 * age), F32(0.5 + 0.75 * age)
    amp = _amplitudes(E, p.regions, DIRECTIONS, young, gain, np.array(WAVELENGTHS, F32))
    if amp.any():
        _raise(amp, pattern(seed)[0], height, F32(FINEST))
    if chin > 0.02:
        squeeze = np.clip(-(E[0] + E[1]) - 0.02, 0, 0.3)
        local = (smoothstep(0.0, 0.12, squeeze) + 0.35) * p.chin * chin
        wide = np.kron(gaussian_filter(local, 1.0), np.ones((STEP, STEP))).astype(F32)
        height += F32(0.0060) * wide * pattern(seed)[1]
    return height
