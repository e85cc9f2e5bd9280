"""The faces of the audit: one AU from neutral to E for some people, and samples of a protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from aubench.datasets import DEFAULT_DATASET, image_source
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.protocols.protocol import load_protocol
from aubench.synfacs.keys import SPLITS, format_key, subject_name

if TYPE_CHECKING:
    from aubench.datasets.samples import ImageSource

Images = npt.NDArray[np.uint8]

PROTOCOL = "test2k"
LEVELS = tuple(range(6))
"""Neutral, and A to E."""
PEOPLE, SAMPLES = 2, 8
"""Fewest people of a ramp and fewest samples of the controls."""


@dataclass(frozen=True)
class Plan:
    """What the audit is asked to do.

    Attributes:
        people: People of the ramps, of the test subjects.
        samples: Samples of ``test2k`` for the controls.
        seed: Seed of who is drawn.
        size: Side of the faces in pixels.
    """

    people: int = 8
    samples: int = 64
    seed: int = 0
    size: int = 128

    def check(self) -> None:
        """Refuse what gives no numbers.

        Raises:
            AubenchError: Too few or too many people or samples.
        """
        most = len(SPLITS["test"])
        if not PEOPLE <= self.people <= most:
            raise AubenchError(f"--people {self.people}", f"ask for {PEOPLE} to {most}")
        if self.samples < SAMPLES:
            raise AubenchError(f"--samples {self.samples}", f"ask for {SAMPLES} or more")


@dataclass(frozen=True)
class Ramps:
    """Each AU alone at each level, for P people.

    Attributes:
        faces: uint8 [P, 12, 6, S, S, 3]; level 0 is the neutral face, the same for all AUs.
        people: Names of the P subjects.
    """

    faces: Images
    people: list[str]

    @property
    def neutral(self) -> Images:
        """The neutral faces, uint8 [P, S, S, 3]."""
        return self.faces[:, 0, 0]


@dataclass(frozen=True)
class Samples:
    """Samples of a protocol.

    Attributes:
        targets: uint8 [N, S, S, 3].
        references: uint8 [N, S, S, 3], the same people's neutral faces.
        labels: Commanded AUs, uint8 [N, 12].
        subjects: Subject of each sample.
    """

    targets: Images
    references: Images
    labels: npt.NDArray[np.uint8]
    subjects: list[str]


def draw_ramps(plan: Plan) -> Ramps:
    """Return the ramps, rendered where the cache lacks them."""
    draw = np.random.default_rng(plan.seed)
    numbers = np.sort(draw.choice(np.array(SPLITS["test"]), plan.people, replace=False))
    keys = [
        format_key(subject_name(int(n)), np.eye(len(AUS))[k] * level, int(n) * 100)
        for n in numbers
        for k in range(len(AUS))
        for level in LEVELS
    ]
    images = image_source(DEFAULT_DATASET)
    faces = _loaded(images, keys, plan.size, "ramps")
    shape = (plan.people, len(AUS), len(LEVELS), *faces.shape[1:])
    return Ramps(faces.reshape(shape), [subject_name(int(n)) for n in numbers])


def draw_samples(plan: Plan) -> Samples:
    """Return samples of ``test2k``, evenly spread."""
    samples = load_protocol(PROTOCOL, DEFAULT_DATASET).samples().limit(plan.samples)
    images = image_source(DEFAULT_DATASET)
    target, reference = (
        _loaded(images, [str(k) for k in samples.frame[column]], plan.size, f"{column} faces")
        for column in ("target", "reference")
    )
    return Samples(target, reference, samples.labels(), samples.subjects())


def _loaded(images: ImageSource, keys: Sequence[str], size: int, label: str) -> Images:
    images.prefetch(list(dict.fromkeys(keys)), size, label)
    return images.load_many(keys, size)
