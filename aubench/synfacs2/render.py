"""Subject, AU intensities and scene seed to pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.storage.files import sha256_file
from aubench.synfacs2.anatomy.actions import (
    Mouth,
    activation,
    deform,
    excursion,
    landmark_vertices,
    motion_of,
)
from aubench.synfacs2.anatomy.head import ASSET, F32, PIXELS, UPPER_LASHES, UPPER_TEETH, head
from aubench.synfacs2.anatomy.identity import Identity, identity
from aubench.synfacs2.anatomy.motion import Motion
from aubench.synfacs2.anatomy.strain import wrinkles
from aubench.synfacs2.keys import format_key, parse_key
from aubench.synfacs2.rendering.camera import camera
from aubench.synfacs2.rendering.glasses import glasses, wear
from aubench.synfacs2.rendering.layers import WHOLE, Layers
from aubench.synfacs2.rendering.photograph import develop
from aubench.synfacs2.rendering.raster import rasterize
from aubench.synfacs2.rendering.scene import Scene, background, scene
from aubench.synfacs2.rendering.shade import shade
from aubench.synfacs2.rendering.surface import PZ, SUPERSAMPLE, Surface, surface

Array = np.ndarray[Any, Any]

SIZES = (16, 2048)
"""Smallest and largest side of an image, pixels."""
VERSION = "synfacs-2"


@lru_cache(maxsize=1)
def renderer_id() -> str:
    """Return the version of the renderer and twelve digits over its asset and its pixels.

    The pixels are those of ``pixels.json``, which the tests render anew: a change of code that
    changes a pixel must change that file, and so the id.
    """
    digest = sha256_file(ASSET) + sha256_file(PIXELS)
    return f"{VERSION}+{hashlib.sha256(digest.encode()).hexdigest()[:12]}"


def render(
    subject: str,
    intensities: Sequence[float] | npt.NDArray[np.floating],
    scene_seed: int,
    *,
    condition: str = "studio",
    size: int = 128,
    framing: str = "face",
    layers: Layers = WHOLE,
) -> npt.NDArray[np.uint8]:
    """Render one face.

    Args:
        subject: ``S00000`` and on.
        intensities: 12 AU intensities 0..5 in the order of ``AUS``, rounded to 0.1.
        scene_seed: Fixes pose, light, background, gaze, blink, jaw and nuisances.
        condition: ``studio`` or ``wild``.
        size: Side of the image in pixels; rendered at 2 x 2 samples a pixel.
        framing: ``face`` (tight, eyes at fixed places) or ``head``.
        layers: What is drawn.

    Returns:
        uint8 [size, size, 3] RGB, the same for the same arguments.

    Raises:
        AubenchError: Unknown subject, condition or framing, or intensities, scene seed or size out
            of range.
    """
    if not SIZES[0] <= size <= SIZES[1]:
        raise AubenchError(
            f"cannot render a face of {size} pixels", f"use {SIZES[0]} to {SIZES[1]}"
        )
    key = format_key(subject, intensities, scene_seed, condition)
    _, values, _, _ = parse_key(key)
    at = scene(scene_seed, condition, layers.nuisances)
    face = identity(subject, at.grooming)
    moved = pose_face(face, values, at)
    still = moved if layers.motion else pose_face(face, 0 * values, at)
    fine = _settle(still.copy(), face, at)
    view = camera(face, at, size * SUPERSAMPLE, framing)
    posed = view.pose(fine)
    seen = surface(posed, face, view, size * SUPERSAMPLE)
    relief = None
    if layers.wrinkles:
        chin = float(excursion(values)[AUS.index(17)])
        relief = wrinkles(face.rest, moved, face.looks.seed, face.looks.age, chin)
    colour = shade(seen, posed, face, at, view, relief, size, clay=not layers.texture)
    image = np.repeat(np.repeat(background(scene_seed, size), SUPERSAMPLE, 0), SUPERSAMPLE, 1)
    flat = image.reshape(-1, 3)
    flat[seen.hit] = colour.T
    _lashes(flat, seen, view.project(posed), face)
    if at.glasses:
        wear(flat, seen, glasses(at.glasses, face.rest), view, at)
    side = size * SUPERSAMPLE
    return develop(flat.reshape(side, side, 3), size, SUPERSAMPLE, at.photograph, key)


def pose_face(face: Identity, intensities: npt.NDArray[np.floating], at: Scene) -> Array:
    """Return the fine mesh float32 [n, 3] of a face with AUs and what moves besides."""
    lean = {au: tilt + at.lean.get(au, 0.0) for au, tilt in face.looks.tilt.items()}
    lean = {au: float(np.clip(value, -1, 1)) for au, value in lean.items()}
    active = activation(intensities, lean, face.looks.reach)
    motion, opening, parted = motion_of(active), Motion(), 0.0
    f = {au: value / 5 for au, value in at.others.items()}
    motion.sided("a:eyeWide", 0.8 * f.get(5, 0.0), 0.8 * f.get(5, 0.0))
    motion.sided("a:noseSneer", f.get(9, 0.0), f.get(9, 0.0))
    motion.sided("a:mouthStretch", 0.9 * f.get(20, 0.0), 0.9 * f.get(20, 0.0))
    motion.target(f"a:jaw{'Left' if at.jaw_side > 0 else 'Right'}", abs(at.jaw_side))
    squint = max(motion.targets["a:eyeSquintLeft"], motion.targets["a:eyeSquintRight"])
    closed = min(at.blink + f.get(43, 0.0) * 1.2, 1.0 - 0.22 * squint)
    motion.sided("a:eyeBlink", closed, closed)
    parted += 0.045 * f.get(25, 0.0)
    if at.parts_lips:
        strong = np.clip((active.mean[12] - 0.75, active.mean[10] - 0.75), 0, 0.25)
        parted += float(strong @ (0.10, 0.12))
    opening.target("a:jawOpen", at.jaw + 0.30 * f.get(26, 0.0))
    return deform(face.coarse, motion, Mouth(parted, opening), variant=face.looks.variant)


def render_key(
    key: str, *, size: int = 128, framing: str = "face", layers: Layers = WHOLE
) -> npt.NDArray[np.uint8]:
    """Render the image of a key, uint8 [size, size, 3]."""
    subject, values, seed, condition = parse_key(key)
    return render(
        subject, values, seed, condition=condition, size=size, framing=framing, layers=layers
    )


def landmarks(
    subject: str, intensities: Sequence[float] | npt.NDArray[np.floating]
) -> dict[str, npt.NDArray[np.float32]]:
    """Return landmarks of the left half of an unposed face, float32 [3] in millimetres.

    Axes: lateral, up, forward, from a fixed origin of the head.
    """
    face = identity(subject)
    active = activation(intensities, face.looks.tilt, face.looks.reach)
    fine = deform(face.coarse, motion_of(active), variant=face.looks.variant)
    return {name: np.asarray(fine[i] * 100, F32) for name, i in landmark_vertices().items()}


def _settle(fine: Array, face: Identity, at: Scene) -> Array:
    """Put teeth behind the lips (forward as the lips part) and lift the hair off the scalp."""
    h = head()
    gap = min(1.0, 6 * (at.jaw + 0.06 * at.others.get(26, 0.0)) + 0.15 * at.others.get(25, 0.0))
    fine[h.teeth] *= np.array([0.90, 1, 1], F32)
    fine[h.teeth, 2] += F32(-0.045 + 0.05 * gap)
    fine[h.vertex_part == UPPER_TEETH, 1] -= F32(0.03 * gap)
    fine = np.asarray(fine + face.normals * face.hair_lift[:, None], F32)
    # Where a finely divided part meets a coarser one, an edge must stay straight.
    fine[h.rim[:, 0]] = (fine[h.rim[:, 1]] + fine[h.rim[:, 2]]) / 2
    return fine


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
