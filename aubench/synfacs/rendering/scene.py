"""A scene: pose, light, background, gaze and other nuisance, all from one seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from aubench.synfacs.anatomy.head import F32, noise, smoothstep
from aubench.synfacs.anatomy.looks import stream

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Scene:
    """Angles in degrees, light in relative linear units; the subject has no part in it."""

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
    noise: float


def scene(seed: int) -> Scene:
    """Draw the scene of a seed; yaw within ±12°, pitch within ±8°."""

    def of(name: str) -> np.random.Generator:
        return stream("scene", seed, name)

    def bounded(name: str, sd: float, limit: float) -> float:
        return float(np.clip(of(name).normal(0, sd), -limit, limit))

    return Scene(
        seed=seed,
        yaw=bounded("yaw", 4.0, 12),
        pitch=bounded("pitch", 2.5, 8),
        roll=bounded("roll", 1.5, 4),
        azimuth=float(of("azimuth").uniform(-55, 55)),
        elevation=float(of("elevation").uniform(12, 50)),
        warmth=float(of("warmth").normal()),
        key=float(of("key").uniform(0.8, 1.15)),
        fill=float(of("fill").uniform(0.25, 0.5)),
        ambient=float(of("ambient").uniform(0.28, 0.45)),
        rim=float(of("rim").uniform(0, 0.3)),
        rim_side=int(of("rim-side").choice([-1, 1])),
        gaze=(bounded("gaze-x", 4, 10), bounded("gaze-y", 2.5, 6)),
        blink=max(0.0, bounded("blink", 0.05, 0.12)),
        jaw=max(0.0, bounded("jaw", 0.02, 0.05)),
        noise=float(of("noise").uniform(0.003, 0.010)),
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


def _resized_noise(draw: np.random.Generator, size: int, cells: int) -> Array:
    """Noise drawn at one resolution and sampled, so that the scene does not depend on size."""
    plane = noise(draw, 64, 64, cells)
    at = np.minimum((np.arange(size) + 0.5) * 64 / size, 63).astype(int)
    return np.asarray(plane[np.ix_(at, at)])
