"""Skin on the texture plane: albedo from melanin and blood, brows, stubble, static wrinkles."""

from __future__ import annotations

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
    smoothstep,
    texture_grid,
)
from aubench.synfacs.anatomy.looks import Looks, stream
from aubench.synfacs.anatomy.wrinkles import wrinkle_set

Array = np.ndarray[Any, Any]

BAND = 48
"""Rows of the texture plane treated at a time: float64 colour of all of it would be 30 MB."""
BASE = np.array([0.66, 0.46, 0.375])
MELANIN = np.array([0.54, 0.66, 0.76])
BLOOD = np.array([0.05, 0.36, 0.28])
STATIC = {
    "forehead_inner": 0.25,
    "forehead_outerL": 0.2,
    "forehead_outerR": 0.2,
    "glabella": 0.15,
    "crowL": 0.25,
    "crowR": 0.25,
    "nasolabial_lowerL": 0.3,
    "nasolabial_lowerR": 0.3,
    "infraorbitalL": 0.25,
    "infraorbitalR": 0.25,
    "marionetteL": 0.15,
    "marionetteR": 0.15,
}
"""Furrows that age leaves on a resting face; kept well below what an AU raises."""


def _dot(plane: Array, row: int, column: int, reach: int, height: float, sigma: float) -> None:
    if reach < column < WIDE - reach - 1 and reach < row < HIGH - reach - 1:
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        spot = height * np.exp(-(x**2 + y**2) / (2 * sigma**2))
        plane[row - reach : row + reach + 1, column - reach : column + reach + 1] += spot


