"""Subject, AU intensities and scene seed to pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.files import sha256_file
from aubench.synfacs.actions import Motion, activate, deform, landmark_vertices
from aubench.synfacs.camera import Camera, camera
from aubench.synfacs.head import (
    ASSET,
    BODY,
    F32,
    HIGH,
    LEFT_EYE,
    RIGHT_EYE,
    TEXEL,
    TONGUE,
    U_MIN,
    UPPER_LASHES,
    V_MIN,
    WIDE,
    head,
    smoothstep,
)
from aubench.synfacs.identity import Identity, identity
from aubench.synfacs.keys import format_key, parse_key
from aubench.synfacs.light import Lights, blur, diffuse, lights, shadow, specular, unit
from aubench.synfacs.raster import interpolate, rasterize
from aubench.synfacs.scene import Scene, background, scene
from aubench.synfacs.wrinkles import wrinkle_set

Array = np.ndarray[Any, Any]

VERSION = "synfacs-1"
SUPERSAMPLE = 2
NX, NY, NZ, PX, PY, PZ, U, V, SKY, LIPS, INSIDE, HAIR, MX, MY, MZ = range(15)


@lru_cache(maxsize=1)
def renderer_id() -> str:
    """Return the version of the renderer and twelve digits of its asset's digest."""
    return f"{VERSION}+{sha256_file(ASSET)[:12]}"


@dataclass
class Surface:
    """What each visible sample shows.

    Attributes:
        side: width of the supersampled image.
        hit: flat indices [K] of the covered samples.
        part: part of the head [K].
        data: float32 [15, K]: normal, position, texture u and v, sky, lips, mouth inside, hair,
            position on the mean head.
    """

    side: int
    hit: Array
    part: Array
    data: Array

    @property
    def skin(self) -> Array:
        """Whether a sample is skin."""
        return np.asarray(self.part == BODY)


def render(
    subject: str,
    intensities: Sequence[float] | npt.NDArray[np.floating],
    scene_seed: int,
    *,
    size: int = 128,
    framing: str = "face",
) -> npt.NDArray[np.uint8]:
    """Render one face.

    Args:
        subject: ``S000`` to ``S399``.
        intensities: 12 AU intensities 0..5 in the order of ``AUS``, rounded to 0.1.
        scene_seed: fixes pose, light, background, gaze, blink and jaw.
        size: side of the image in pixels; rendered at 2 x 2 samples a pixel.
        framing: ``face`` (tight, eyes at fixed places) or ``head``.

    Returns:
        uint8 [size, size, 3] RGB, the same for the same arguments.

    Raises:
        AubenchError: unknown subject or framing.
    """
    key = format_key(subject, intensities, scene_seed)
    _, values, _ = parse_key(key)
    face, at = identity(subject), scene(scene_seed)
    motion = activate(values, face.looks.tilt)
    motion.both("eyeBlink", at.blink, 0.0)
    motion.shape("jawOpen", at.jaw)
    fine = _settle(deform(face.coarse, motion), face, motion)
    view = camera(face, at, size * SUPERSAMPLE, framing)
    posed = view.pose(fine)
    surface = _surface(posed, face, view, size * SUPERSAMPLE)
    colour = _shade(surface, posed, face, at, view, motion, size)
    image = np.repeat(np.repeat(background(scene_seed, size), SUPERSAMPLE, 0), SUPERSAMPLE, 1)
    flat = image.reshape(-1, 3)
    flat[surface.hit] = colour.T
    _lashes(flat, surface, view.project(posed), face)
    return _develop(flat, size, at.noise, key)


def render_key(key: str, *, size: int = 128, framing: str = "face") -> npt.NDArray[np.uint8]:
    """Render the image of a key, uint8 [size, size, 3]."""
    return render(*parse_key(key), size=size, framing=framing)


def landmarks(
    subject: str, intensities: Sequence[float] | npt.NDArray[np.floating]
) -> dict[str, npt.NDArray[np.float32]]:
    """Return landmarks of the left half of an unposed face, float32 [3] in millimetres.

    Axes: lateral, up, forward, from a fixed origin of the head.
    """
    face = identity(subject)
    fine = deform(face.coarse, activate(intensities, face.looks.tilt))
    return {name: np.asarray(fine[i] * 100, F32) for name, i in landmark_vertices().items()}


