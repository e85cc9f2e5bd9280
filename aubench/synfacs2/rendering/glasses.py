"""Glasses on a head: two rims, a bridge, temples and lenses that glint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from aubench.synfacs2.anatomy.head import BODY, F32, LEFT_EYE, RIGHT_EYE, head
from aubench.synfacs2.rendering.camera import PIVOT, Camera
from aubench.synfacs2.rendering.light import lights, unit
from aubench.synfacs2.rendering.raster import rasterize
from aubench.synfacs2.rendering.scene import Scene
from aubench.synfacs2.rendering.surface import PZ, Surface

Array = np.ndarray[Any, Any]

FRAME, LENS = 0, 1
TONES = ((0.02, 0.02, 0.022), (0.10, 0.05, 0.025), (0.35, 0.33, 0.30), (0.16, 0.02, 0.03))
"""Black, tortoise, steel, red; linear RGB."""
AROUND = 40


@dataclass(frozen=True)
class Glasses:
    """A mesh in the frame of the head.

    Attributes:
        points: float32 [n, 3], decimetres.
        triangles: int32 [t, 3].
        kind: ``FRAME`` or ``LENS`` of each triangle, uint8 [t].
        tone: Linear RGB of the frame.
        tint: Share of light that the lenses take, 0..1.
    """

    points: Array
    triangles: Array
    kind: Array
    tone: Array
    tint: float


class _Frame:
    """Gathers the parts of glasses, in the frame of one head.

    Args:
        draw: Gives size, shape and thickness.
        rest: Neutral head [n, 3].
    """

    def __init__(self, draw: np.random.Generator, rest: Array) -> None:
        h = head()
        self.half_wide, self.half_high = draw.uniform(0.20, 0.25), draw.uniform(0.14, 0.195)
        self.power, self.thick = draw.uniform(2.0, 4.0), draw.uniform(0.012, 0.040)
        brow = rest[(np.abs(h.mean[:, 0]) < 0.55) & (np.abs(h.mean[:, 1] - 7.42) < 0.12)]
        self.front = float(np.quantile(brow[:, 2], 0.985)) + 0.02
        at_ears = (np.abs(h.mean[:, 1] - 7.35) < 0.06) & (np.abs(h.mean[:, 2] - 0.40) < 0.12)
        temples = at_ears & (h.ears < 0.2) & (h.vertex_part == BODY)
        self.wide = float(np.abs(rest[temples, 0]).max())
        self.eyes = {p: rest[h.vertex_part == p].mean(0) for p in (LEFT_EYE, RIGHT_EYE)}
        self.points: list[Array] = []
        self.triangles: list[Array] = []
        self.kind: list[Array] = []

    def add(self, strip: Array, faces: Array, what: int) -> None:
        """Add a part: points, triangles among them, and of what it is."""
        self.triangles.append(faces + sum(len(p) for p in self.points))
        self.points.append(strip)
        self.kind.append(np.full(len(faces), what, np.uint8))

    def eye(self, part: int, side: int) -> None:
        """Add rim, lens and temple of one side."""
        centre = (float(self.eyes[part][0]) + side * 0.02, float(self.eyes[part][1]) - 0.025)
        ring = np.arange(AROUND)
        following = (ring + 1) % AROUND
        inner, outer, back = (
            self.oval(centre, grow, behind)
            for grow, behind in ((0, 0), (self.thick, 0), (self.thick, 0.03))
        )
        quads = []
        for a, b in ((0, 1), (1, 2)):
            p, q = a * AROUND + ring, a * AROUND + following
            r, t = b * AROUND + ring, b * AROUND + following
            quads += [np.stack([p, r, q], 1), np.stack([q, r, t], 1)]
        self.add(np.concatenate([inner, outer, back]), np.concatenate(quads), FRAME)
        cx, cy = centre
        middle = [[cx, cy, self.front - 0.005 - 0.28 * cx**2]]
        lens = np.concatenate([self.oval(centre, 0, 0.005), middle])
        self.add(lens, np.stack([ring, following, np.full(AROUND, AROUND)], 1), LENS)
        x0, low = cx + side * (self.half_wide + self.thick), self.thick * 1.5
        temple = np.array(
            [
                [x0, cy + 0.10, self.front - 0.28 * x0**2],
                [x0, cy + 0.10 - low, self.front - 0.28 * x0**2],
                [side * self.wide, cy + 0.08, 0.15],
                [side * self.wide, cy + 0.08 - low, 0.15],
            ]
        )
        self.add(temple, np.array([[0, 1, 2], [2, 1, 3]]), FRAME)

    def oval(self, centre: tuple[float, float], grow: float, back: float) -> Array:
        """Return points around an eye [AROUND, 3], larger by ``grow`` and further back."""
        turn = np.linspace(0, 2 * np.pi, AROUND, endpoint=False)
        c, s = np.cos(turn), np.sin(turn)
        shape = (np.abs(c) ** self.power + np.abs(s) ** self.power) ** (-1 / self.power)
        x = centre[0] + (self.half_wide + grow) * shape * c
        y = centre[1] + (self.half_high + grow) * shape * s
        return np.stack([x, y, self.front - back - 0.28 * np.abs(x) ** 2], 1)

    def bridge(self) -> None:
        """Add what joins the two rims."""
        gap = float(self.eyes[LEFT_EYE][0]) + 0.02 - self.half_wide
        y = float(self.eyes[LEFT_EYE][1]) + 0.035
        x = np.linspace(-gap, gap, 9)
        upper = np.stack([x, y + 0.02 * (1 - (x / gap) ** 2), self.front - 0.28 * x**2], 1)
        k = np.arange(8)
        down, up = np.stack([k, k + 9, k + 1], 1), np.stack([k + 1, k + 9, k + 10], 1)
        lower = upper - [0, max(self.thick, 0.018), 0]
        self.add(np.concatenate([upper, lower]), np.concatenate([down, up]), FRAME)


def glasses(seed: int, rest: Array) -> Glasses:
    """Return glasses of a seed, fitted to a neutral head [n, 3]."""
    draw = np.random.default_rng(seed)
    frame = _Frame(draw, rest)
    frame.eye(LEFT_EYE, 1)
    frame.eye(RIGHT_EYE, -1)
    frame.bridge()
    dark = bool(draw.random() < 0.12)
    return Glasses(
        np.concatenate(frame.points).astype(F32),
        np.concatenate(frame.triangles).astype(np.int32),
        np.concatenate(frame.kind),
        np.array(TONES[int(draw.integers(len(TONES)))], F32),
        0.55 if dark else float(draw.uniform(0.02, 0.12)),
    )


def wear(image: Array, seen: Surface, worn: Glasses, view: Camera, at: Scene) -> None:
    """Draw glasses over the image [side * side, 3] in place, where the head does not hide them."""
    side = seen.side
    depth = np.full(side * side, 9, F32)
    depth[seen.hit] = -seen.data[PZ]
    posed = (worn.points - PIVOT) @ view.rotation.T + PIVOT
    projected = view.project(np.asarray(posed, F32))
    light = lights(at)
    for what in (LENS, FRAME):
        faces = worn.triangles[worn.kind == what]
        hit, owner, weights = rasterize(projected, faces, side, side, cull=False)
        if len(hit) == 0:
            continue
        front = (projected[faces[owner], 2] * weights).sum(1) < depth[hit] + 0.02
        hit, owner, weights = hit[front], owner[front], weights[front]
        corners = posed[faces[owner]]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
        normal *= np.sign(normal[:, 2:3] + 1e-9)
        shine = np.clip(normal @ unit(light.key + np.array([0, 0, 1.0])), 0, 1)
        if what == LENS:
            glint = (0.03 + 0.25 * shine**40)[:, None] * light.key_colour
            image[hit] = image[hit] * (1 - worn.tint) + glint * 0.5
        else:
            lit = at.ambient + np.clip(normal @ light.key, 0, 1)[:, None] * light.key_colour
            image[hit] = worn.tone * lit + (0.2 * shine**20)[:, None] * light.key_colour