def _pigment(look: Looks, draw: np.random.Generator) -> tuple[Array, Array]:
    u, v = texture_grid()
    side = np.abs(u)
    blood = np.full((HIGH, WIDE), look.haemoglobin, F32)
    for cu, cv, su, sv, w in (
        (0.46, 7.02, 0.17, 0.13, 0.38),
        (0.15, 6.95, 0.06, 0.06, 0.18),
        (0.30, 7.23, 0.15, 0.05, 0.22),
        (0.15, 7.33, 0.03, 0.04, 0.25),
    ):
        blood += w * bump(side, v, cu, cv, su, sv)
    blood += 0.42 * bump(u, v, 0, 6.99, 0.10, 0.08) + 0.15 * bump(u, v, 0, 6.40, 0.14, 0.09)
    blood += 0.06 * noise(draw, HIGH, WIDE, 30) + 0.05 * noise(draw, HIGH, WIDE, 120)
    dark = np.full((HIGH, WIDE), look.melanin, F32)
    ring = 0.16 * (1 + 0.6 * look.melanin) * (0.6 + 0.6 * look.age)
    dark += ring * bump(side, v, 0.30, 7.22, 0.15, 0.05)
    dark += 0.10 * bump(side, v, 0.30, 7.44, 0.16, 0.04) - 0.12 * bump(u, v, 0, 7.75, 0.4, 0.2)
    dark += 0.10 * bump(u, v, 0, 6.75, 0.3, 0.25)
    for cells, w in ((14, 0.07), (50, 0.05), (160, 0.03)):
        dark += w * noise(draw, HIGH, WIDE, cells)
    for _ in range(int(500 * look.freckles)):
        row, column = (
            int((draw.normal(7.1, 0.22) - V_MIN) / TEXEL),
            draw.normal(0, 0.45),
        )
        height, sigma = draw.uniform(0.08, 0.42), draw.uniform(0.77, 1.05)
        _dot(dark, row, int((column - U_MIN) / TEXEL), 3, height, sigma)
    for _ in range(int(draw.integers(0, 4))):
        row, column = (
            int(draw.integers(60, HIGH - 100)),
            int(draw.integers(WIDE // 4, 3 * WIDE // 4)),
        )
        _dot(dark, row, column, 5, 1.3, 1.6)
    return dark, blood


def _brows(look: Looks, draw: np.random.Generator) -> Array:
    """Return opacity of brow hair: tapered strokes splatted along an arc on each side."""
    cover = np.zeros((HIGH, WIDE), F32)
    male = look.sex > 0.5
    count = int(480 * draw.uniform(0.75, 1.2) * (1 if male else 0.85))
    thick = (0.040 if male else 0.030) * draw.uniform(0.8, 1.25)
    arch = draw.uniform(0.015, 0.045) * (1 - 0.45 * look.sex)
    level = 7.528 + draw.normal(0, 0.006)
    for s in (1, -1):
        t = draw.beta(1.0, 1.15, count)
        x = 0.115 + 0.39 * t
        y = level + arch * np.sin(np.pi * np.clip(t * 0.83, 0, 1)) * 1.3
        y = y - 0.06 * np.clip(t - 0.7, 0, 1)
        half = thick * (1 - 0.72 * np.clip(t - 0.15, 0, 1) ** 1.2) * np.clip(0.55 + t * 4, 0, 1)
        across = np.clip(draw.normal(0, 0.48, count), -1, 1)
        lean = np.interp(t, [0, 0.15, 0.5, 1], [78, 48, 18, -22]) - across * 18
        angle = np.deg2rad(lean + draw.normal(0, 8, count))[:, None]
        length = draw.uniform(0.035, 0.065, count)[:, None]
        k = np.linspace(0, 1, 14)
        px = x[:, None] + np.cos(angle) * length * k
        py = (y + across * half)[:, None] + np.sin(angle) * length * k - 0.008 * k**2
        strength = np.broadcast_to(0.30 * (1 - 0.7 * k), px.shape)
        fx, fy = (s * px - U_MIN) / TEXEL - 0.5, (py - V_MIN) / TEXEL - 0.5
        i, j = np.floor(fx).astype(int), np.floor(fy).astype(int)
        a, b = fx - i, fy - j
        for di, dj, w in (
            (0, 0, (1 - a) * (1 - b)),
            (1, 0, a * (1 - b)),
            (0, 1, (1 - a) * b),
            (1, 1, a * b),
        ):
            np.add.at(cover, (j + dj, i + di), strength * w)
    return np.asarray(1 - np.exp(-cover * 1.15))


def _stubble(look: Looks, draw: np.random.Generator) -> Array:
    u, v = texture_grid()
    side = np.abs(u)
    jaw = bump(u, v, 0, 6.38, 0.32, 0.16) + bump(side, v, 0.55, 6.60, 0.20, 0.25)
    jaw = np.clip(jaw + 0.85 * bump(u, v, 0, 6.83, 0.20, 0.045), 0, 1)
    jaw = jaw * (1 - bump(u, v, 0, 6.66, 0.20, 0.06)) * smoothstep(7.15, 6.9, v)
    grain = np.clip(draw.normal(0, 1, (HIGH, WIDE)) * 0.5 + 0.8, 0, 2)
    return np.asarray(np.clip(jaw * look.stubble * 0.45 * grain, 0, 0.8), F32)


def texture(subject: str, look: Looks) -> Array:
    """Return the skin of a subject, float16 [HIGH * WIDE, 8].

    Channels: linear RGB albedo, static bump along u and v, cavity, hair cover, oil.
    """
    u, v = texture_grid()
    out = np.empty((HIGH, WIDE, 8), np.float16)
    dark, blood = _pigment(look, stream(subject, "pigment"))
    beard = _stubble(look, stream(subject, "stubble-grain"))
    hair = _brows(look, stream(subject, "brows"))
    for top in range(0, HIGH, BAND):
        at = slice(top, top + BAND)
        out[at, :, :3] = _albedo(look, dark[at], blood[at], beard[at], hair[at])
    height, cavity = _relief(look, stream(subject, "pores"))
    out[..., 3] = np.gradient(height, TEXEL, axis=1)
    out[..., 4] = np.gradient(height, TEXEL, axis=0)
    out[..., 5] = cavity
    out[..., 6] = np.clip(hair + beard * 0.5, 0, 1)
    shine = 0.75 + 0.5 * bump(u, v, 0, 7.1, 0.16, 0.5) + 0.3 * bump(u, v, 0, 7.8, 0.4, 0.15)
    out[..., 7] = look.oil * shine
    return out.reshape(-1, 8)


def _albedo(look: Looks, dark: Array, blood: Array, beard: Array, hair: Array) -> Array:
    """Return linear RGB float64 [h, w, 3]: light absorbed by melanin and blood, hair on top."""
    depth = dark[..., None] * MELANIN + blood[..., None] * BLOOD * (1 - 0.15 * look.melanin)
    skin = np.exp(np.log(BASE) - depth)
    brow = np.array(look.brow)
    skin = skin * (1 - beard[..., None]) + beard[..., None] * brow * 1.2
    return np.asarray(skin * (1 - hair[..., None]) + hair[..., None] * brow)


def _relief(look: Looks, draw: np.random.Generator) -> tuple[Array, Array]:
    """Return height (dm) and cavity of pores and of the furrows that age has left."""
    u, v = texture_grid()
    pores = 0.5 + 0.5 * bump(u, v, 0, 7.0, 0.45, 0.35)
    fine = 0.00042 * noise(draw, HIGH, WIDE, 300) + 0.0003 * noise(draw, HIGH, WIDE, 150)
    height = pores * fine + 0.0005 * noise(draw, HIGH, WIDE, 40)
    cavity = np.zeros((HIGH, WIDE), F32)
    for name, weight in STATIC.items():
        for at, raised, hollow in wrinkle_set(look.variant)[name]:
            height[at] += raised * weight * (look.age * 0.9 + 0.03)
            cavity[at] += hollow * weight * look.age * 0.7
    return height, cavity
