"""What a subject looks like, before any mesh; each attribute has a random stream of its own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from aubench.facs import AUS
from aubench.synfacs2.anatomy.fields import VARIANTS
from aubench.synfacs2.keys import check_subject

Array = np.ndarray[Any, Any]

STYLES = ("short", "swept", "fringe", "buzz", "bald")
HAIR = np.array(
    [[0.30, 0.19, 0.09], [0.16, 0.085, 0.035], [0.06, 0.032, 0.016], [0.018, 0.012, 0.009]]
)
IRIS = np.array(
    [
        [0.05, 0.025, 0.012],
        [0.10, 0.055, 0.025],
        [0.10, 0.11, 0.05],
        [0.08, 0.13, 0.20],
        [0.14, 0.17, 0.19],
    ]
)


def stream(*name: object) -> np.random.Generator:
    """Return the random stream of a name; adding one never shifts another."""
    digest = hashlib.sha256("/".join(["synfacs-2", *map(str, name)]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


@dataclass(frozen=True)
class Looks:
    """What a subject is, before any mesh: numbers in 0..1 unless said otherwise.

    Attributes:
        sex: 0 female to 1 male.
        age: 0 young to 1 old.
        race: Shares of the African, Asian and Caucasian mesh targets, sum 1.
        melanin: Optical depth of melanin, 0.1..3.1.
        haemoglobin: Redness.
        style: One of ``STYLES``.
        beard: Hair on the jaw when grown, 0 none to 1 full.
        moustache: Hair above the lip when grown, 0 none to 1 full.
        scar: Whether the face has one.
        variant: Layout of the folds.
        seed: Seed of the pattern of wrinkles.
        reach: Reach by AU: how far this face goes in comparison with the mean head.
        tilt: Lean by AU, -1 (left alone) to 1 (right alone), near 0.
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
    beard: float
    moustache: float
    scar: bool
    variant: int
    seed: int
    reach: dict[int, float]
    tilt: dict[int, float]


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
        beard=_grown(of("beard"), sex, 0.55),
        moustache=_grown(of("moustache"), sex, 0.60),
        scar=bool(of("scar").random() < 0.15),
        variant=int(of("wrinkles").integers(0, VARIANTS)),
        seed=check_subject(subject),
        reach={au: _reach(of(f"reach-{au}"), sex, age) for au in AUS},
        tilt={au: float(np.clip(of(f"tilt-{au}").normal(0, 0.06), -0.2, 0.2)) for au in AUS},
    )


def _grown(draw: np.random.Generator, sex: float, share: float) -> float:
    """Return how full a beard is where a man grows one, 0.5..1, else 0."""
    return float(draw.uniform(0.5, 1.0)) if sex > 0.5 and draw.random() < share else 0.0


def _reach(draw: np.random.Generator, sex: float, age: float) -> float:
    """Return how far a face goes: old faces less far, women's a little further."""
    mean = (1.02 - 0.04 * sex) * (1.02 - 0.12 * age)
    return float(np.clip(mean * np.exp(draw.normal(0, 0.07)), 0.8, 1.2))


def _triple(x: Array) -> tuple[float, float, float]:
    return (float(x[0]), float(x[1]), float(x[2]))
