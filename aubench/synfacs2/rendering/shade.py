"""Colour of what is seen: skin with furrows, eyes, teeth and hair under the lights of a scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from aubench.synfacs2.anatomy.head import (
    F32,
    HIGH,
    LEFT_EYE,
    RIGHT_EYE,
    TONGUE,
    WIDE,
    head,
    smoothstep,
)
from aubench.synfacs2.anatomy.identity import Identity
from aubench.synfacs2.rendering.camera import Camera
from aubench.synfacs2.rendering.kernels import illuminate, material, scatter, texels
from aubench.synfacs2.rendering.light import Lights, blur, lights, shadow, unit
from aubench.synfacs2.rendering.scene import Scene, cast_shadow
from aubench.synfacs2.rendering.surface import (
    HAIR,
    INSIDE,
    LIPS,
    MX,
    MY,
    MZ,
    NZ,
    PX,
    PZ,
    SKY,
    SUPERSAMPLE,
    Grid,
    Surface,
    U,
    V,
)

Array = np.ndarray[Any, Any]

INNER_MOUTH = np.array([0.10, 0.03, 0.03], F32)
TOWARDS = np.array([0, 0, 1], F32)
"""Direction to the viewer."""


def shade(
    surface: Surface,
    posed: Array,
    face: Identity,
    at: Scene,
    view: Camera,
    relief: Array | None,
    size: int,
    *,
    clay: bool = False,
) -> Array:
    """Return linear colour float32 [3, K] of the covered samples.

    Args:
        surface: What the samples show.
        posed: Vertices [n, 3].
        face: The subject.
        at: The scene.
        view: The camera.
        relief: Height of the wrinkles, float32 [HIGH, WIDE], dm; None for none.
        size: Side of the image, pixels.
        clay: One colour and no relief of the skin itself.
    """
    d, grid, light = surface.data, Grid(surface, size), lights(at)
    lit, lit_red = _sunlit(surface, posed, grid, light, at)
    eye = (surface.part == LEFT_EYE) | (surface.part == RIGHT_EYE)
    height = np.zeros((HIGH, WIDE), F32) if relief is None else relief
    skin = Skin(face, height, clay)
    albedo, bump, sky, gloss = _material(surface, skin, at, view, eye)
    depth = grid.low(d[PZ], -1.0)
    crease = np.clip((blur(depth, 2) * 0.5 + blur(depth, 5) * 0.5 - depth) * 5.0, 0, 0.6)
    sky = sky * (1 - grid.up(np.where(grid.mask, crease, 0)))
    irradiance, shine = illuminate(
        d[: NZ + 1],
        bump,
        lit,
        lit_red,
        sky,
        gloss,
        light.key,
        light.fill,
        light.rim,
        unit(light.key + TOWARDS),
        unit(light.fill + TOWARDS),
        light.key_colour,
        light.fill_colour,
        F32(at.rim),
        F32(at.ambient),
        F32(0.35 * at.fill),
    )
    soft = _blurred(irradiance, grid)
    colour = np.asarray(
        scatter(
            albedo,
            irradiance,
            soft,
            surface.skin,
            shine,
            light.key_colour,
            surface.hit,
            surface.side,
            SUPERSAMPLE,
        )
    )
    glint = np.clip(unit(light.key * 0.9 + 1.6 * TOWARDS) @ d[:3, eye], 0, 1) ** 380
    colour[:, eye] += light.key_colour[:, None] * np.minimum(glint * 1.1, 0.8) + F32(0.003)
    _hair(colour, surface, face, at, view, light, lit, sky)
    return colour


def _sunlit(
    surface: Surface, posed: Array, grid: Grid, light: Lights, at: Scene
) -> tuple[Array, Array]:
    """Return how much key light reaches each sample [K], and the same for red."""
    d = surface.data
    low = np.zeros((grid.size, grid.size), F32)
    low[grid.mask] = shadow(
        posed, d[PX : PZ + 1, grid.sample].T, d[: NZ + 1, grid.sample].T, light.key
    )
    cover = blur(grid.mask.astype(F32), 2) + 1e-4
    soft = np.clip(np.where(grid.mask, blur(low, 2) / cover, 0), 0, 1)
    if at.shadow:
        soft = soft * cast_shadow(at.shadow, grid.size)
    return grid.up(soft), grid.up(np.sqrt(soft) * 0.6 + soft * 0.4)


def _blurred(irradiance: Array, grid: Grid) -> Array:
    """Return irradiance spread over pixels, float32 [3, size, size]; red travels furthest."""
    cover = grid.down(np.ones(irradiance.shape[1], F32))
    return np.stack(
        [
            blur(grid.down(irradiance[c]), radius) / (blur(cover, radius) + 1e-4)
            for c, radius in enumerate((3, 1, 1))
        ]
    )


def _clay(texture: Array) -> Array:
    """Return a texture [K, 8] of one colour without relief; the hair of the brows stays."""
    hair = texture[:, 6:7]
    out = np.zeros_like(texture)
    out[:, :3] = 0.42 * (1 - 0.75 * hair)
    out[:, 6], out[:, 7] = texture[:, 6], 0.5
    return out


@dataclass(frozen=True)
class Skin:
    """What the skin looks like: whose it is, height of its wrinkles [HIGH, WIDE], clay or not."""

    face: Identity
    height: Array
    clay: bool


def _material(
    surface: Surface, skin_of: Skin, at: Scene, view: Camera, eye: Array
) -> tuple[Array, Array, Array, Array]:
    """Return albedo [3, K], bumped normals [3, K], open sky [K] and gloss [K]."""
    face, height = skin_of.face, skin_of.height
    d, skin, red = surface.data, surface.skin, face.looks.lip_red
    texel = texels(d[U], d[V], WIDE, HIGH)
    hollow = np.clip(-50 * height, 0, 1)
    across, up = view.rotation[:, 0].copy(), view.rotation[:, 1].copy()
    texture = face.texture[texel].astype(F32)
    if skin_of.clay:
        red = 0.25
    elif "makeup" in at.grooming and face.looks.sex < 0.5:
        red = red + 0.7
    stain = np.array([-0.02 + 0.08 * red, 0.28 + 0.22 * red, 0.26 + 0.18 * red], F32)
    albedo, bump, gloss = material(
        d[: NZ + 1],
        d[LIPS],
        d[INSIDE],
        skin,
        skin & (d[MY] < 5.95),
        eye,
        texel,
        _clay(texture) if skin_of.clay else texture,
        height,
        hollow,
        across,
        up,
        across @ d[: NZ + 1],
        up @ d[: NZ + 1],
        stain,
        INNER_MOUTH,
        np.array(face.looks.cloth, F32),
    )
    sky = d[SKY].copy()
    _eyes(albedo, sky, surface, face, at)
    _teeth(albedo, sky, surface)
    return albedo, bump, sky, gloss


def _eyes(albedo: Array, sky: Array, surface: Surface, face: Identity, at: Scene) -> None:
    """Paint sclera, iris and pupil by the angle to the gaze; the upper lid shades the ball."""
    gaze_x, gaze_y = np.deg2rad(at.gaze)
    for part, toe in ((LEFT_EYE, 0.03), (RIGHT_EYE, -0.03)):
        e = np.nonzero(surface.part == part)[0]
        if len(e) == 0:
            continue
        out = surface.data[MX : MZ + 1, e].T - head().eye_centre[part]
        out = out / np.linalg.norm(out, axis=1, keepdims=True)
        axis = unit(
            [
                np.sin(gaze_x + toe),
                np.sin(gaze_y),
                np.cos(gaze_x + toe) * np.cos(gaze_y),
            ]
        )
        angle = np.arccos(np.clip(out @ axis, -1, 1))
        around = np.arctan2(out[:, 1] - axis[1], out[:, 0] - axis[0])
        rim = 0.43
        fibre = 1 + 0.22 * np.sin(around * 23 + 3 * np.sin(around * 7)) * np.clip(angle / rim, 0, 1)
        ring = np.interp(angle / rim, [0, 0.45, 0.8, 0.95, 1.05], [0.8, 1.25, 1.0, 0.55, 0.3])
        iris = np.array(face.looks.iris) * (fibre * ring)[:, None]
        white = np.array([0.70, 0.655, 0.62]) * (1 - 0.20 * np.clip(angle - 0.7, 0, 1))[:, None]
        white = white - np.array([0, 0.07, 0.07]) * np.clip(angle - 0.75, 0, 0.7)[:, None]
        inner = smoothstep(rim + 0.045, rim - 0.035, angle)[:, None]
        pupil = smoothstep(0.19, 0.15, angle)[:, None]
        tone = white * (1 - inner) + iris * inner
        albedo[:, e] = (tone * (1 - pupil) + 0.006 * pupil).T
        sky[e] = (1 - 0.55 * smoothstep(0.15, 0.62, out[:, 1])) * 0.85


def _teeth(albedo: Array, sky: Array, surface: Surface) -> None:
    inner = (surface.part >= 3) & (surface.part <= TONGUE)
    tongue = surface.part[inner] == TONGUE
    for c, (fleshy, enamel) in enumerate(((0.25, 0.58), (0.07, 0.52), (0.06, 0.43))):
        albedo[c, inner] = np.where(tongue, fleshy, enamel)
    sky[inner] = np.clip((surface.data[PZ, inner] - 1.0) * 1.7, 0.05, 0.70)


def _hair(
    colour: Array,
    surface: Surface,
    face: Identity,
    at: Scene,
    view: Camera,
    light: Lights,
    lit: Array,
    sky: Array,
) -> None:
    """Blend scalp hair over the skin: strands radiate from the crown and shine along them."""
    if face.looks.style == "bald":
        return
    d = surface.data
    k = np.nonzero(surface.skin & (d[HAIR] > -0.16))[0]
    away = d[MX : MZ + 1, k].T - np.array([0.12, 8.4, 0.55], F32)
    lane = np.arctan2(away[:, 0], away[:, 2] + 0.25)
    column = ((lane * 163 + 1000) % 1024).astype(int)
    row = np.clip((d[MY, k] - 5.4) * 60, 0, 255).astype(int)
    strand = face.strands[row, column].astype(F32)
    buzz = face.looks.style == "buzz"
    edge = 0.07 if buzz else 0.045
    cover = smoothstep(-edge, edge, d[HAIR, k] + 0.03 * strand) * (0.78 if buzz else 1)
    normal = d[:3, k].T
    along = away @ view.rotation.T - np.array([0, 0.25, 0], F32)
    along = along - normal * (along * normal).sum(1, keepdims=True)
    along = along / (np.sqrt((along**2).sum(1, keepdims=True)) + 1e-6)
    base = np.array(face.looks.hair, F32)
    tone = base[:, None] * np.exp(0.33 * np.clip(strand, -2.5, 2.5))
    half = unit(light.key + np.array([0, 0, 1], F32))
    ring = np.clip(1 - (along @ half + 0.10 * strand) ** 2, 0, 1)
    on_key = normal @ light.key
    root = 0.55 + 0.45 * smoothstep(-0.02, 0.14, d[HAIR, k])
    body = np.sqrt(np.clip(1 - (along @ light.key) ** 2, 0, 1)) * 0.5
    body = (body + 0.5 * np.clip(on_key + 0.2, 0, 1)) * lit[k] * 0.9 * root
    fill = np.clip(0.5 + 0.5 * (normal @ light.fill), 0, 1) * 0.8 * root
    rest = at.ambient * (0.6 + 0.4 * normal[:, 1]) * (0.5 + 0.5 * sky[k]) * root
    ring8 = ring**8
    shine = (ring8**4 * 0.10 + ring8 * 0.05) * lit[k] * np.clip(on_key + 0.3, 0, 1) * root
    for c in range(3):
        lock = tone[c] * (body * light.key_colour[c] + fill * light.fill_colour[c] + rest)
        lock = lock + shine * light.key_colour[c] * (0.5 * base[c] / base.max() + 0.5)
        colour[c, k] += (lock - colour[c, k]) * cover
