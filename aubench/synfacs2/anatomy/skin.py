"""Skin on the texture plane: albedo from melanin and blood, brows, stubble, static wrinkles."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from aubench.synfacs2.anatomy.head import (
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
from aubench.synfacs2.anatomy.looks import Looks, stream

Array = np.ndarray[Any, Any]

BAND = 48
"""Rows of the texture plane treated at a time: float64 colour of all of it would be 30 MB."""
BASE = np.array([0.66, 0.46, 0.375])
MELANIN = np.array([0.54, 0.66, 0.76])
BLOOD = np.array([0.05, 0.36, 0.28])


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


def _fur(look: Looks, draw: np.random.Generator) -> Array:
    """Return opacity of a grown beard and moustache: streaks down the jaw, over a dense ground."""
    u, v = texture_grid()
    side = np.abs(u)
    mouth = smoothstep(0.6, 1.0, bump(u, v, 0, 6.685, 0.27, 0.10) * 1.35)
    edge = 6.98 - 0.55 * np.clip(side - 0.35, 0, 0.5) + 0.9 * np.clip(side - 0.72, 0, 0.3)
    jaw = smoothstep(0.10, -0.04, v - np.where(side < 0.30, 6.62 - 0.1 * side, edge - 0.13))
    jaw = jaw * smoothstep(1.15, 0.95, side) * smoothstep(5.95, 6.15, v)
    lip = smoothstep(6.765, 6.80, v) * smoothstep(6.93, 6.875, v + 0.25 * side)
    lip = lip * smoothstep(0.30, 0.22, side)
    beside = smoothstep(6.90, 6.80, v) * smoothstep(0.20, 0.25, side) * smoothstep(0.34, 0.29, side)
    ground = look.beard * np.maximum(jaw, beside * (look.moustache > 0)) + look.moustache * lip
    ground = np.clip(ground, 0, 1) * (1 - mouth)
    streaks = gaussian_filter(draw.standard_normal((HIGH, WIDE)), (3.0, 0.6))
    patches = noise(draw, HIGH, WIDE, 60)
    dense = (
        ground * 1.5 + 0.10 * patches * ground + 0.16 * streaks / streaks.std() * (ground > 0.02)
    )
    return np.asarray(0.93 * smoothstep(0.25, 1.15, dense), F32)


def _make_up(look: Looks, out: Array, draw: np.random.Generator) -> None:
    """Paint shadow above the eyes, blush and lipstick over a texture [HIGH, WIDE, 8] in place."""
    if look.sex > 0.5:
        return
    u, v = texture_grid()
    side = np.abs(u)
    shadow = np.array([draw.uniform(0.1, 0.5), draw.uniform(0.06, 0.2), draw.uniform(0.08, 0.35)])
    layers = (
        (bump(side, v, 0.31, 7.42, 0.13, 0.035) * draw.uniform(0.2, 0.7), shadow),
        (
            bump(side, v, 0.50, 7.02, 0.13, 0.08) * draw.uniform(0.0, 0.35),
            np.array([0.6, 0.16, 0.16]),
        ),
    )
    for cover, tone in layers:
        out[..., :3] = out[..., :3] * (1 - cover[..., None]) + cover[..., None] * tone


def _scarred(height: Array, out: Array, draw: np.random.Generator) -> None:
    """Add a scar to the relief and the colour of a texture in place."""
    u, v = texture_grid()
    cu, cv = draw.uniform(-0.6, 0.6), draw.uniform(6.9, 7.9)
    angle, length = draw.uniform(0, np.pi), draw.uniform(0.06, 0.16)
    along = (u - cu) * np.cos(angle) + (v - cv) * np.sin(angle)
    across = -(u - cu) * np.sin(angle) + (v - cv) * np.cos(angle) + 0.6 * along**2
    cover = np.exp(-0.5 * (across / 0.008) ** 2) * smoothstep(length, length * 0.6, np.abs(along))
    height -= 0.004 * cover
    out[..., :3] *= (1 + 0.25 * cover)[..., None]


def texture(subject: str, look: Looks, grooming: frozenset[str] = frozenset()) -> Array:
    """Return the skin of a subject, float16 [HIGH * WIDE, 8].

    Channels: linear RGB albedo, static bump along u and v, cavity, hair cover, oil.

    Args:
        subject: Name of the subject.
        look: What it looks like.
        grooming: What of ``beard``, ``makeup`` and ``scar`` shows where the subject has it.
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
    if "beard" in grooming and look.beard + look.moustache > 0:
        fur = _fur(look, stream(subject, "fur"))[..., None]
        tone = (
            np.array(look.brow)
            * np.clip(1.0 + 0.5 * noise(stream(subject, "fur-tone"), HIGH, WIDE, 300), 0.3, 2.0)[
                ..., None
            ]
        )
        out[..., :3] = out[..., :3] * (1 - fur) + fur * tone
        hair = np.maximum(hair, fur[..., 0])
        height += 0.004 * fur[..., 0] + 0.0015 * fur[..., 0] * noise(
            stream(subject, "fur-relief"), HIGH, WIDE, 200
        )
    if "makeup" in grooming:
        _make_up(look, out, stream(subject, "makeup"))
    if "scar" in grooming and look.scar:
        _scarred(height, out, stream(subject, "scar-shape"))
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
    return height, cavity
