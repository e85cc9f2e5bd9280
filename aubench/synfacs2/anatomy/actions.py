"""AU intensities to motion of the skin, with the interactions of FACS, and to a posed mesh.

``ANATOMY`` states how far a landmark of each AU moves at intensity E on the mean head, and from
where that is known; ``GAIN`` is computed from it. At lower intensities the share ``EXCURSION`` of
it is left. AUs that pull on the same tissue do not add: the rules stand where they act.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from aubench.facs import AUS
from aubench.synfacs2.anatomy.fields import fields
from aubench.synfacs2.anatomy.head import BODY, F32, head
from aubench.synfacs2.anatomy.lips import COLUMNS, edge_gap, seal
from aubench.synfacs2.anatomy.motion import Motion

Array = np.ndarray[Any, Any]

EXCURSION = (0.0, 0.20, 0.42, 0.65, 0.84, 1.0)
"""Share of the full excursion at intensity 0, A, B, C, D, E; linear between them."""

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
    "nose": (0.0, 7.0),
}
"""Points of the left half of the mean head, (x, y) in decimetres."""


@dataclass(frozen=True)
class Reach:
    """Where a landmark goes at intensity E on the mean head.

    Attributes:
        landmark: Name of the landmark.
        axis: 0 away from the midline, 1 up, 2 forward.
        millimetres: Along the axis.
    """

    landmark: str
    axis: int
    millimetres: float


ANATOMY: dict[int, tuple[Reach, ...]] = {
    1: (Reach("brow_inner", 1, 8.5), Reach("brow_outer", 1, 0.6)),
    2: (Reach("brow_outer", 1, 8.5), Reach("brow_inner", 1, 2.4)),
    4: (Reach("brow_inner", 1, -7.0), Reach("brow_inner", 0, -4.4), Reach("brow_outer", 1, -4.0)),
    6: (Reach("cheek", 1, 5.5), Reach("lid_lower", 1, 2.4)),
    7: (Reach("lid_lower", 1, 2.5), Reach("lid_upper", 1, -1.2)),
    10: (Reach("lip_upper", 1, 4.5), Reach("brow_inner", 1, 0.0), Reach("nose", 1, 0.0)),
    12: (
        Reach("corner", 1, 6.5),
        Reach("corner", 0, 6.0),
        Reach("cheek", 1, 4.0),
        Reach("lip_upper", 1, 3.0),
    ),
    14: (Reach("corner", 2, -6.0), Reach("corner", 0, -3.7)),
    15: (Reach("corner", 1, -7.0), Reach("corner", 0, -0.8)),
    17: (Reach("lip_lower", 1, 6.2), Reach("chin", 1, 6.8)),
    23: (Reach("corner", 0, -4.2), Reach("corner", 1, 0.0)),
    24: (Reach("lip_upper", 1, -4.2), Reach("corner", 0, -0.3)),
}
"""By AU, its defining reach first, to which its gain is fitted, then what must follow from it.

