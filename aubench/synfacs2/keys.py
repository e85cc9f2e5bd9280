"""Names of synfacs subjects and images, such as ``S02021/studio-1234/6=3.2+12=4.1``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aubench.errors import AubenchError
from aubench.facs import AUS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SUBJECTS = 100_000_000
"""Subject numbers lie below; each is a face of its own."""
SPLITS = {"train": range(1000), "validation": range(1000, 1200), "test": range(2000, 2200)}
"""Subject numbers of each split; no subject is in two."""
FRESH = range(10_000, SUBJECTS)
"""Numbers that no shipped network was trained, tuned or looked at on."""

CONDITIONS = ("studio", "wild")
"""``studio``: clean; ``wild``: with everything that real frames have."""
SCENE_MAX = 9_999_999_999
"""Largest scene seed."""

_KEY = re.compile(r"(S\d{5,8})/(studio|wild)-(\d{1,10})/(neutral|\d+=\d\.\d(?:\+\d+=\d\.\d)*)")


def subject_name(number: int) -> str:
    """Return ``S02021`` for 2021."""
    return f"S{number:05d}"


def check_subject(subject: str) -> int:
    """Return the number of a subject.

    Raises:
        AubenchError: There is no such subject.
    """
    digits = subject[1:]
    if re.fullmatch(r"S\d{5,8}", subject) and subject_name(int(digits)) == subject:
        return int(digits)
    raise AubenchError(
        f"unknown subject '{subject}'",
        f"subjects are S00000 to {subject_name(SUBJECTS - 1)}, as in S02021",
    )


def check_condition(condition: str) -> str:
    """Return the condition.

    Raises:
        AubenchError: There is no such condition.
    """
    if condition not in CONDITIONS:
        raise AubenchError(
            f"unknown condition '{condition}'", f"choose from {', '.join(CONDITIONS)}"
        )
    return condition


def format_key(
    subject: str,
    intensities: Sequence[float] | npt.NDArray[np.floating],
    scene: int,
    condition: str = "studio",
) -> str:
    """Return the key of an image.

    Args:
        subject: ``S00000`` and on.
        intensities: 12 values in 0..5 in the order of ``AUS``, rounded to 0.1.
        scene: Scene seed, 0 to ``SCENE_MAX``.
        condition: One of ``CONDITIONS``.

    Raises:
        AubenchError: Unknown subject or condition, not 12 intensities, an intensity that is NaN
            or outside 0..5, or a scene seed out of range.
    """
    values = _checked(subject, intensities, scene)
    check_condition(condition)
    active = [f"{au}={value:.1f}" for au, value in zip(AUS, values, strict=True) if value > 0]
    return f"{subject}/{condition}-{int(scene)}/{'+'.join(active) or 'neutral'}"


def _checked(
    subject: str, intensities: Sequence[float] | npt.NDArray[np.floating], scene: int
) -> list[float]:
    """Return the intensities rounded to 0.1 after checking every part of a key."""
    check_subject(subject)
    if not 0 <= int(scene) <= SCENE_MAX:
        raise AubenchError(f"scene seed {scene} is out of range", f"use 0 to {SCENE_MAX}")
    values = [float(x) for x in intensities]
    if len(values) != len(AUS):
        raise AubenchError(
            f"{len(values)} AU intensities given for {subject}, {len(AUS)} needed",
            "one for each of AU " + ", ".join(map(str, AUS)),
        )
    for au, value in zip(AUS, values, strict=True):
        if not 0 <= value <= 5:  # NaN fails too
            raise AubenchError(
                f"intensity {value:g} of AU{au} for {subject} is out of range",
                "0 is absent, 1 to 5 are the FACS levels A to E",
            )
    return [round(value, 1) for value in values]


def parse_key(key: str) -> tuple[str, npt.NDArray[np.float32], int, str]:
    """Return (subject, float32 [12] intensities, scene seed, condition) of a key.

    Raises:
        AubenchError: The key is malformed, or names an unknown subject or AU.
    """
    import numpy as np

    match = _KEY.fullmatch(key)
    if match is None:
        raise AubenchError(f"malformed image key '{key}'", "as in S02021/studio-1234/6=3.2")
    subject, condition, scene, actions = match.groups()
    check_subject(subject)
    values = np.zeros(len(AUS), np.float32)
    if actions != "neutral":
        for part in actions.split("+"):
            au, value = part.split("=")
            if int(au) not in AUS or not 0 < float(value) <= 5:
                raise AubenchError(
                    f"bad action '{part}' in image key '{key}'",
                    "AU" + ", ".join(map(str, AUS)) + " with an intensity from 0.1 to 5.0",
                )
            values[AUS.index(int(au))] = float(value)
    if format_key(subject, values, int(scene), condition) != key:
        raise AubenchError(
            f"image key '{key}' is not in canonical form",
            "AUs ascend, each once, with one decimal",
        )
    return subject, values, int(scene), condition
