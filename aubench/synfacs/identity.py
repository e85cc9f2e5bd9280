"""Subjects: shape, colours and hair; each attribute has a random stream of its own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from aubench.facs import AUS
from aubench.synfacs.head import BODY, F32, head, noise, smoothstep
from aubench.synfacs.keys import check_subject
from aubench.synfacs.wrinkles import VARIANTS

Array = np.ndarray[Any, Any]

OPPOSITES = (
    ("incr", "decr"), ("up", "down"), ("in", "out"), ("forward", "backward"),
    ("convex", "concave"), ("compress", "uncompress"),
)  # fmt: skip
HEAD_SHAPES = ("diamond", "oval", "rectangular", "round", "square", "triangular")
STYLES = ("short", "swept", "fringe", "buzz", "bald")
EYE_DISTANCE, EYE_LEVEL, EYE_DEPTH = 0.578, 7.356, 1.181
"""Mean distance between the eyes and where their mid-point is put, decimetres."""

# Resting mouths of the base mesh look sad, and strong sliders would mimic AUs.
SPREAD = (
    (("mouth-angles", "mouth-laugh", "mouth-dimples", "eyebrows-angle", "eye-corner",
      "mouth-trans", "nose-trans", "eye-trans", "eye-push", "eyebrows-trans"), 0.10),
    (("head-scale", "head-angle", "forehead"), 0.12),
    (("head-age", "head-back", "neck", "measure"), 0.15),
    (("mouth", "chin", "nose", "eye-scale"), 0.18),
    (("ear",), 0.22),
)  # fmt: skip
HAIR = np.array([[0.30, 0.19, 0.09], [0.16, 0.085, 0.035], [0.06, 0.032, 0.016],
                 [0.018, 0.012, 0.009]])  # fmt: skip
IRIS = np.array([[0.05, 0.025, 0.012], [0.10, 0.055, 0.025], [0.10, 0.11, 0.05],
                 [0.08, 0.13, 0.20], [0.14, 0.17, 0.19]])  # fmt: skip


def stream(*name: object) -> np.random.Generator:
    """Return the random stream of a name; adding one never shifts another."""
    digest = hashlib.sha256("/".join(["synfacs-1", *map(str, name)]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


@dataclass(frozen=True)
class Looks:
    """What a subject is, before any mesh: numbers in 0..1 unless said otherwise.

    Attributes:
        sex: 0 female to 1 male.
        age: 0 young to 1 old.
        race: shares of the African, Asian and Caucasian mesh targets, sum 1.
        melanin: optical depth of melanin, 0.1..3.1.
        haemoglobin: redness.
        style: one of ``STYLES``.
        variant: of the wrinkle set.
        gain: strength of furrows, 0.75..1.5.
        tilt: by AU, how much stronger its left side is.
    """

    sex: float
    age: float
    race: tuple[float, float, float]
    melanin: float
    haemoglobin: float
    style: str
    hair: tuple[float, float, float]
    brow: tuple[float, float, float]
    iris: tuple[float, float, float]
    stubble: float
    freckles: float
    lip_red: float
    cloth: tuple[float, float, float]
    oil: float
    variant: int
    gain: float
    tilt: dict[int, float]


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
    """

    subject: str
    looks: Looks
    coarse: Array
    normals: Array
    texture: Array
    hairline: Array
    hair_lift: Array
    strands: Array


