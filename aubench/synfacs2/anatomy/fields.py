"""Displacement fields of the skin, in millimetres at intensity E, on the vertices of the mean head.

Written where the sculpted targets of the asset lack an AU or its fold. Folds lie where moved tissue
meets fixed tissue: the displacement falls steeply across a line that belongs to the subject
(``variant``). Since a field is kept by vertex, it follows each subject's own anatomy.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from aubench.synfacs2.anatomy.head import BODY, F32, head, smoothstep

Array = np.ndarray[Any, Any]
Field = tuple[Array, Array]
"""Vertex indices [K] and displacements float32 [K, 3], decimetres."""

BLEND = 0.06
"""Over which the two halves of a face blend at the midline, decimetres to either side."""
VARIANTS = 16
"""How many layouts of the folds there are."""


class Canvas:
    """Coordinates of the mean head and the fields drawn on them."""

    x: Array
    y: Array
    z: Array
    side: Array
    face: Array
    skin: Array
    draw: np.random.Generator | None
    fields: dict[tuple[str, int], Field]

    def __init__(self, variant: int) -> None:
        h = head()
        self.x, self.y, self.z = (axis.astype(float) for axis in h.mean.T)
        self.side = np.abs(self.x)
        self.face = smoothstep(0.75, 1.05, self.z) * (h.vertex_part == BODY)
        self.skin = self.face * (1 - np.clip(h.inside * 1.2, 0, 1))
        self.draw = np.random.default_rng(77 + variant) if variant >= 0 else None
        self.fields = {}

    def jitter(self, sd: float) -> float:
        """Return a deviation of a subject's line, decimetres; 0 on the mean head."""
        return float(self.draw.normal(0, sd)) if self.draw else 0.0

    def spot(self, cx: float, cy: float, sx: float, sy: float) -> Array:
        """Return a Gaussian of height 1 on both sides, ``cx`` from the midline."""
        distance = ((self.side - cx) / sx) ** 2 + ((self.y - cy) / sy) ** 2
        return np.asarray(np.exp(-0.5 * distance))

    def line(self, heights: list[float], sides: list[float], sd: float) -> Array:
        """Return how far a vertex lies outside a line given by |x| at heights, decimetres."""
        line = np.interp(self.y, heights, np.array(sides) + self.jitter(sd))
        return np.asarray(self.side - line)

    def halves(self, name: str, out: Any, up: Any, forward: Any, where: Array) -> None:
        """Keep a field for each side: millimetres away from the midline, up, forward."""
        for side in (1, -1):
            share = smoothstep(-BLEND, BLEND, side * self.x)
            self._keep((name, side), where * share, side * out, up, forward)

    def whole(self, name: str, out: Any, up: Any, forward: Any, where: Array) -> None:
        """Keep a field of the midline."""
        self._keep((name, 0), where, np.sign(self.x) * out, up, forward)

    def _keep(self, name: tuple[str, int], where: Array, dx: Any, dy: Any, dz: Any) -> None:
        moved = np.stack([where * d for d in (dx, dy, dz)], 1) / 100
        index = np.nonzero(np.abs(moved).max(1) > 2e-4)[0]
        self.fields[name] = (index, moved[index].astype(F32))


@lru_cache(maxsize=VARIANTS + 1)
def fields(variant: int = -1) -> dict[tuple[str, int], Field]:
    """Return all fields by name and side; ``variant`` -1 has the lines of the mean head."""
    canvas = Canvas(variant)
    for draw in _AREAS:
        draw(canvas)
    return canvas.fields


