"""Per-sample loops compiled by numba: normals, texture, material, light, scatter.

All arithmetic is float32 in a fixed order and without fast-math, so that results do not depend on
how the loops are vectorised. Constants are float32 globals: a Python float would widen to float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aubench.synfacs2.anatomy.head import TEXEL, U_MIN, V_MIN
from aubench.synfacs2.compiled import compiled

F32 = np.float32
Array = np.ndarray[Any, Any]

ZERO, ONE, TWO, THREE, QUARTER = F32(0), F32(1), F32(2), F32(3), F32(0.25)
U0, V0, STEP, SLOPE = (
    F32(U_MIN),
    F32(V_MIN),
    F32(TEXEL),
    F32(0.5 / TEXEL),
)
LIP_FROM, LIP_SPAN = F32(0.35), F32(0.65 - 0.35)
MOUTH_FROM, MOUTH_SPAN = F32(0.3), F32(0.7 - 0.3)
DEEPEST, SOOT, SOOT_COOL = F32(1.7), F32(0.32), F32(0.10)
WET, HAIR_DULL, LIP_SHINE = F32(0.8), F32(0.92), F32(1.6)
WRAP = np.array([0.42, 0.20, 0.12], F32)
WRAP_SPAN = np.array([1 + 0.42, 1 + 0.20, 1 + 0.12], F32)
SHARE = np.array([0.5, 0.3, 0.22], F32)
"""Of the irradiance that spreads under the skin, by colour."""
TONE_0, TONE_1 = F32(0.75), F32(0.25)
FILL_WRAP, FILL_SPAN, FILL_0, FILL_1 = F32(0.35), F32(1.35), F32(0.3), F32(0.7)
SKY_0, SKY_1, OPEN_0, OPEN_1 = F32(0.72), F32(0.28), F32(0.8), F32(0.2)
TOUCH_0, TOUCH_1 = F32(0.45), F32(0.55)
SHEEN, SPARK, F_0, F_1, GAIN = F32(0.8), F32(1.6), F32(0.04), F32(0.5), F32(2.2)
SMOOTHED = F32(0.45)
"""Of the bump that the highlights follow: the full bump gives white whiskers."""


@compiled
def texels(u: Array, v: Array, wide: int, high: int) -> Array:
    """Return flat texel indices int64 [K] of texture coordinates."""
    out = np.empty(u.shape[0], np.int64)
    right, top = np.float32(wide - 1), np.float32(high - 1)
    for s in range(out.shape[0]):
        column = min(max((u[s] - U0) / STEP, ZERO), right)
        row = min(max((v[s] - V0) / STEP, ZERO), top)
        out[s] = np.int64(row) * wide + np.int64(column)
    return out


@compiled
def _ramp(start: Any, span: Any, x: Any) -> Any:
    t = min(max((x - start) / span, ZERO), ONE)
    return t * t * (THREE - TWO * t)


@compiled
def material(
    normal: Array,
    lips: Array,
    inside: Array,
    skin: Array,
    cloth: Array,
    eye: Array,
    texel: Array,
    texture: Array,
    height: Array,
    hollow: Array,
    across: Array,
    up: Array,
    on_across: Array,
    on_up: Array,
    stain: Array,
    dark: Array,
    fabric: Array,
) -> tuple[Array, Array, Array]:
    """Return albedo [3, K], bumped normals [3, K] and gloss [K], float32.

    Args:
        normal: float32 [3, K].
        lips: Share of lip, float32 [K].
        inside: Share of the inner mouth, float32 [K].
        skin: bool [K].
        cloth: bool [K].
        eye: bool [K].
        texel: Flat index int64 [K] into the planes ``height`` and ``hollow``.
        texture: float32 [K, 8] at those texels: RGB, slopes, cavity, hair cover, oil.
        height: Height of the wrinkles, float32 [HIGH, WIDE], dm.
        hollow: Cavity of the furrows, float32 [HIGH, WIDE].
        across: X axis of the posed head, float32 [3].
        up: Y axis of the posed head, float32 [3].
        on_across: Part of the normals along ``across``, float32 [K].
        on_up: Part of the normals along ``up``, float32 [K].
        stain: What the lips take from RGB, float32 [3].
        dark: RGB of the inner mouth, float32 [3].
        fabric: RGB of the cloth, float32 [3].
    """
    K, wide, high = texel.shape[0], height.shape[1], height.shape[0]
    albedo, bump = np.empty((3, K), np.float32), np.empty((3, K), np.float32)
    gloss = np.empty(K, np.float32)
    for s in range(K):
        row, column = texel[s] // wide, texel[s] % wide
        slope_u, slope_v = ZERO, ZERO
        if 0 < column < wide - 1:
            slope_u = (height[row, column + 1] - height[row, column - 1]) * SLOPE
        if 0 < row < high - 1:
            slope_v = (height[row + 1, column] - height[row - 1, column]) * SLOPE
        body = ONE if skin[s] else ZERO
        outside = body * (ONE - min(max(inside[s] * TWO, ZERO), ONE))
        slope_u = (texture[s, 3] + slope_u) * outside
        slope_v = (texture[s, 4] + slope_v) * outside
        cavity = min(max(texture[s, 5] + hollow[row, column], ZERO), DEEPEST) * outside
        lip = _ramp(LIP_FROM, LIP_SPAN, lips[s]) * outside
        mouth = _ramp(MOUTH_FROM, MOUTH_SPAN, inside[s]) * body
        shade = ONE - SOOT * cavity
        cool = shade * (ONE - SOOT_COOL * cavity)
        for c in range(3):
            tone = texture[s, c] * (ONE - stain[c] * lip) * (shade if c == 0 else cool)
            albedo[c, s] = fabric[c] if cloth[s] else tone + (dark[c] - tone) * mouth
        along = ONE + slope_u * on_across[s] + slope_v * on_up[s]
        for c in range(3):
            bump[c, s] = normal[c, s] * along - slope_u * across[c] - slope_v * up[c]
        sheen = np.float64((ONE - WET * mouth) * (ONE - HAIR_DULL * texture[s, 6]))
        sheen = sheen * (1 - 0.85 * (1.0 if cloth[s] else 0.0))
        sheen = sheen * np.float64(ONE + LIP_SHINE * lip) * np.float64(texture[s, 7])
        gloss[s] = np.float32(0.0 if eye[s] else sheen)
    return albedo, bump, gloss


@compiled
def illuminate(
    normal: Array,
    bump: Array,
    lit: Array,
    lit_red: Array,
    sky: Array,
    gloss: Array,
    key: Array,
    fill: Array,
    rim: Array,
    half_key: Array,
    half_fill: Array,
    key_colour: Array,
    fill_colour: Array,
    rim_power: Any,
    ambient: Any,
    fill_shine: Any,
) -> tuple[Array, Array]:
    """Return irradiance [3, K] and highlights [K], float32.

    Red is wrapped further round the form and lit further into the shadow than blue, as in skin.

    Args:
        normal: float32 [3, K].
        bump: The same tilted by furrows and pores, float32 [3, K].
        lit: Share of the key light that arrives, float32 [K].
        lit_red: The same for red.
        sky: Share of open sky, float32 [K].
        gloss: Gloss of the surface, float32 [K].
        key: Unit vector to the key light, float32 [3].
        fill: Unit vector to the fill light.
        rim: Unit vector to the rim light.
        half_key: Unit vector between key light and viewer.
        half_fill: Unit vector between fill light and viewer.
        key_colour: Linear RGB, float32 [3].
        fill_colour: Linear RGB, float32 [3].
        rim_power: Strength of the rim light, float32.
        ambient: Strength of the sky, float32.
        fill_shine: Strength of the highlight of the fill, float32.
    """
    K = lit.shape[0]
    light, shine = np.empty((3, K), np.float32), np.empty(K, np.float32)
    for s in range(K):
        x, y, z, open_ = bump[0, s], bump[1, s], bump[2, s], sky[s]
        on_key = key[0] * x + key[1] * y + key[2] * z
        on_fill = fill[0] * x + fill[1] * y + fill[2] * z
        on_rim = rim[0] * x + rim[1] * y + rim[2] * z
        soft = max((on_fill + FILL_WRAP) / FILL_SPAN, ZERO) * (FILL_0 + FILL_1 * open_)
        rest = min(max(on_rim, ZERO), ONE) * open_ * rim_power
        rest = rest + ambient * (SKY_0 + SKY_1 * y) * open_ * (OPEN_0 + OPEN_1 * open_)
        touch = TOUCH_0 + TOUCH_1 * open_
        for c in range(3):
            w = max((on_key + WRAP[c]) / WRAP_SPAN[c], ZERO)
            w = w * (TONE_0 + TONE_1 * w)
            direct = w * (lit_red[s] if c == 0 else lit[s]) * touch * key_colour[c]
            light[c, s] = direct + (soft * fill_colour[c] + rest)
        x = normal[0, s] + SMOOTHED * (x - normal[0, s])
        y = normal[1, s] + SMOOTHED * (y - normal[1, s])
        z = normal[2, s] + SMOOTHED * (z - normal[2, s])
        shine[s] = _highlight(x, y, z, lit[s], key, half_key, half_fill, fill_shine)
        shine[s] = shine[s] * GAIN * open_ * gloss[s]
    return light, shine


@compiled
def _highlight(
    x: Any,
    y: Any,
    z: Any,
    lit: Any,
    key: Array,
    half_key: Array,
    half_fill: Array,
    fill: Any,
) -> Any:
    a = min(max(half_key[0] * x + half_key[1] * y + half_key[2] * z, ZERO), ONE)
    a = a * a
    a4 = a * a
    a16 = a4 * a4 * a4 * a4
    a64 = (a16 * a16) * (a16 * a16)
    b = min(max(half_fill[0] * x + half_fill[1] * y + half_fill[2] * z, ZERO), ONE)
    b = b * b
    b4 = b * b
    b16 = b4 * b4 * b4 * b4
    on_key = min(max(key[0] * x + key[1] * y + key[2] * z, ZERO), ONE)
    edge = ONE - min(max(z, ZERO), ONE)
    fresnel = F_0 + F_1 * edge * edge * edge * edge * edge
    return ((a16 * SHEEN + a64 * SPARK) * lit * on_key + fill * b16) * fresnel


@compiled
def scatter(
    albedo: Array,
    light: Array,
    soft: Array,
    skin: Array,
    shine: Array,
    key_colour: Array,
    hit: Array,
    side: int,
    step: int,
) -> Array:
    """Return colour float32 [3, K]: skin mixes in blurred irradiance; highlights go on top.

    Args:
        albedo: float32 [3, K].
        light: Irradiance [3, K].
        soft: Blurred irradiance at one value a pixel, float32 [3, size, size].
        skin: bool [K].
        shine: Highlights [K].
        key_colour: Colour of the key light [3].
        hit: Flat indices [K] into the supersampled image.
        side: Width of that image.
        step: Samples across a pixel.
    """
    out = np.empty(albedo.shape, np.float32)
    for s in range(hit.shape[0]):
        row, column = hit[s] // side // step, hit[s] % side // step
        for c in range(3):
            share = SHARE[c] if skin[s] else ZERO
            mixed = light[c, s] + (soft[c, row, column] - light[c, s]) * share
            out[c, s] = albedo[c, s] * mixed + shine[s] * key_colour[c]
    return out


@compiled
def pixel_means(values: Array, hit: Array, side: int) -> Array:
    """Return the mean of each 2 x 2 block of samples, float32 [side / 2, side / 2].

    Args:
        values: float32 [K] at the samples ``hit``; all others are zero.
        hit: Flat indices [K] into the image.
        side: Width of the image in samples.
    """
    whole = np.zeros(side * side, np.float32)
    for s in range(hit.shape[0]):
        whole[hit[s]] = values[s]
    n = side // 2
    out = np.empty((n, n), np.float32)
    for i in range(n):
        for j in range(n):
            p = 2 * i * side + 2 * j
            above, below = (
                whole[p] + whole[p + 1],
                whole[p + side] + whole[p + side + 1],
            )
            out[i, j] = (above + below) * QUARTER
    return out
