"""Precision, recall (Kynkäänniemi et al. 2019), density, coverage (Naeem et al. 2020)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.float64]


def _distances(x: Matrix, y: Matrix) -> Matrix:
    squared = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * x @ y.T
    return np.asarray(np.sqrt(np.clip(squared, 0, None)))


def _radii(x: Matrix, k: int) -> Matrix:
    distance = _distances(x, x)
    np.fill_diagonal(distance, 0)
    return np.asarray(np.partition(distance, k, axis=1)[:, k])


def prdc(real: Features, fake: Features, *, k: int = 5) -> dict[str, float]:
    """Return the four scores of features real [N, D] and fake [M, D].

    A point is inside a neighbourhood if strictly nearer than the ``k``-th neighbour of its centre.

    Raises:
        ValueError: not more than ``k`` samples on a side.
    """
    if min(len(real), len(fake)) <= k:
        raise ValueError(f"needs more than {k} samples on each side")
    x, y = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    reach_real, reach_fake = _radii(x, k), _radii(y, k)
    between = _distances(x, y)
    inside = between < reach_real[:, None]
    return {
        "precision": float(inside.any(0).mean()),
        "recall": float((between < reach_fake[None]).any(1).mean()),
        "density": float(inside.sum(0).mean() / k),
        "coverage": float((between.min(1) < reach_real).mean()),
    }
