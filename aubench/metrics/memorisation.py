"""Memorisation: are generated faces nearer to training faces than new faces are?

Distances are Euclidean, between features of an extractor. Held-out targets say how near a face that
was never seen comes to the training set; a generator that stores training faces comes nearer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.metrics.threads import one_thread

Features = npt.NDArray[np.floating[Any]]
Vector = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

QUANTILE = 0.01
"""Of the targets' distances; nearer than that counts as memorised."""

MINIMUM = 100
"""Fewer targets have no 1st percentile."""

CHUNK = 256
"""Queries whose distances to the whole training set are in memory at a time."""


@dataclass(frozen=True)
class Neighbours:
    """Nearest training faces of M images.

    Attributes:
        index: row in the training set [M].
        distance: to it [M].
    """

    index: Rows
    distance: Vector


@one_thread
def nearest(queries: Features, base: Features, own: Rows | None = None) -> Neighbours:
    """Return for each query its nearest row of ``base``, exactly; ties go to the first.

    Args:
        queries: [M, D].
        base: [T, D].
        own: a row of ``base`` for each query that does not count, since it is the query itself.

    Raises:
        ValueError: shapes do not fit, nothing to compare with, or a value is not finite.
    """
    if queries.ndim != 2 or base.ndim != 2 or queries.shape[1] != base.shape[1]:
        raise ValueError(f"want [M, D] and [T, D], got {queries.shape} and {base.shape}")
    if len(base) < (1 if own is None else 2):
        raise ValueError("there is nothing to compare with")
    # Centred: a common offset would cost digits of the squared distances.
    centre = base.mean(0, dtype=np.float64)
    wide = base - centre
    squares = np.einsum("td,td->t", wide, wide)
    if not np.isfinite(squares).all() or not np.isfinite(queries).all():
        raise ValueError("features are not finite")
    index = np.empty(len(queries), np.int64)
    for i in range(0, len(queries), CHUNK):
        part = queries[i : i + CHUNK] - centre
        # |q|² is the same for all and left out.
        gap = squares[None] - 2 * part @ wide.T
        if own is not None:
            gap[np.arange(len(part)), own[i : i + CHUNK]] = np.inf
        index[i : i + CHUNK] = gap.argmin(1)
    away = np.asarray(queries, np.float64) - np.asarray(base[index], np.float64)
    return Neighbours(index, np.linalg.norm(away, axis=1))


def memorised_share(made: Vector, targets: Vector) -> float:
    """Return the share of images nearer to a training face than 99 % of the targets are.

    NaN for fewer than ``MINIMUM`` targets, which have no 1st percentile.

    Args:
        made: distances of generated images to the training set [K].
        targets: distances of held-out faces to it [N].
    """
    if len(targets) < MINIMUM or not len(made):
        return float("nan")
    return float((made < np.quantile(targets, QUANTILE)).mean())


def distance_ratio(made: Vector, targets: Vector) -> float:
    """Return the mean distance of generated images over that of targets; NaN if targets are copies.

    Args:
        made: distances of generated images to the training set [K].
        targets: distances of held-out faces to it [N].
    """
    below = float(targets.mean()) if len(targets) else 0.0
    return float(made.mean()) / below if below > 0 and len(made) else float("nan")


def authentic(found: Neighbours, gaps: Vector) -> npt.NDArray[np.bool_]:
    """Return which images count as new, bool [M] (Alaa et al. 2022).

    An image is not new if it is nearer to its nearest training face than that face's own nearest
    neighbour in the training set is.

    Args:
        found: nearest training faces of M images.
        gaps: distance of each training face to its nearest other one [T].
    """
    return np.asarray(found.distance > gaps[found.index])