def looks(subject: str) -> Looks:
    """Draw what a subject looks like."""

    def of(name: str) -> np.random.Generator:
        return stream(subject, name)

    sex = float(np.clip((of("sex").random() < 0.5) + of("sex-blend").normal(0, 0.10), 0, 1))
    age = float(of("age").beta(1.0, 2.2))
    race = of("race").dirichlet([0.45, 0.45, 0.45])
    melanin = float(np.clip(race @ [2.2, 0.85, 0.45] + of("melanin").normal(0, 0.25), 0.1, 2.9))
    dark = np.clip(race @ [1, 0.97, 0.55] + of("hair-dark").normal(0, 0.18), 0, 1)
    hair = np.array([np.interp(dark, [0, 0.35, 0.65, 1], HAIR[:, k]) for k in range(3)])
    if of("red-hair").random() < 0.08 and race[2] > 0.5:
        hair = np.array([0.25, 0.09, 0.03])
    grey = float(np.clip((age - 0.55) * 2.2 + of("grey").normal(0, 0.2), 0, 1))
    brow = hair * (1 - 0.5 * grey) + np.array([0.22, 0.21, 0.20]) * 0.5 * grey
    brow = brow * min(0.7, 0.62 - 0.12 * melanin + 0.1 * grey)
    hair = hair * (1 - grey) + np.array([0.36, 0.35, 0.34]) * grey
    eye = 0 if race[2] < 0.45 else int(of("iris").choice(5, p=[0.25, 0.25, 0.15, 0.25, 0.1]))
    weights = [0.15, 0.45, 0.36, 0.03, 0.01] if sex < 0.5 else [0.50, 0.14, 0.06, 0.18, 0.12]
    stubble = (sex > 0.5) * max(0.0, of("stubble").normal(0.30, 0.30))
    made_up = 0.45 * (of("lipstick").random() < 0.3) * (sex < 0.5)
    tone = of("cloth")
    return Looks(
        sex=sex,
        age=age,
        race=(float(race[0]), float(race[1]), float(race[2])),
        melanin=melanin,
        haemoglobin=float(np.clip(of("blood").normal(0.45, 0.12), 0.1, 0.9)),
        style=str(of("style").choice(STYLES, p=weights)),
        hair=_triple(hair),
        brow=_triple(brow),
        iris=_triple(IRIS[eye]),
        stubble=min(float(stubble), 1.0),
        freckles=max(0.0, float(of("freckles").normal(-0.1, 0.35))) * float(race[2]),
        lip_red=float(of("lips").uniform(0.5, 1.0) + made_up),
        cloth=_triple(np.clip(tone.uniform(0.02, 0.55) * (0.55 + 0.9 * tone.random(3)), 0.01, 0.7)),
        oil=float(of("oil").uniform(0.5, 1.2)),
        variant=int(of("wrinkles").integers(0, VARIANTS)),
        gain=float(np.clip(of("wrinkle-gain").normal(0.95, 0.10) + 0.5 * age, 0.75, 1.5)),
        tilt={au: float(of(f"tilt-{au}").normal(0, 0.05)) for au in AUS},
    )


def _triple(x: Array) -> tuple[float, float, float]:
    return (float(x[0]), float(x[1]), float(x[2]))


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
    eyes = np.array([
        V[np.unique(h.coarse_quads[h.coarse_part == p])].mean(0) for p in (1, 2)
    ])  # fmt: skip
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
        [front, front - 0.015, front - 0.10 + temple, 7.80 + temple, 7.55, 7.20, 7.25, 6.95, 6.72,
         6.62],
    )  # fmt: skip
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


@lru_cache(maxsize=4)
def identity(subject: str) -> Identity:
    """Return a subject ready to render; the last few are kept (10 MB each).

    Raises:
        AubenchError: there is no such subject.
    """
    from aubench.synfacs.skin import texture

    check_subject(subject)
    look = looks(subject)
    coarse = shape(subject, look)
    fine = np.asarray(head().subdivision @ coarse, F32)
    hairline, lift = _hair(subject, look)
    draw = stream(subject, "strands")
    strands = noise(draw, 256, 1024, 500) * 0.7 + noise(draw, 256, 1024, 120) * 0.5
    return Identity(
        subject=subject,
        looks=look,
        coarse=coarse,
        normals=head().normals(fine),
        texture=texture(subject, look),
        hairline=hairline,
        hair_lift=lift,
        strands=strands.astype(np.float16),
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
