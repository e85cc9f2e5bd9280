"""A scene: pose, light, background, gaze and, in ``wild``, what real frames have besides."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from aubench.facs import AUS
from aubench.synfacs2.anatomy.head import F32, noise, smoothstep
from aubench.synfacs2.anatomy.looks import stream
from aubench.synfacs2.keys import check_condition
from aubench.synfacs2.rendering.layers import NUISANCES

Array = np.ndarray[Any, Any]

OTHER_ACTIONS = (5, 9, 20, 25, 26, 43)
"""AUs outside the twelve that move in ``wild``: lids wide, nose wrinkled, lips stretched, lips
parted, jaw dropped, eyes closed."""


@dataclass(frozen=True)
class Photograph:
    """What the camera does to the picture.

    Attributes:
        blur: Standard deviation of its blur, in shares of the image side.
        noise: Standard deviation of its noise, 0..1.
        white: Gains of red, green and blue.
        exposure: Gain of all.
        quality: Quality of its JPEG, 1..100; 0 for none.
        offset: Where the blocks of its JPEG begin, pixels.
    """

    blur: float = 0.0
    noise: float = 0.006
    white: tuple[float, float, float] = (1.0, 1.0, 1.0)
    exposure: float = 1.0
    quality: int = 0
    offset: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Scene:
    """Angles in degrees, light in relative linear units; the subject has no part in it.

    Attributes:
        seed: Seed of the scene.
        yaw: Yaw of the head; ``pitch`` and ``roll`` alike.
        azimuth: Azimuth of the key light; ``elevation`` alike.
        warmth: Warmth of the key light, about -2..2.
        key: Strength of the key light; ``fill``, ``ambient`` and ``rim`` alike.
        rim_side: 1 or -1.
        gaze: Sideways and up.
        blink: How far the eyes are closed, 0..1.
        jaw: How far the jaw hangs, 0..1.
        parts_lips: Whether strong AU10 and AU12 part the lips.
        others: Intensity 0..5 of AUs outside the twelve.
        jaw_side: How far the jaw is shifted, -1..1.
        lean: Lean by AU, -1 (left alone) to 1 (right alone).
        grooming: What of ``beard``, ``makeup`` and ``scar`` shows where the subject has it.
        glasses: Seed of the glasses, 0 for none.
        shadow: Seed of what casts a shadow, 0 for none.
        photograph: What the camera does.
    """

    seed: int
    yaw: float
    pitch: float
    roll: float
    azimuth: float
    elevation: float
    warmth: float
    key: float
    fill: float
    ambient: float
    rim: float
    rim_side: int
    gaze: tuple[float, float]
    blink: float
    jaw: float
    parts_lips: bool
    others: dict[int, float] = field(default_factory=dict)
    jaw_side: float = 0.0
    lean: dict[int, float] = field(default_factory=dict)
    grooming: frozenset[str] = frozenset()
    glasses: int = 0
    shadow: int = 0
    photograph: Photograph = Photograph()


class _Draws:
    """Random draws of a scene, a stream each, so that switching one off moves no other."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def of(self, name: str) -> np.random.Generator:
        return stream("scene", self.seed, name)

    def bounded(self, name: str, sd: float, limit: float) -> float:
        return float(np.clip(self.of(name).normal(0, sd), -limit, limit))

    def happens(self, name: str, share: float) -> bool:
        return bool(self.of(name).random() < share)


@lru_cache(maxsize=256)
def scene(
    seed: int, condition: str = "studio", nuisances: frozenset[str] = frozenset(NUISANCES)
) -> Scene:
    """Draw the scene of a seed.

    Args:
        seed: 0 to ``SCENE_MAX``.
        condition: ``studio`` (yaw within 12 degrees, pitch within 8, clean) or ``wild``
            (yaw within 25, pitch within 14, and the nuisances).
        nuisances: Those drawn in ``wild``.

    Raises:
        AubenchError: There is no such condition.
    """
    wild = nuisances if check_condition(condition) == "wild" else frozenset[str]()
    d = _Draws(seed)
    wide = 2.0 if "pose" in wild else 1.0
    far = 1.8 if "gaze" in wild else 1.0
    return Scene(
        seed=seed,
        yaw=d.bounded("yaw", 4.5 * wide, 12 if wide == 1 else 25),
        pitch=d.bounded("pitch", 2.5 * wide, 8 if wide == 1 else 14),
        roll=d.bounded("roll", 1.5 * wide, 4 * wide),
        azimuth=float(d.of("azimuth").uniform(-55, 55)),
        elevation=float(d.of("elevation").uniform(12, 50)),
        warmth=float(d.of("warmth").normal()),
        key=float(d.of("key").uniform(0.8, 1.15)),
        fill=float(d.of("fill").uniform(0.25, 0.5)),
        ambient=float(d.of("ambient").uniform(0.28, 0.45)),
        rim=float(d.of("rim").uniform(0, 0.3)),
        rim_side=int(d.of("rim-side").choice([-1, 1])),
        gaze=(d.bounded("gaze-x", 4 * far, 10 * far), d.bounded("gaze-y", 2.5 * far, 6 * far)),
        blink=max(0.0, d.bounded("blink", 0.05, 0.12)),
        jaw=max(0.0, d.bounded("jaw", 0.02, 0.05)) + _speech(d, wild),
        parts_lips=d.happens("parts-lips", 0.5),
        others=_others(d) if "actions" in wild else {},
        jaw_side=_jaw_side(d) if "actions" in wild else 0.0,
        lean=_lean(d) if "asymmetry" in wild else {},
        grooming=frozenset(
            name
            for name, share in (("beard", 0.6), ("makeup", 0.5), ("scar", 1.0))
            if name in wild and d.happens(f"grooming-{name}", share)
        ),
        glasses=_seed(d, "glasses", 0.22) if "glasses" in wild else 0,
        shadow=_seed(d, "shadow", 0.30) if "shadow" in wild else 0,
        photograph=_photograph(d, "camera" in wild),
    )


