"""AU intensities to shape, corrective fields and furrows, with the interactions of FACS.

Intensities A to E are calibrated: a landmark of each AU moves ``REACH`` millimetres at E on the
mean head, and the share ``EXCURSION`` of it at lower intensities. AUs that pull on the same tissue
do not add: the rules in ``activate`` are products of intensities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from aubench.facs import AUS
from aubench.synfacs.anatomy.head import BODY, F32, bump, head, smoothstep

Array = np.ndarray[Any, Any]

EXCURSION = (0.0, 0.18, 0.40, 0.65, 0.85, 1.0)
"""Share of the full excursion at intensity 0, A, B, C, D, E; linear between them."""

REACH: dict[int, tuple[str, tuple[float, float, float], float]] = {
    1: ("brow_inner", (0, 1, 0), 8.0),
    2: ("brow_outer", (0, 1, 0), 8.0),
    4: ("brow_inner", (0, -1, 0), 5.0),
    6: ("cheek", (0, 1, 0), 5.5),
    7: ("lid_lower", (0, 1, 0), 2.2),
    10: ("lip_upper", (0, 1, 0), 4.0),
    12: ("corner", (0, 1, 0), 8.0),
    14: ("corner", (0, 0, -1), 4.5),
    15: ("corner", (0, -1, 0), 6.5),
    17: ("lip_lower", (0, 1, 0), 6.5),
    23: ("corner", (-1, 0, 0), 3.6),
    24: ("lip_upper", (0, -1, 0), 4.0),
}
"""AU: landmark, direction (lateral, up, forward), millimetres along it at intensity E."""

# Activation at E that gives the reach above; test_synfacs_actions recomputes them.
GAIN = {
    1: 0.745,
    2: 0.745,
    4: 0.99,
    6: 0.49,
    7: 0.611,
    10: 1.275,
    12: 0.656,
    14: 0.949,
    15: 1.108,
    17: 1.093,
    23: 0.8,
    24: 0.95,
}

LANDMARKS = {
    "corner": (0.222, 6.68),
    "brow_inner": (0.12, 7.53),
    "brow_outer": (0.45, 7.55),
    "lip_lower": (0.0, 6.61),
    "lip_upper": (0.0, 6.74),
    "chin": (0.0, 6.41),
    "lid_upper": (0.29, 7.41),
    "lid_lower": (0.29, 7.285),
    "cheek": (0.37, 7.06),
}
"""Points of the left half of the mean head, (x, y) in decimetres."""


@dataclass
class Motion:
    """Weights of shape targets, of corrective fields, and of furrows."""

    shapes: dict[str, float] = field(default_factory=dict)
    fields: dict[str, float] = field(default_factory=dict)
    furrows: dict[str, float] = field(default_factory=dict)

    def shape(self, name: str, weight: float) -> None:
        """Add to a target."""
        self.shapes[name] = self.shapes.get(name, 0.0) + weight

    def both(self, name: str, weight: float, tilt: float) -> None:
        """Add to the Left and Right targets, the left stronger by ``tilt``."""
        self.shape(f"{name}Left", weight * (1 + tilt))
        self.shape(f"{name}Right", weight * (1 - tilt))

    def push(self, name: str, weight: float, tilt: float | None = None) -> None:
        """Add to a corrective field, or to its L and R halves where ``tilt`` is given."""
        self._add(self.fields, name, weight, tilt)

    def crease(self, name: str, weight: float, tilt: float | None = None) -> None:
        """Add to a furrow, or to its L and R halves where ``tilt`` is given."""
        self._add(self.furrows, name, weight, tilt)

    @staticmethod
    def _add(store: dict[str, float], name: str, weight: float, tilt: float | None) -> None:
        if tilt is None:
            store[name] = store.get(name, 0.0) + weight
        else:
            for side, share in (("L", 1 + tilt), ("R", 1 - tilt)):
                store[name + side] = store.get(name + side, 0.0) + weight * share


def excursion(intensities: Sequence[float] | Array) -> Array:
    """Return the share of full excursion, float64 [12], for intensities 0..5."""
    return np.asarray(np.interp(np.asarray(intensities, float), np.arange(6), EXCURSION))


def activate(
    intensities: Sequence[float] | Array,
    tilt: dict[int, float] | None = None,
    gain: dict[int, float] | None = None,
) -> Motion:
    """Return the motion of a set of AU intensities.

    Args:
        intensities: 12 values 0..5 in the order of ``AUS``.
        tilt: by AU, how much stronger the left side is.
        gain: by AU, in place of the calibrated ``GAIN``.
    """
    share = dict(zip(AUS, excursion(intensities), strict=True))
    scale = gain or GAIN
    motion = Motion()
    _upper(motion, {au: share[au] * scale[au] for au in AUS}, share, tilt or {})
    _lower(motion, {au: share[au] * scale[au] for au in AUS}, share, tilt or {})
    return motion


def _upper(m: Motion, a: dict[int, float], f: dict[int, float], tilt: dict[int, float]) -> None:
    t = {au: tilt.get(au, 0.0) for au in AUS}
    both = min(f[1], f[4])
    m.shape("browInnerUp", 1.3 * a[1] * (1 - 0.20 * f[4]) + 0.30 * a[2] * (1 - f[1]))
    m.push("inner_up", 0.85 * a[1] * (1 - 0.25 * f[4] - 0.15 * f[2]), t[1])
    m.both("browOuterUp", 1.6 * a[2] * (1 - 0.25 * f[4]), t[2])
    m.push("outer_up", 0.8 * a[2] * (1 - 0.2 * f[4]), t[2])
    m.both("browDown", 1.25 * a[4] * (1 - 0.72 * f[1]) * (1 - 0.35 * f[2]), t[4])
    # Corrugator's medial pull survives the frontalis; the inner brow wins upwards, the outer down.
    m.push("adduct", a[4] * (1 - 0.15 * f[1]), t[4])
    m.push("oblique", both * (1 - 0.8 * f[2]), t[4])
    m.crease("forehead_inner", f[1] * (1 - 0.30 * f[4]))
    m.crease("forehead_outer", f[2] * (1 - 0.15 * f[4]), t[2])
    m.crease("glabella", f[4] * (1 - 0.35 * f[1]))
    m.crease("oblique", both * (1 - 0.5 * f[2]))
    m.both("eyeSquint", 1.15 * (1 - (1 - 0.36 * a[6]) * (1 - min(1.0, a[7]))), t[7])
    m.both("eyeBlink", 0.20 * a[7] + 0.06 * a[6], t[7])
    m.both("cheekSquint", a[6] + 0.25 * a[12] * (1 - 0.5 * f[15]) + 0.10 * a[10], t[6])
    m.push("malar", a[6] + 0.35 * a[12] * (1 - 0.4 * f[15]), t[6])
    m.crease("crow", f[6] * (1 + 0.15 * f[12]) + 0.12 * f[7], t[6])
    m.crease("infraorbital", f[6], t[6])
    m.crease("lid", 1.2 * f[7] + 0.3 * f[6], t[7])


def _lower(m: Motion, a: dict[int, float], f: dict[int, float], tilt: dict[int, float]) -> None:
    t = {au: tilt.get(au, 0.0) for au in AUS}
    rival = f[12] * f[15]
    # Zygomaticus against triangularis: the lift goes, the sideways stretch stays.
    smile = a[12] * (1 - 0.72 * f[15]) * (1 - 0.12 * f[17]) * (1 - 0.18 * f[24])
    m.both("mouthSmile", smile, t[12])
    m.both("mouthFrown", 1.15 * a[15] * (1 - 0.15 * f[12]), t[15])
    m.both("mouthStretch", 0.70 * rival, t[12])
    closed = max(f[23], f[24])
    m.both("mouthUpperUp", 0.72 * a[10] * (1 - 0.30 * f[12]) * (1 - 0.45 * closed), t[10])
    m.both("noseSneer", 0.42 * a[10], t[10])
    m.push("nasolabial_raise", a[10], t[10])
    m.push("tuck", a[14] * (1 - 0.2 * f[12]), t[14])
    m.shape("mouthShrugLower", 1.15 * a[17] * (1 - 0.20 * f[12] * (1 - f[15])))
    m.shape("mouthShrugUpper", 0.12 * a[17] * (1 - f[10]))
    m.push("chin_up", a[17])
    m.push("inverted_u", f[15] * f[17] * (1 - 0.3 * f[12]))
    m.shape("mouthRollUpper", 0.55 * a[23] + 0.26 * a[24])
    m.shape("mouthRollLower", 0.50 * a[23] + 0.24 * a[24])
    m.shape("mouthPucker", 0.30 * a[23] * (1 - 0.6 * f[12]) + 0.06 * a[24] * (1 - 0.7 * f[12]))
    m.push("lip_thin", min(1.2, 0.95 * a[24] + 0.35 * a[23]))
    m.push("lip_bulge", a[24])
    m.push("narrow", a[23] * (1 - 0.6 * f[12]))
    upper = 0.95 * f[10] + 0.25 * f[12] * (1 - 0.3 * f[15]) + 0.10 * f[6]
    m.crease("nasolabial_upper", upper, t[10])
    lower = f[12] * (1 - 0.25 * f[15]) + 0.21 * f[10] + 0.15 * f[6] + 0.12 * f[15]
    m.crease("nasolabial_lower", lower, t[12])
    m.crease("nose", f[10], t[10])
    m.crease("dimple", f[14] + 0.12 * f[12], t[14])
    m.crease("marionette", f[15] * (1 + 0.25 * f[17]), t[15])
    m.crease("corner", 0.9 * f[15] + 0.2 * f[14] + 0.25 * rival, t[15])
    m.crease("mentolabial", f[17] + 0.25 * f[15])
    m.crease("chin", f[17] + 0.1 * f[15])
    m.crease("lip_lines", f[23])
    m.crease("press", f[24])


@lru_cache(maxsize=1)
def fields() -> dict[str, tuple[Array, Array]]:
    """Return corrective fields: vertex indices [K] and displacements float32 [K, 3], dm."""
    h = head()
    X, Y, Z = h.mean.T
    front = smoothstep(0.75, 1.05, Z) * (h.vertex_part == BODY)
    outer = 1 - np.clip(h.inside * 1.2, 0, 1)
    zero = np.zeros_like(X)
    out: dict[str, tuple[Array, Array]] = {}

    def at(cx: float, cy: float, sx: float, sy: float) -> Array:
        return np.asarray(bump(X, Y, cx, cy, sx, sy) * front)

    def store(name: str, weight: Array, dx: Any, dy: Any, dz: Any) -> None:
        moved = np.stack([weight * (zero + d) for d in (dx, dy, dz)], 1)
        index = np.nonzero(np.abs(moved).max(1) > 1e-4)[0]
        out[name] = (index, moved[index].astype(F32))

    brow = smoothstep(7.41, 7.49, Y)
    for s, side in ((1, "L"), (-1, "R")):
        store(f"inner_up{side}", at(s * 0.11, 7.56, 0.12, 0.10) * brow, 0, 0.050, 0.004)
        store(f"outer_up{side}", at(s * 0.40, 7.57, 0.12, 0.10) * brow, 0, 0.035, 0.004)
        store(f"adduct{side}", at(s * 0.16, 7.53, 0.10, 0.085) * brow, -s * 0.020, -0.004, 0.012)
        slant = 0.030 * bump(X, Y, s * 0.10, 7.55, 0.09, 0.09)
        slant = slant - 0.028 * bump(X, Y, s * 0.42, 7.54, 0.12, 0.08)
        store(f"oblique{side}", front * brow, 0, slant, 0)
        malar = at(s * 0.37, 7.06, 0.15, 0.11) * (1 - brow)
        store(f"malar{side}", malar, s * 0.006, 0.035, 0.035)
        store(f"nasolabial_raise{side}", at(s * 0.25, 6.93, 0.08, 0.10), s * 0.012, 0.035, 0.030)
        # Buccinator: the corner goes inwards and back, the cheek beside it bulges.
        pit = bump(X, Y, s * 0.262, 6.688, 0.058, 0.062)
        swell = bump(X, Y, s * 0.375, 6.70, 0.05, 0.09)
        store(f"tuck{side}", front, s * 0.018 * pit, 0.004 * pit, -0.062 * pit + 0.040 * swell)
    store("chin_up", at(0, 6.42, 0.13, 0.085), 0, 0.050, 0.036)
    sides = bump(X, Y, 0.24, 6.67, 0.06, 0.06) + bump(X, Y, -0.24, 6.67, 0.06, 0.06)
    arch = 0.030 * bump(X, Y, 0, 6.66, 0.09, 0.07) - 0.030 * sides
    store("inverted_u", front, 0, arch, 0.018 * bump(X, Y, 0, 6.60, 0.10, 0.05))
    mouth = bump(X, Y, 0, 6.675, 0.24, 0.105) * front * smoothstep(1.36, 1.42, Z)
    line = 6.690
    store("lip_thin", mouth, 0, -(Y - line) * 0.70, -0.030 * np.exp(-(((Y - line) / 0.07) ** 2)))
    ridge = bump(X, Y, 0, 6.830, 0.17, 0.032) + bump(X, Y, 0, 6.530, 0.16, 0.036)
    store("lip_bulge", front * outer, 0, 0, 0.030 * ridge)
    squeeze = at(0, 6.68, 0.26, 0.12)
    store("narrow", squeeze, -X * 0.22, 0, 0.014 * np.exp(-((X / 0.2) ** 2)))
    return out


def deform(V: Array, motion: Motion) -> Array:
    """Return fine vertices float32 [n, 3] of a coarse neutral head [m, 3] under a motion."""
    h = head()
    coarse = V.copy()
    for name, weight in motion.shapes.items():
        h.add(coarse, f"a:{name}", weight)
    fine = np.asarray(h.subdivision @ coarse, F32)
    for name, weight in motion.fields.items():
        if abs(weight) > 1e-4:
            index, moved = fields()[name]
            fine[index] += F32(weight) * moved
    return fine


@lru_cache(maxsize=1)
def landmark_vertices() -> dict[str, int]:
    """Return the fine vertex nearest to each landmark of the mean head, left side."""
    h = head()
    skin = (h.vertex_part == BODY) & (h.mean[:, 2] > 1.0)
    out = {}
    for name, (x, y) in LANDMARKS.items():
        distance = np.hypot(h.mean[:, 0] - x, h.mean[:, 1] - y) + 10 * ~skin
        out[name] = int(np.argmin(distance + np.where(h.inside > 0.3, 1, 0)))
    return out


@lru_cache(maxsize=1)
def mean_coarse() -> Array:
    """Return the coarse mean head [m, 3]."""
    h = head()
    V = h.coarse.copy()
    for race in ("african", "asian", "caucasian"):
        for sex in ("female", "male"):
            h.add(V, f"r:{race}-{sex}-young", 1 / 6)
    return V


def displacements(
    intensities: Sequence[float] | Array, gain: dict[int, float] | None = None
) -> dict[str, Array]:
    """Return landmark displacements on the mean head, float64 [3] millimetres.

    Axes: lateral (away from the midline), up, forward.
    """
    moved = deform(mean_coarse(), activate(intensities, gain=gain))
    rest = deform(mean_coarse(), Motion())
    return {
        name: ((moved[i] - rest[i]) * 100).astype(float) for name, i in landmark_vertices().items()
    }


def calibrate() -> dict[int, float]:
    """Return the gains that give ``REACH`` at intensity E on the mean head."""
    gains = {}
    unit = dict.fromkeys(AUS, 1.0)
    for k, au in enumerate(AUS):
        point, axis, reach = REACH[au]
        full = np.zeros(len(AUS))
        full[k] = 5
        low, high = 0.05, 4.0
        for _ in range(40):
            middle = (low + high) / 2
            moved = displacements(full, {**unit, au: middle})[point]
            low, high = (middle, high) if float(moved @ np.array(axis)) < reach else (low, middle)
        gains[au] = round((low + high) / 2, 3)
    return gains