def _brows(c: Canvas) -> None:
    """Frontalis and corrugator: one profile along the brow, one up the forehead."""
    up = smoothstep(7.405, 7.50, c.y) * (1 - smoothstep(7.58, 8.00, c.y))
    off_middle = np.clip(c.side / 0.05, 0, 1)  # sideways motion vanishes at the midline
    inner = 1 - smoothstep(0.13, 0.48, c.side)
    c.halves("raise_inner", -0.6 * inner * off_middle, 8.6 * inner, 0.4 * inner, up * c.face)
    outer = 0.16 + 0.84 * smoothstep(0.06, 0.42, c.side)
    outer = outer * (1 - 0.85 * smoothstep(0.52, 0.84, c.side))
    c.halves("raise_outer", 0, 8.6 * outer, 0.4 * outer, up * c.face)
    low = 0.42 + 0.58 * (1 - smoothstep(0.20, 0.60, c.side))
    low = low * (1 - smoothstep(0.52, 0.72, c.side))
    root = smoothstep(0.16, 0.06, c.side)
    down = root * smoothstep(7.20, 7.50, c.y) + (1 - root) * smoothstep(7.365, 7.48, c.y)
    down = down * (1 - smoothstep(7.56, 7.80, c.y))
    c.halves("lower", 0, -7.2 * low, 1.1 * low, down * c.face)
    brow_head = c.spot(0.155, 7.535, 0.085, 0.075)
    ridge = c.spot(0.10, 7.52, 0.055, 0.06)
    drop = c.spot(0.0, 7.47, 0.09, 0.07)
    where = c.face * smoothstep(7.33, 7.42, c.y)
    c.halves("adduct", -4.6 * brow_head * off_middle, -0.3 * drop, 2.6 * ridge - 0.4 * drop, where)
    slant = 3.0 * c.spot(0.10, 7.55, 0.09, 0.10) - 3.2 * c.spot(0.42, 7.53, 0.12, 0.07)
    c.halves("slant", 0, slant, 0, c.face * smoothstep(7.41, 7.49, c.y))


def _eyes(c: Canvas) -> None:
    """Orbicularis oculi: cheek up below a line under the lid, temple in, tail of the brow down."""
    across = [0.10, 0.16, 0.28, 0.40, 0.52, 0.60]
    bag = np.array([7.25, 7.205, 7.175, 7.185, 7.235, 7.28]) + c.jitter(0.008)
    below = np.interp(c.side, across, bag) - c.y
    lift = smoothstep(-0.05, 0.055, below)
    lift = lift * np.exp(-0.5 * (np.clip(below - 0.06, 0, 9) / 0.12) ** 2)
    lift = lift * np.exp(-0.5 * (np.clip(np.abs(c.side - 0.37) - 0.08, 0, 9) / 0.09) ** 2)
    lid = smoothstep(0.03, -0.02, below) * c.spot(0.30, 7.235, 0.16, 0.035)
    temple = c.spot(0.57, 7.32, 0.075, 0.11)
    tail = c.spot(0.50, 7.53, 0.10, 0.07) * smoothstep(7.43, 7.50, c.y)
    beside = c.spot(0.53, 7.24, 0.08, 0.06)
    c.halves(
        "orbital",
        -4.4 * temple - 0.6 * tail,
        5.2 * lift + 1.3 * lid + 3.0 * beside - 3.2 * tail,
        4.6 * lift + 1.4 * lid + 0.8 * beside,
        c.skin,
    )
    rise = 1.7 * c.spot(0.29, 7.275, 0.10, 0.022)
    c.halves("lid_up", 0, rise, 1.2 * c.spot(0.30, 7.245, 0.12, 0.022), c.skin)
    hood = c.spot(0.30, 7.455, 0.15, 0.035)
    c.halves("hood", 0, -2.4 * hood, 0.8 * hood, c.skin)


def _cheeks(c: Canvas) -> None:
    """The nasolabial line, from the wing of the nose to a centimetre beside the corner."""
    heights = [6.50, 6.60, 6.68, 6.79, 6.90, 6.98, 7.05]
    out = c.line(heights, [0.335, 0.335, 0.325, 0.295, 0.245, 0.200, 0.175], 0.010)
    span = smoothstep(6.58, 6.84, c.y) * (1 - smoothstep(6.96, 7.16, c.y))
    over = smoothstep(-0.028, 0.036, out)
    bulge = over * np.exp(-0.5 * (np.clip(out - 0.03, 0, 9) / 0.11) ** 2) * span
    under = np.exp(-0.5 * ((out + 0.035) / 0.035) ** 2) * span
    c.halves(
        "fold",
        1.6 * bulge - 0.6 * under,
        1.8 * bulge + 0.8 * under,
        4.2 * bulge - 1.1 * under,
        c.skin,
    )
    mass = c.spot(0.39, 7.00, 0.13, 0.12) * smoothstep(7.30, 7.16, c.y)
    mass = mass * smoothstep(-0.02, 0.06, out)
    c.halves("cheek", 1.2 * mass, 4.6 * mass, 4.2 * mass, c.skin)
    both = c.spot(0, 6.70, 0.20, 0.11) * smoothstep(1.25, 1.38, c.z)
    c.halves("lips_up", 0, 3.4 * both * (1 - smoothstep(0.10, 0.24, c.side)), -0.8 * both, c.face)
    lip = smoothstep(6.685, 6.71, c.y) * (1 - smoothstep(6.83, 6.95, c.y))
    lip = lip * smoothstep(1.36, 1.42, c.z)
    flat = (0.80 + 0.20 * smoothstep(0.02, 0.10, c.side)) * (1 - smoothstep(0.13, 0.205, c.side))
    c.halves("square", 0, 2.8 * lip * flat, 1.0 * lip * flat, c.face)
    top = smoothstep(6.74, 6.90, c.y) * (1 - smoothstep(7.02, 7.20, c.y))
    raised = smoothstep(-0.035, 0.05, out) * np.exp(-0.5 * (np.clip(out - 0.02, 0, 9) / 0.08) ** 2)
    hollow = np.exp(-0.5 * ((out + 0.03) / 0.03) ** 2)
    wing = c.spot(0.155, 6.97, 0.045, 0.05)
    c.halves(
        "upper_fold",
        0.9 * raised * top,
        4.0 * raised * top + 1.4 * hollow * top + 1.2 * wing,
        3.4 * raised * top - 0.5 * hollow * top,
        c.skin,
    )