def _settle(fine: Array, face: Identity, motion: Motion) -> Array:
    """Put teeth behind the lips (forward as the lips part) and lift the hair off the scalp."""
    h = head()
    parted = 1.5 * (
        motion.shapes.get("mouthUpperUpLeft", 0) + motion.shapes.get("mouthUpperUpRight", 0)
    )
    gap = min(1.0, parted + 6 * motion.shapes.get("jawOpen", 0))
    fine[h.teeth] *= np.array([0.90, 1, 1], F32)
    fine[h.teeth, 2] += F32(-0.045 + 0.05 * gap)
    fine[h.vertex_part == 3, 1] -= F32(0.03 * gap)
    return np.asarray(fine + face.normals * face.hair_lift[:, None], F32)


def _surface(posed: Array, face: Identity, view: Camera, side: int) -> Surface:
    h = head()
    hit, owner, weights = rasterize(view.project(posed), h.triangles, side, side, cull=True)
    values = np.concatenate(
        [
            h.normals(posed), posed,
            np.stack([h.u, h.v, h.occlusion, h.lips, h.inside, face.hairline], 1), h.mean,
        ],
        1,
    ).astype(F32)  # fmt: skip
    data = interpolate(values, h.triangles, owner, weights)
    data[:3] /= np.sqrt((data[:3] ** 2).sum(0)) + 1e-9
    return Surface(side, hit, h.part[owner], data)


def _furrows(face: Identity, motion: Motion) -> Array:
    """Return slope along u and v and cavity of the raised furrows, float32 [HIGH * WIDE, 3]."""
    height, cavity = np.zeros((HIGH, WIDE), F32), np.zeros((HIGH, WIDE), F32)
    for name, weight in motion.furrows.items():
        weight *= face.looks.gain
        if weight > 0.02:
            for at, raised, hollow in wrinkle_set(face.looks.variant)[name]:
                height[at] += F32(weight) * raised
                cavity[at] += F32(weight) * hollow
    out = np.zeros((HIGH, WIDE, 3), F32)
    out[:, 1:-1, 0] = (height[:, 2:] - height[:, :-2]) * F32(0.5 / TEXEL)
    out[1:-1, :, 1] = (height[2:] - height[:-2]) * F32(0.5 / TEXEL)
    out[..., 2] = cavity
    return out.reshape(-1, 3)


class _Grid:
    """Moves values between the covered samples and the image at one sample a pixel."""

    def __init__(self, surface: Surface, size: int) -> None:
        self.size, self.hit = size, surface.hit
        n = surface.side**2
        index = np.full(n, -1, np.int64)
        index[surface.hit] = np.arange(len(surface.hit))
        low = index.reshape(surface.side, surface.side)[::SUPERSAMPLE, ::SUPERSAMPLE]
        self.mask = low >= 0
        self.sample = low[self.mask]
        self.n = n

    def up(self, low: Array) -> Array:
        """Return the values at the covered samples of an image [size, size]."""
        wide = np.repeat(np.repeat(low, SUPERSAMPLE, 0), SUPERSAMPLE, 1)
        return np.asarray(wide.ravel()[self.hit])

    def down(self, values: Array) -> Array:
        """Return the mean over the samples of each pixel [size, size], zero where uncovered."""
        whole = np.zeros(self.n, F32)
        whole[self.hit] = values
        shape = (self.size, SUPERSAMPLE, self.size, SUPERSAMPLE)
        return np.asarray(whole.reshape(shape).mean((1, 3)))

    def low(self, values: Array, empty: float) -> Array:
        """Return one covered sample of each pixel [size, size]."""
        out = np.full((self.size, self.size), empty, F32)
        out[self.mask] = values[self.sample]
        return out