AU12: corner along about 45 degrees and mouth 27 % wider, spontaneous smiles (Am J Orthod
Dentofacial Orthop 2005;128:8). AU1, 2: brow raised 8 to 10 mm. The rest is what the FACS manual
describes as direction and order, with magnitudes chosen here in the range of these.
"""

GAIN = {
    1: 0.988,
    2: 0.988,
    4: 0.95,
    6: 0.912,
    7: 1.006,
    10: 1.119,
    12: 0.963,
    14: 0.936,
    15: 0.967,
    17: 1.192,
    23: 1.212,
    24: 1.1,
}
"""Activation at E that gives the defining reach; the tests compute it anew."""


def excursion(intensities: Sequence[float] | Array) -> Array:
    """Return the share of full excursion, float64 [12], for intensities 0..5."""
    return np.asarray(np.interp(np.asarray(intensities, float), np.arange(6), EXCURSION))


@dataclass(frozen=True)
class Activation:
    """Share of the full excursion of each AU on each side.

    Attributes:
        left: Share by AU, 0..about 1.3.
        right: The same on the other side.
    """

    left: Mapping[int, float]
    right: Mapping[int, float]

    @property
    def mean(self) -> dict[int, float]:
        """Return the mean of both sides, for what lies on the midline."""
        return {au: (self.left[au] + self.right[au]) / 2 for au in AUS}


def activation(
    intensities: Sequence[float] | Array,
    tilt: Mapping[int, float] | None = None,
    reach: Mapping[int, float] | None = None,
) -> Activation:
    """Return how far each side goes.

    Args:
        intensities: 12 values 0..5 in the order of ``AUS``, of the stronger side.
        tilt: Lean by AU, -1 (left alone) to 1 (right alone): by how much the other side is weaker.
        reach: Reach by AU: how far a subject goes in comparison with the mean head.
    """
    share = dict(zip(AUS, excursion(intensities), strict=True))
    sides: list[dict[int, float]] = [{}, {}]
    for au in AUS:
        full = float(share[au]) * (reach or {}).get(au, 1.0)
        lean = (tilt or {}).get(au, 0.0)
        sides[0][au] = full * (1 - max(0.0, lean))
        sides[1][au] = full * (1 - max(0.0, -lean))
    return Activation(*sides)


def motion_of(active: Activation, gain: Mapping[int, float] | None = None) -> Motion:
    """Return the weights of targets and fields; ``gain`` stands in for the fitted ``GAIN``."""
    m, scale = Motion(), gain or GAIN
    for rule in (_brow, _eye, _smile, _raise_lip, _lower_corner):
        _sided(m, active, scale, rule)
    _middle(m, active.mean, scale)
    return m


Side = tuple[list[tuple[str, float]], list[tuple[str, float]]]
"""Weights of targets and of fields on one side."""


def _sided(m: Motion, active: Activation, gain: Mapping[int, float], rule: Any) -> None:
    """Add what a rule gives for the left and for the right side."""
    left: Side = rule(active.left, gain)
    right: Side = rule(active.right, gain)
    for (name, l_weight), (_, r_weight) in zip(left[0], right[0], strict=True):
        m.sided(name, l_weight, r_weight)
    for (name, l_weight), (_, r_weight) in zip(left[1], right[1], strict=True):
        m.push(name, l_weight, r_weight)


def _brow(f: Mapping[int, float], g: Mapping[int, float]) -> Side:
    # Frontalis against corrugator: each loses height, the medial pull of the corrugator stays.
    return [], [
        ("raise_inner", g[1] * f[1] * (1 - 0.25 * f[4]) * (1 - 0.08 * f[2])),
        ("raise_outer", g[2] * f[2] * (1 - 0.25 * f[4]) * (1 - 0.08 * f[1])),
        ("lower", g[4] * f[4] * (1 - 0.70 * f[1]) * (1 - 0.30 * f[2])),
        ("hood", g[4] * f[4] * (1 - 0.80 * max(f[1], f[2]))),
        ("adduct", g[4] * f[4]),
        ("slant", min(f[1], f[4]) * (1 - 0.8 * f[2])),  # 1+4: the tail of the brow sinks
    ]


def _eye(f: Mapping[int, float], g: Mapping[int, float]) -> Side:
    narrow = 1 - (1 - 0.70 * g[6] * f[6]) * (1 - 0.62 * g[7] * f[7])
    # 6 and 12 raise one mass of the cheek; the sum saturates.
    cheek = 0.85 * g[12] * f[12] * (1 - 0.55 * f[15]) * (1 - 0.35 * f[6])
    return [
        ("a:eyeSquint", narrow),
        ("a:eyeBlink", 0.10 * g[7] * f[7] + 0.03 * f[6] + 0.04 * f[4]),
    ], [
        ("lid_up", 0.8 * g[7] * f[7] * (1 - 0.5 * f[6]) + 0.25 * f[6]),
        ("orbital", g[6] * f[6] * (1 - 0.30 * f[12])),
        ("cheek", 0.05 * f[6] + cheek),
    ]


def _smile(f: Mapping[int, float], g: Mapping[int, float]) -> Side:
    # Zygomaticus against triangularis: the lift is lost, the stretch sideways of both survives.
    smile = g[12] * f[12] * (1 - 0.42 * f[15]) * (1 - 0.15 * f[24]) * (1 - 0.15 * f[23])
    rival = min(f[12], f[15])
    return [
        ("e:mouth-corner-puller", 0.55 * smile),
        ("a:mouthSmile", 0.06 * smile),
        ("a:mouthDimple", 0.34 * smile + 0.25 * rival),
        ("a:mouthStretch", 0.22 * smile),
    ], [
        ("fold", g[12] * f[12] * (1 - 0.35 * f[15]) + 0.12 * f[6]),
        ("lips_up", smile * (1 - 0.5 * f[15]) * (1 - 0.5 * f[17])),
    ]


def _raise_lip(f: Mapping[int, float], g: Mapping[int, float]) -> Side:
    closed = max(f[23], f[24])
    sneer = g[10] * f[10] * (1 - 0.25 * f[12]) * (1 - 0.45 * closed)
    return [
        ("e:mouth-elevation", 0.45 * sneer),
        ("a:mouthUpperUp", 0.42 * sneer),
    ], [
        ("square", 0.7 * sneer),
        ("upper_fold", g[10] * f[10]),
    ]


def _lower_corner(f: Mapping[int, float], g: Mapping[int, float]) -> Side:
    frown = g[15] * f[15] * (1 - 0.30 * f[12])
    tuck = g[14] * f[14] * (1 - 0.25 * f[12])
    return [
        ("a:mouthFrown", 0.85 * frown),
        ("e:mouth-depression", 0.30 * frown),
        ("e:mouth-retraction", 0.55 * tuck),
    ], [
        ("corner_down", frown),
        ("jowl", g[15] * f[15] * (1 - 0.25 * f[12])),
        ("tuck", tuck),
    ]


def _middle(m: Motion, f: Mapping[int, float], g: Mapping[int, float]) -> None:
    chin = g[17] * f[17]
    sneer = g[10] * f[10] * (1 - 0.25 * f[12]) * (1 - 0.45 * max(f[23], f[24]))
    m.target("a:mouthShrugLower", 0.95 * chin * (1 - 0.15 * f[12] * (1 - f[15])) + 0.30 * sneer)
    m.target("a:mouthShrugUpper", 0.16 * chin * (1 - f[10]))
    m.middle("chin_up", chin)
    m.middle("arch", chin * (0.75 + 0.25 * f[15]) * (1 - 0.35 * f[12]))
    m.target("a:mouthRollUpper", 0.42 * g[23] * f[23] + 0.26 * g[24] * f[24])
    m.target("a:mouthRollLower", 0.46 * g[23] * f[23] + 0.30 * g[24] * f[24])
    m.target("a:mouthPucker", 0.20 * g[23] * f[23] * (1 - 0.6 * f[12]))
    m.middle("narrow", g[23] * f[23] * (1 - 0.6 * f[12]))
    m.middle("thin", min(1.25, 0.95 * g[24] * f[24] + 0.45 * g[23] * f[23]))
    m.middle("press", g[24] * f[24])


@dataclass(frozen=True)
class Mouth:
    """How the mouth opens after all else.

    Attributes:
        parted: Gap between the lips in the middle, decimetres.
        opening: Motion that is added after the lips have met, as of the jaw.
    """

    parted: float = 0.0
    opening: Motion = field(default_factory=Motion)


def deform(V: Array, motion: Motion, mouth: Mouth | None = None, *, variant: int = -1) -> Array:
    """Return fine vertices float32 [n, 3] of a coarse neutral head [m, 3] under a motion.

    Args:
        V: Coarse vertices, decimetres.
        motion: Weights of targets and fields.
        mouth: How it opens; else the lips meet as at rest.
        variant: Layout of the folds, -1 the mean.
    """
    h, mouth = head(), mouth or Mouth()
    rest = V.astype(F32)
    coarse = rest.copy()
    _add(coarse, motion)
    fine = np.asarray(h.subdivision @ coarse, F32)
    table = fields(variant)
    for at, weight in motion.fields.items():
        if abs(weight) > 1e-4:
            index, moved = table[at]
            fine[index] += F32(weight) * moved
    opening = mouth.parted * np.clip(1.25 * (1 - (COLUMNS / 0.19) ** 2), 0, 1)
    seal(fine, np.clip(edge_gap(rest), 0.0, 0.012) + opening)
    if any(abs(weight) > 1e-4 for weight in mouth.opening.targets.values()):
        extra = np.zeros_like(rest)
        _add(extra, mouth.opening)
        fine += h.subdivision @ extra
    return fine


def _add(coarse: Array, motion: Motion) -> None:
    """Add the targets of a motion to coarse vertices in place."""
    for name, weight in motion.targets.items():
        head().add(coarse, name, weight)
    for (name, side), weight in motion.halves.items():
        head().add_half(coarse, name, side, weight)


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
    intensities: Sequence[float] | Array, gain: Mapping[int, float] | None = None
) -> dict[str, Array]:
    """Return landmark displacements on the mean head, float64 [3] millimetres.

    Axes: lateral (away from the midline), up, forward.
    """
    moved = deform(mean_coarse(), motion_of(activation(intensities), gain))
    rest = deform(mean_coarse(), Motion())
    return {
        name: ((moved[i] - rest[i]) * 100).astype(float) for name, i in landmark_vertices().items()
    }


def calibrate() -> dict[int, float]:
    """Return the gains that give each AU's defining reach at intensity E on the mean head."""
    gains = dict.fromkeys(AUS, 1.0)
    for k, au in enumerate(AUS):
        first = ANATOMY[au][0]
        full = np.zeros(len(AUS))
        full[k] = 5
        low, high = 0.3, 2.5
        for _ in range(14):
            gains[au] = (low + high) / 2
            moved = float(displacements(full, gains)[first.landmark][first.axis])
            short = abs(moved) < abs(first.millimetres)
            low, high = (gains[au], high) if short else (low, gains[au])
        gains[au] = round((low + high) / 2, 3)
    return gains
