"""The reference face of each person (paper, 3.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from aubench.facs import AUS
from aubench.facs.coding import UNKNOWN

if TYPE_CHECKING:
    import numpy.typing as npt

    from aubench.datasets.readers.sequences import Coded


def coded_aus(sequences: Iterable[Coded]) -> npt.NDArray[np.bool_]:
    """Return which of the twelve AUs are coded anywhere, bool [12]."""
    found = np.zeros(len(AUS), np.bool_)
    for sequence in sequences:
        found |= (sequence.labels != UNKNOWN).any(0)
    return found


def neutral_rows(sequence: Coded, coded: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return the rows with an image in which every coded AU is known to be absent."""
    there = np.array([image is not None for image in sequence.images], np.bool_)
    return np.flatnonzero((sequence.labels[:, coded] == 0).all(1) & there)


def candidates(
    sequences: Sequence[Coded], coded: npt.NDArray[np.bool_], seed: int
) -> list[tuple[int, int]]:
    """Return (sequence, row) of one person's neutral frames in the random order to try them.

    The order follows from the names of the frames and the seed alone. Frames that show an AU
    outside the twelve come last.
    """
    found = []
    for i, sequence in enumerate(sequences):
        for row in map(int, neutral_rows(sequence, coded)):
            about = f"{seed}/{sequence.id}/{sequence.name(row)}"
            digest = hashlib.sha256(about.encode()).digest()
            found.append((bool(sequence.others[row]), digest, i, row))
    return [(i, row) for _, _, i, row in sorted(found)]