def _shade(
    surface: Surface,
    posed: Array,
    face: Identity,
    at: Scene,
    view: Camera,
    motion: Motion,
    size: int,
) -> Array:
    """Return linear colour float32 [3, K] of the covered samples."""
    d, grid, light = surface.data, _Grid(surface, size), lights(at)
    lit_low = np.zeros((size, size), F32)
    lit_low[grid.mask] = shadow(
        posed, d[PX : PZ + 1, grid.sample].T, d[: NZ + 1, grid.sample].T, light.key
    )
    cover = grid.mask.astype(F32)
    soft = np.clip(np.where(grid.mask, blur(lit_low, 2) / (blur(cover, 2) + 1e-4), 0), 0, 1)
    lit, lit_red = grid.up(soft), grid.up(np.sqrt(soft) * 0.6 + soft * 0.4)
    albedo, bump, sky, gloss = _material(surface, face, at, view, motion)
    depth = grid.low(d[PZ], -1.0)
    crease = np.clip((blur(depth, 2) * 0.5 + blur(depth, 5) * 0.5 - depth) * 5.0, 0, 0.6)
    sky = sky * (1 - grid.up(np.where(grid.mask, crease, 0)))
    shine = d[:3] + F32(0.45) * (bump - d[:3])  # the full bump would give white whiskers
    light_in = diffuse(bump, light, at, lit, lit_red, sky)
    colour = _scatter(albedo, light_in, surface.skin, grid)
    highlight = specular(shine, light, lit, sky, at.fill) * gloss
    colour += highlight * light.key_colour[:, None]
    eye = (surface.part == LEFT_EYE) | (surface.part == RIGHT_EYE)
    glint = np.clip(unit(light.key * 0.9 + np.array([0, 0, 1.6], F32)) @ d[:3, eye], 0, 1) ** 380
    colour[:, eye] += light.key_colour[:, None] * np.minimum(glint * 1.1, 0.8) + F32(0.003)
    _hair(colour, surface, face, at, view, light, lit, sky)
    return colour


def _scatter(albedo: Array, light_in: Array, skin: Array, grid: _Grid) -> Array:
    """Blur the irradiance under the skin, red furthest."""
    cover = grid.down(np.ones(len(skin), F32))
    colour = np.empty_like(light_in)
    for c, (radius, share) in enumerate(((3, 0.5), (1, 0.3), (1, 0.22))):
        soft = grid.up(blur(grid.down(light_in[c]), radius) / (blur(cover, radius) + 1e-4))
        colour[c] = albedo[c] * (light_in[c] + (soft - light_in[c]) * (skin * F32(share)))
    return colour


def _material(
    surface: Surface, face: Identity, at: Scene, view: Camera, motion: Motion
) -> tuple[Array, Array, Array, Array]:
    """Return albedo [3, K], bumped normals [3, K], open sky [K] and gloss [K]."""
    d, look, skin = surface.data, face.looks, surface.skin
    column = np.clip((d[U] - U_MIN) / TEXEL, 0, WIDE - 1).astype(np.int64)
    row = np.clip((d[V] - V_MIN) / TEXEL, 0, HIGH - 1).astype(np.int64)
    texel = row * WIDE + column
    tex = face.texture[texel].T.astype(F32)
    furrow = _furrows(face, motion)[texel].T
    outside = skin * (1 - np.clip(d[INSIDE] * 2, 0, 1))
    slope_u, slope_v = (tex[3] + furrow[0]) * outside, (tex[4] + furrow[1]) * outside
    cavity = np.clip(tex[5] + furrow[2], 0, 1.7) * outside
    lip = smoothstep(0.35, 0.65, d[LIPS]) * outside
    mouth = smoothstep(0.3, 0.7, d[INSIDE]) * skin
    red = look.lip_red
    stain = (-0.02 + 0.08 * red, 0.28 + 0.22 * red, 0.26 + 0.18 * red)
    albedo = np.empty((3, len(skin)), F32)
    for c, dark in enumerate((0.10, 0.03, 0.03)):
        shade = 1 - 0.32 * cavity if c == 0 else (1 - 0.32 * cavity) * (1 - 0.10 * cavity)
        tone = tex[c] * (1 - stain[c] * lip) * shade
        albedo[c] = tone + (dark - tone) * mouth
    cloth = skin & (d[MY] < 5.95)
    albedo[:, cloth] = np.array(look.cloth, F32)[:, None]
    bump = _bumped(d[:3], slope_u, slope_v, view.rotation)
    sky = d[SKY].copy()
    _eyes(albedo, sky, surface, face, at)
    _teeth(albedo, sky, surface)
    hair = 1 - 0.92 * tex[6]
    gloss = (1 - 0.8 * mouth) * hair * (1 - 0.85 * cloth) * (1 + 1.6 * lip) * tex[7]
    eye = (surface.part == LEFT_EYE) | (surface.part == RIGHT_EYE)
    return albedo, bump, sky, np.asarray(gloss * (1 - eye), F32)


