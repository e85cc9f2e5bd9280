"""Subject, AU intensities and scene seed to pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError
from aubench.storage.files import sha256_file
from aubench.synfacs.anatomy.actions import Motion, activate, deform, landmark_vertices
from aubench.synfacs.anatomy.head import ASSET, F32, UPPER_LASHES, UPPER_TEETH, head
from aubench.synfacs.anatomy.identity import Identity, identity
from aubench.synfacs.keys import format_key, parse_key
from aubench.synfacs.rendering.camera import camera
from aubench.synfacs.rendering.raster import rasterize
from aubench.synfacs.rendering.scene import background, scene
from aubench.synfacs.rendering.shade import shade
from aubench.synfacs.rendering.surface import PZ, SUPERSAMPLE, Surface, surface

Array = np.ndarray[Any, Any]

SIZES = (16, 2048)
"""Smallest and largest side of an image, pixels."""
VERSION = "synfacs-1"


@lru_cache(maxsize=1)
def renderer_id() -> str:
    """Return the version of the renderer and twelve digits of its asset's digest."""
    return f"{VERSION}+{sha256_file(ASSET)[:12]}"


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
        AubenchError: unknown subject or framing, or intensities, scene seed or size out of range.
    """
    if not SIZES[0] <= size <= SIZES[1]:
        raise AubenchError(
            f"cannot render a face of {size} pixels", f"use {SIZES[0]} to {SIZES[1]}"
        )
    key = format_key(subject, intensities, scene_seed)
    _, values, _ = parse_key(key)
    face, at = identity(subject), scene(scene_seed)
    motion = activate(values, face.looks.tilt)
    motion.both("eyeBlink", at.blink, 0.0)
    motion.shape("jawOpen", at.jaw)
    fine = _settle(deform(face.coarse, motion), face, motion)
    view = camera(face, at, size * SUPERSAMPLE, framing)
    posed = view.pose(fine)
    seen = surface(posed, face, view, size * SUPERSAMPLE)
    colour = shade(seen, posed, face, at, view, motion, size)
    image = np.repeat(np.repeat(background(scene_seed, size), SUPERSAMPLE, 0), SUPERSAMPLE, 1)
    flat = image.reshape(-1, 3)
    flat[seen.hit] = colour.T
    _lashes(flat, seen, view.project(posed), face)
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
    fine[h.vertex_part == UPPER_TEETH, 1] -= F32(0.03 * gap)
    return np.asarray(fine + face.normals * face.hair_lift[:, None], F32)


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
    hit, at, weights, part = (
        hit[front],
        at[front],
        weights[front],
        h.lash_part[owner[front]],
    )
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
    q = flat.reshape(size, SUPERSAMPLE, size, SUPERSAMPLE, 3)
    total = q[:, 0, :, 0] + q[:, 0, :, 1] + q[:, 1, :, 0] + q[:, 1, :, 1]
    image = total * F32(1 / SUPERSAMPLE**2) * 1.15
    image = image * (1 + image * 0.06) / (1 + image * 0.28)
    image = np.clip(image, 0, 1) ** (1 / 2.2) * 255
    digest = hashlib.sha256(f"{key}@{size}".encode()).digest()
    draw = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    image = image + draw.standard_normal(image.shape, dtype=F32) * F32(grain * 255)
    return np.asarray(np.clip(np.round(image), 0, 255), np.uint8)