def _corners(c: Canvas) -> None:
    """Buccinator and triangularis: the corner goes in and back, or down; the tissue beside it."""
    pit = c.spot(0.232, 6.688, 0.062, 0.055)
    ring = np.hypot(c.side - 0.225, (c.y - 6.69) / 1.15)
    wall = smoothstep(0.06, 0.125, ring)
    wall = wall * np.exp(-0.5 * (np.clip(ring - 0.125, 0, 9) / 0.055) ** 2)
    wall = wall * np.exp(-0.5 * ((c.y - 6.70) / 0.065) ** 2) * smoothstep(0.23, 0.30, c.side)
    c.halves("tuck", -5.4 * pit - 1.6 * wall, -0.4 * pit, -3.2 * pit + 4.4 * wall, c.face)
    corner = c.spot(0.235, 6.672, 0.065, 0.055)
    c.halves("corner_down", -2.4 * corner, -1.4 * corner, -0.5 * corner, c.face)
    out = c.line([6.46, 6.56, 6.64, 6.70], [0.300, 0.285, 0.255, 0.235], 0.006)
    low = smoothstep(6.46, 6.56, c.y) * (1 - smoothstep(6.59, 6.70, c.y))
    pouch = smoothstep(-0.03, 0.05, out) * np.exp(-0.5 * (np.clip(out - 0.03, 0, 9) / 0.06) ** 2)
    hollow = np.exp(-0.5 * ((out + 0.035) / 0.03) ** 2)
    c.halves(
        "jowl",
        0.3 * pouch * low,
        (-1.6 * pouch - 0.8 * hollow) * low,
        (2.2 * pouch - 0.7 * hollow) * low,
        c.skin,
    )


def _mouth(c: Canvas) -> None:
    """Mentalis and orbicularis oris: boss of the chin, lips narrowed, rolled, pressed."""
    boss, crease = c.spot(0, 6.425, 0.120, 0.070), c.spot(0, 6.545, 0.13, 0.026)
    c.whole("chin_up", 0, 4.9 * boss, 4.6 * boss - 3.0 * crease, c.face)
    middle, sides = c.spot(0, 6.67, 0.10, 0.07), c.spot(0.235, 6.675, 0.06, 0.06)
    forward = 1.2 * c.spot(0, 6.60, 0.10, 0.05)
    c.whole("arch", 0, 2.4 * middle - 2.2 * sides, forward, c.face)
    above = c.y - 6.69
    squeeze = np.exp(-0.5 * ((c.side / 0.24) ** 2 + (above / 0.10) ** 2))
    squeeze = squeeze * smoothstep(1.2, 1.36, c.z) * c.face
    closer = -above * 18 * c.spot(0, 6.69, 0.25, 0.06)
    c.whole("narrow", -c.side * 19.0, closer, 1.2 * c.spot(0, 6.69, 0.14, 9), squeeze)
    lips = c.spot(0, 6.685, 0.24, 0.105) * c.face * smoothstep(1.36, 1.42, c.z)
    c.whole("thin", 0, -above * 68, -3.0 * np.exp(-((above / 0.07) ** 2)), lips)
    ridges = c.spot(0, 6.820, 0.18, 0.034) + c.spot(0, 6.545, 0.17, 0.036)
    ends = c.spot(0.255, 6.685, 0.035, 0.045)
    c.whole("press", -0.5 * ends, 0, 4.2 * ridges + 1.4 * ends, c.skin)


_AREAS: tuple[Callable[[Canvas], None], ...] = (_brows, _eyes, _cheeks, _corners, _mouth)