def _bumped(normal: Array, slope_u: Array, slope_v: Array, rotation: Array) -> Array:
    """Tilt normals [3, K] by slopes along the head's own x and y axes."""
    across, up = rotation[:, 0], rotation[:, 1]
    along = 1 + slope_u * (across @ normal) + slope_v * (up @ normal)
    tilted = normal * along - slope_u * across[:, None] - slope_v * up[:, None]
    return np.asarray(tilted, F32)


def _eyes(albedo: Array, sky: Array, surface: Surface, face: Identity, at: Scene) -> None:
    """Paint sclera, iris and pupil by the angle to the gaze; the upper lid shades the ball."""
    gaze_x, gaze_y = np.deg2rad(at.gaze)
    for part, toe in ((LEFT_EYE, 0.03), (RIGHT_EYE, -0.03)):
        e = np.nonzero(surface.part == part)[0]
        if len(e) == 0:
            continue
        out = surface.data[MX : MZ + 1, e].T - head().eye_centre[part]
        out = out / np.linalg.norm(out, axis=1, keepdims=True)
        axis = unit([np.sin(gaze_x + toe), np.sin(gaze_y), np.cos(gaze_x + toe) * np.cos(gaze_y)])
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


def _lashes(image: Array, surface: Surface, points: Array, face: Identity) -> None:
    """Draw the lash strips over the image [side * side, 3], half transparent."""
    h, side = head(), surface.side
    depth = np.full(side * side, 9, F32)
    depth[surface.hit] = -surface.data[PZ]
    hit, owner, weights = rasterize(points, h.lash_triangles, side, side, cull=False)
    if len(hit) == 0:
        return
    at = h.lash_triangles[owner]
    front = (points[at, 2] * weights).sum(1) < depth[hit] + 0.012
    hit, at, weights, part = hit[front], at[front], weights[front], h.lash_part[owner[front]]
    along = (h.lash_length[at] * weights).sum(1)
    across = (h.mean[at, 0] * weights).sum(1)
    stripe = 0.60 + 0.40 * np.sin(across * 520 + along * across * 30)
    upper = np.clip(1.1 - along, 0, 1) * (stripe * 0.75 + 0.25)
    lower = 0.30 * np.clip(1 - along, 0, 1) ** 1.5 * stripe
    opacity = np.where(np.isin(part, UPPER_LASHES), upper, lower)
    opacity = (opacity * (1.0 if face.looks.sex < 0.5 else 0.72))[:, None]
    lash = np.array(face.looks.brow) * 0.25 + 0.004
    image[hit] = image[hit] * (1 - opacity) + opacity * lash


def _develop(flat: Array, size: int, grain: float, key: str) -> npt.NDArray[np.uint8]:
    """Average samples, apply a film shoulder and gamma 2.2, add sensor noise seeded by the key."""
    image = flat.reshape(size, SUPERSAMPLE, size, SUPERSAMPLE, 3).mean((1, 3)) * 1.15
    image = image * (1 + image * 0.06) / (1 + image * 0.28)
    image = np.clip(image, 0, 1) ** (1 / 2.2) * 255
    digest = hashlib.sha256(f"{key}@{size}".encode()).digest()
    draw = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    image = image + draw.standard_normal(image.shape, dtype=F32) * F32(grain * 255)
    return np.asarray(np.clip(np.round(image), 0, 255), np.uint8)
