"""Subjects: shape, colours and hair; each attribute has a random stream of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from aubench.facs import AUS
from aubench.synfacs2.anatomy.actions import activation, deform, motion_of
from aubench.synfacs2.anatomy.head import BODY, F32, HIGH, TEXEL, WIDE, head, noise, smoothstep
from aubench.synfacs2.anatomy.looks import Looks, looks, stream
from aubench.synfacs2.anatomy.motion import Motion
from aubench.synfacs2.anatomy.skin import texture
from aubench.synfacs2.anatomy.strain import wrinkles
from aubench.synfacs2.keys import check_subject

Array = np.ndarray[Any, Any]

OPPOSITES = (
    ("incr", "decr"),
    ("up", "down"),
    ("in", "out"),
    ("forward", "backward"),
    ("convex", "concave"),
    ("compress", "uncompress"),
)
HEAD_SHAPES = ("diamond", "oval", "rectangular", "round", "square", "triangular")
EYE_DISTANCE, EYE_LEVEL, EYE_DEPTH = 0.578, 7.356, 1.181
"""Mean distance between the eyes and where their mid-point is put, decimetres."""

# Resting mouths of the base mesh look sad, and strong sliders would mimic AUs.
SPREAD = (
    (
        (
            "mouth-angles",
            "mouth-laugh",
            "mouth-dimples",
            "eyebrows-angle",
            "eye-corner",
            "mouth-trans",
            "nose-trans",
            "eye-trans",
            "eye-push",
            "eyebrows-trans",
        ),
        0.10,
    ),
    (("head-scale", "head-angle", "forehead"), 0.12),
    (("head-age", "head-back", "neck", "measure"), 0.15),
    (("mouth", "chin", "nose", "eye-scale"), 0.18),
    (("ear",), 0.22),
)


@dataclass(frozen=True)
class Identity:
    """A subject ready to render.

    Attributes:
        coarse: float64 [m, 3] neutral coarse mesh.
        normals: float32 [n, 3] of the neutral fine mesh.
        texture: float16 [HIGH * WIDE, 8]: albedo RGB, static bump x and y, cavity, hair cover, oil.
        hairline: float32 [n], above zero where scalp hair grows.
        hair_lift: float32 [n], thickness of the hair, dm.
        strands: float16 [256, 1024] brightness of hair strands.
        rest: float32 [n, 3] neutral fine mesh.
    """

    subject: str
    looks: Looks
    coarse: Array
    normals: Array
    texture: Array
    hairline: Array
    hair_lift: Array
    strands: Array
    rest: Array


@lru_cache(maxsize=1)
def _sliders() -> dict[str, tuple[str, str]]:
    """Return the local shape sliders: name to its two opposite targets."""
    names = {name[2:] for name in head().names if name.startswith("l:")}
    out = {}
    for name in sorted(names):
        for plus, minus in OPPOSITES:
            other = name.removesuffix(plus) + minus
            if name.endswith(f"-{plus}") and other in names:
                out[name.removesuffix(f"-{plus}")] = (name, other)
    return out


def _spread(name: str) -> float:
    base = name[2:] if name[:2] in ("l-", "r-") else name
    return next((sd for heads, sd in SPREAD if base.startswith(heads)), 0.22)


def _macro(V: Array, subject: str, look: Looks) -> None:
    def three(name: str) -> dict[str, float]:
        x = float(np.clip(stream(subject, name).normal(0.5, 0.21), 0, 1))
        return {"min": max(0, 1 - 2 * x), "average": 1 - abs(2 * x - 1), "max": max(0, 2 * x - 1)}

    muscle, weight = three("muscle"), three("weight")
    for sex, s in (("female", 1 - look.sex), ("male", look.sex)):
        for age, a in (("young", 1 - look.age), ("old", look.age)):
            for m, mw in muscle.items():
                for w, ww in weight.items():
                    head().add(V, f"u:{sex}-{age}-{m}muscle-{w}weight", s * a * mw * ww)
            for race, share in zip(("african", "asian", "caucasian"), look.race, strict=True):
                head().add(V, f"r:{race}-{sex}-{age}", s * a * share)


def _local(V: Array, subject: str, look: Looks) -> None:
    h = head()
    for name, (plus, minus) in _sliders().items():
        if name.startswith("r-"):
            continue  # drawn with its left twin
        draw = stream(subject, "slider", name)
        x = float(np.clip(draw.normal(0, _spread(name)), -0.6, 0.6))
        if name.startswith("l-"):
            for side in "lr":
                y = x + float(draw.normal(0, 0.04))
                h.add(V, f"l:{side}{(plus if y > 0 else minus)[1:]}", abs(y))
        else:
            h.add(V, f"l:{plus if x > 0 else minus}", abs(x))
    shapes = stream(subject, "head-shape")
    first, second = shapes.choice(HEAD_SHAPES, 2, replace=False)
    h.add(V, f"l:head-{first}", float(shapes.uniform(0, 0.4)))
    h.add(V, f"l:head-{second}", float(shapes.uniform(0, 0.2)))
    h.add(V, "a:mouthSmileLeft", 0.06)
    h.add(V, "a:mouthSmileRight", 0.06)
    h.add(V, "l:mouth-angles-up", 0.15 + 0.25 * look.age)


def shape(subject: str, look: Looks) -> Array:
    """Return the neutral coarse mesh float64 [m, 3], eyes brought to a fixed place and scale."""
    h = head()
    V = h.coarse.copy()
    _macro(V, subject, look)
    _local(V, subject, look)
    eyes = np.array([V[np.unique(h.coarse_quads[h.coarse_part == p])].mean(0) for p in (1, 2)])
    scale = (EYE_DISTANCE / np.linalg.norm(eyes[0] - eyes[1])) ** 0.7
    return np.asarray((V - eyes.mean(0)) * scale + np.array([0, EYE_LEVEL, EYE_DEPTH]))


def _hair(subject: str, look: Looks) -> tuple[Array, Array]:
    h = head()
    X, Y, Z = h.mean.T
    draw = stream(subject, "hairline")
    azimuth = np.degrees(np.arctan2(np.abs(X), Z - 0.35))  # 0 front, 90 side, 180 back
    temple = float(draw.uniform(0.02, 0.16)) * look.sex + 0.02
    front = 8.09 + float(draw.normal(0, 0.035)) + 0.06 * look.age * (look.sex > 0.5)
    if look.style == "fringe":
        front -= float(draw.uniform(0.10, 0.22))
    line = np.interp(
        azimuth,
        [0, 25, 42, 55, 66, 78, 95, 110, 135, 180],
        [
            front,
            front - 0.015,
            front - 0.10 + temple,
            7.80 + temple,
            7.55,
            7.20,
            7.25,
            6.95,
            6.72,
            6.62,
        ],
    )
    phase = draw.uniform(0, 6.28, 3)
    wave = 0.018 * np.sin(X * 11 + phase[0]) + 0.014 * np.sin(X * 23 + phase[1])
    line = line + wave * smoothstep(70, 30, azimuth)
    cover = np.where((h.vertex_part == BODY) & (h.ears < 0.4), Y - line, -1.0)
    thick = {"short": 0.10, "swept": 0.06, "fringe": 0.085, "buzz": 0.012, "bald": 0.0}[look.style]
    if look.style == "bald":
        cover = np.minimum(cover, -0.5)
    volume = smoothstep(0, 0.22, cover) * (1 + 0.35 * smoothstep(7.9, 8.4, Y))
    if look.style == "short":
        volume = volume * (0.45 + 0.55 * smoothstep(7.5, 7.95, Y))
    lump = 1 + 0.18 * np.sin(X * 9 + phase[2]) * np.sin(Z * 7 + phase[0])
    lift = thick * float(draw.uniform(0.8, 1.2)) * volume * lump
    return cover.astype(F32), lift.astype(F32)


HABITS = ({1: 4.0, 2: 4.0}, {4: 4.0}, {6: 4.0, 12: 4.0})
"""Expressions whose wrinkles age leaves on a resting face, by intensity."""


def _engraved(coarse: Array, rest: Array, look: Looks) -> Array | None:
    """Return the height of what age has kept of habitual wrinkles, float32 [HIGH, WIDE], dm."""
    kept = 0.42 * max(0.0, look.age - 0.15) ** 1.2
    if kept < 0.01:
        return None
    height = np.zeros((HIGH, WIDE), F32)
    for habit in HABITS:
        active = activation([habit.get(au, 0.0) for au in AUS])
        posed = deform(coarse, motion_of(active), variant=look.variant)
        height += wrinkles(rest, posed, look.seed, look.age)
    return np.asarray(height * F32(kept))


@dataclass(frozen=True)
class Build:
    """Shape and hair of a subject, without its skin; the fields are those of ``Identity``."""

    looks: Looks
    coarse: Array
    rest: Array
    normals: Array
    hairline: Array
    hair_lift: Array
    strands: Array
    engraved: Array | None


@lru_cache(maxsize=4)
def _build(subject: str) -> Build:
    look = looks(subject)
    coarse = shape(subject, look)
    rest = deform(coarse, Motion(), variant=look.variant)
    hairline, lift = _hair(subject, look)
    draw = stream(subject, "strands")
    strands = noise(draw, 256, 1024, 500) * 0.7 + noise(draw, 256, 1024, 120) * 0.5
    return Build(
        looks=look,
        coarse=coarse,
        rest=rest,
        normals=head().normals(rest),
        hairline=hairline,
        hair_lift=lift,
        strands=strands.astype(np.float16),
        engraved=_engraved(coarse, rest, look),
    )


@lru_cache(maxsize=4)
def identity(subject: str, grooming: frozenset[str] = frozenset()) -> Identity:
    """Return a subject ready to render; the last few are kept (12 MB each).

    Args:
        subject: ``S00000`` and on.
        grooming: What of ``beard``, ``makeup`` and ``scar`` shows where the subject has it.

    Raises:
        AubenchError: There is no such subject.
    """
    check_subject(subject)
    build = _build(subject)
    skin = texture(subject, build.looks, grooming)
    if build.engraved is not None:
        plane = skin.reshape(HIGH, WIDE, 8)
        plane[..., 3] += np.gradient(build.engraved, TEXEL, axis=1)
        plane[..., 4] += np.gradient(build.engraved, TEXEL, axis=0)
        plane[..., 5] += np.clip(-50 * build.engraved, 0, 1)
    return Identity(
        subject=subject,
        looks=build.looks,
        coarse=build.coarse,
        normals=build.normals,
        texture=skin,
        hairline=build.hairline,
        hair_lift=build.hair_lift,
        strands=build.strands,
        rest=build.rest,
    )


AGES = ((0.2, "younger"), (0.45, "middle"), (1.01, "older"))
SKINS = ((0.7, "light"), (1.4, "medium"), (9.9, "dark"))
"""Upper ends of the groups: of ``Looks.age``, and of ``Looks.melanin``."""


def attributes_of(subject: str) -> dict[str, str]:
    """Return the groups of a subject: ``age``, ``sex`` and ``skin``."""
    drawn = looks(subject)
    return {
        "age": next(name for top, name in AGES if drawn.age < top),
        "sex": "female" if drawn.sex < 0.5 else "male",
        "skin": next(name for top, name in SKINS if drawn.melanin < top),
    }
