"""Step-by-step corruption of AU intensities, and the true error that it makes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.datasets.samples import seed_of
from aubench.facs import AUS

Intensities = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float64]

KINDS = ("drop", "add", "weaken", "swap")
"""What is done to the active AUs: taken away, joined by others, made fainter, replaced."""

LABEL_KINDS = ("drop", "add", "swap")
"""Those that need no intensities."""

ADDED = 6
"""AUs that ``add`` has added at the last level, fewer where fewer are inactive."""


def steps(level: int, levels: int, most: int) -> int:
    """Return how many of ``most`` AUs are touched at a level: the nearest whole number."""
    return (2 * level * most + levels) // (2 * levels)


def corrupt(values: Intensities, kind: str, levels: int, seed: int) -> Intensities:
    """Return the corrupted intensities of one face, from faithful to wholly wrong.

    What a level has changed stays changed at the next, so the true error never falls. No level
    depends on how many there are but through its share of the way.

    Args:
        values: float32 [12], 0..5 in steps of 0.1, at least one active and one inactive AU.
        kind: Kind of ``KINDS``. ``drop`` sets active AUs to 0, ``add`` gives inactive AUs 2.0 to
            5.0 (B to E, as in the data set), ``weaken`` scales every active AU down to 0, ``swap``
            moves the intensity of an active AU to an inactive one.
        levels: Number of corrupted levels.
        seed: Seed of which AUs are corrupted, in which order.

    Returns:
        float32 [levels + 1, 12]; row 0 equals ``values``.

    Raises:
        ValueError: Unknown kind, or no AU to corrupt.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown corruption '{kind}'")
    if levels < 1 or not 0 < (values > 0).sum() < len(AUS):
        raise ValueError("want a level, an active and an inactive AU")
    rng = np.random.default_rng(seed)
    active = rng.permutation(np.nonzero(values > 0)[0])
    quiet = rng.permutation(np.nonzero(values == 0)[0])
    new = rng.integers(20, 51, len(AUS)) / 10
    out = np.repeat(np.asarray(values, np.float32)[None], levels + 1, 0)
    pairs = min(len(active), len(quiet))
    extra = min(ADDED, len(quiet))
    for level in range(1, levels + 1):
        row = out[level]
        if kind == "drop":
            row[active[: steps(level, levels, len(active))]] = 0
        elif kind == "add":
            some = quiet[: steps(level, levels, extra)]
            row[some] = new[some]
        elif kind == "weaken":
            tenths = np.rint(values * 10).astype(int)
            row[:] = steps_of(tenths, level, levels) / 10
        else:
            count = steps(level, levels, pairs)
            row[quiet[:count]] = values[active[:count]]
            row[active[:count]] = 0
    return out


def steps_of(tenths: npt.NDArray[np.int_], level: int, levels: int) -> npt.NDArray[np.int_]:
    """Return what is left of intensities in tenths at a level, the nearest tenth."""
    return np.asarray((2 * tenths * (levels - level) + levels) // (2 * levels))


def corruptions(
    values: Intensities, sample_ids: list[str], kind: str, levels: int, seed: int
) -> Intensities:
    """Return the corrupted intensities float32 [levels + 1, N, 12] of faces [N, 12].

    The draws of a face follow from its id, the kind and the seed alone.
    """
    return np.stack(
        [
            corrupt(row, kind, levels, seed_of(f"{kind}/{name}", seed))
            for row, name in zip(values, sample_ids, strict=True)
        ],
        1,
    )


def intensity_error(shown: npt.NDArray[Any], asked: npt.NDArray[Any]) -> Vector:
    """Return the mean absolute intensity error of the last axis, as a share 0..1 of the scale."""
    gap = np.abs(np.asarray(shown, np.float64) - np.asarray(asked, np.float64))
    return np.asarray(np.rint(gap * 10).sum(-1) / (50 * len(AUS)))


def label_error(shown: npt.NDArray[Any], asked: npt.NDArray[Any]) -> Vector:
    """Return how many AUs, 0..12, are present in one of shown and asked and not in the other."""
    return np.asarray(((shown > 0) != (asked > 0)).sum(-1), np.float64)


def balanced_error(shown: npt.NDArray[Any], asked: npt.NDArray[Any]) -> Vector:
    """Return the mean of the errors of commanded and of other AUs, each a share 0..1 of the scale.

    Three quarters of the AUs are not commanded: the plain mean holds what is missing for little.
    """
    gap = np.rint(np.abs(np.asarray(shown, np.float64) - np.asarray(asked, np.float64)) * 10) / 50
    on = np.broadcast_to(np.asarray(asked) > 0, gap.shape)
    parts = [(gap * side).sum(-1) / np.maximum(side.sum(-1), 1) for side in (on, ~on)]
    return np.asarray((parts[0] + parts[1]) / 2)