def _seed(d: _Draws, name: str, share: float) -> int:
    """Return a seed where a thing is there, else 0."""
    return int(d.of(f"{name}-seed").integers(1, 2**31)) if d.happens(name, share) else 0


def _speech(d: _Draws, wild: frozenset[str]) -> float:
    """Return how far the jaw hangs while talking; a third of wild scenes are caught talking."""
    if "speech" not in wild or not d.happens("speech", 0.3):
        return 0.0
    return float(d.of("speech-open").beta(1.6, 3.0) * 0.30)


def _others(d: _Draws) -> dict[int, float]:
    """Return intensities of AUs outside the twelve; each moves in 15 % of the scenes."""
    return {
        au: round(float(1 + 4 * d.of(f"other-level-{au}").beta(1.2, 2.2)), 1)
        for au in OTHER_ACTIONS
        if d.happens(f"other-{au}", 0.06 if au == 43 else 0.15)
    }


def _jaw_side(d: _Draws) -> float:
    return d.bounded("jaw-side-far", 0.35, 0.8) if d.happens("jaw-side", 0.1) else 0.0


def _lean(d: _Draws) -> dict[int, float]:
    """Return how uneven each AU is: mostly a little, one in eight scenes on one side alone."""
    out = {au: d.bounded(f"lean-{au}", 0.15, 0.5) for au in AUS}
    if d.happens("unilateral", 0.125):
        side = float(d.of("unilateral-side").choice([-1.0, 1.0]))
        for au in d.of("unilateral-aus").choice(AUS, 3, replace=False):
            out[int(au)] = side
    return out


def _photograph(d: _Draws, wild: bool) -> Photograph:
    if not wild:
        return Photograph(noise=float(d.of("noise").uniform(0.003, 0.010)))
    gains = np.exp(d.of("white").normal(0, 0.05, 3))
    corner = d.of("jpeg-offset").integers(0, 8, 2)
    jpeg = int(d.of("jpeg").integers(45, 96)) if d.happens("jpeg-any", 0.7) else 0
    return Photograph(
        blur=float(d.of("blur").beta(1.2, 3.5) * 0.012),
        noise=float(d.of("noise").uniform(0.004, 0.028)),
        white=(float(gains[0]), float(gains[1]), float(gains[2])),
        exposure=float(np.exp(d.of("exposure").normal(0, 0.16))),
        quality=jpeg,
        offset=(int(corner[0]), int(corner[1])),
    )


def background(seed: int, size: int) -> Array:
    """Return a background float32 [size, size, 3], linear light."""
    draw = stream("scene", seed, "background")
    first = np.clip(draw.uniform(0.03, 0.6) * (0.75 + 0.5 * draw.random(3)), 0.01, 0.9)
    second = np.clip(first * draw.uniform(0.3, 1.8) + draw.normal(0, 0.03, 3), 0.01, 0.9)
    y, x = np.mgrid[0:size, 0:size].astype(F32) / size
    kind = int(draw.integers(0, 5))
    if kind == 0:
        t = np.hypot(x - 0.5, y - 0.45) * 1.3
    elif kind == 1:
        angle = draw.uniform(0, 6.28)
        t = 0.5 + (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)
    else:
        t = 0.5 + 0.35 * _resized_noise(draw, size, {2: 3, 3: 6, 4: 12}[kind])
    t = np.clip(t, 0, 1)[..., None]
    out = first * (1 - t) + second * t
    for _ in range(int(draw.integers(0, 4)) if kind >= 2 else 0):
        cx, cy, w, h = draw.random(), draw.random(), draw.uniform(0.08, 0.4), draw.uniform(0.1, 0.8)
        tone = np.clip(draw.uniform(0.02, 0.6) * (0.7 + 0.6 * draw.random(3)), 0, 1)
        block = smoothstep(0, 0.03, w / 2 - np.abs(x - cx)) * smoothstep(
            0, 0.03, h / 2 - np.abs(y - cy)
        )
        out = out * (1 - block[..., None] * 0.7) + block[..., None] * 0.7 * tone
    return np.asarray(out, F32)


def cast_shadow(seed: int, size: int) -> Array:
    """Return what share of the key light passes, float32 [size, size], 0.35..1.

    Leaves, blinds or the edge of a wall, softly.
    """
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size].astype(F32) / size
    angle = draw.uniform(0, np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    kind = int(draw.integers(0, 3))
    if kind == 0:
        open_ = smoothstep(-0.25, 0.35, _resized_noise(draw, size, int(draw.integers(3, 8))))
    elif kind == 1:
        open_ = smoothstep(-0.3, 0.3, np.sin(along * draw.uniform(18, 40) + draw.uniform(0, 6)))
    else:
        open_ = smoothstep(
            -0.04,
            0.04,
            along - draw.uniform(0.3, 0.7) * (abs(np.cos(angle)) + abs(np.sin(angle))) / 1.4,
        )
    return np.asarray(1 - draw.uniform(0.3, 0.65) * (1 - open_), F32)


def _resized_noise(draw: np.random.Generator, size: int, cells: int) -> Array:
    """Noise drawn at one resolution and sampled, so that the scene does not depend on size."""
    plane = noise(draw, 64, 64, cells)
    at = np.minimum((np.arange(size) + 0.5) * 64 / size, 63).astype(int)
    return np.asarray(plane[np.ix_(at, at)])
