"""Images that are their targets, or nearly: what no model makes that has not been shown them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from aubench.metrics.metric import PairBatch, PairStep

if TYPE_CHECKING:
    from aubench.metrics.evaluation_data import Arrays

Images = npt.NDArray[np.uint8]

NAME = "target-likeness"
ARRAY = "is_target"
NEAR = 3.0
"""Root mean square difference in grey levels that a codec or a little noise makes; the models here
are beyond 8 on synfacs."""
CHANGED = 1.0
"""Grey levels by which a target must differ from its reference for a likeness to mean anything."""
ALARM = 0.02
"""Share of the images above which a record says so."""


def is_target(made: Images, target: Images, reference: Images | None) -> npt.NDArray[np.bool_]:
    """Return which images [B, H, W, 3] are their targets, or nearly.

    That is: within ``NEAR`` grey levels of it, and at most half as far from it as the reference is.
    A target that hardly differs from the reference says nothing.

    >>> face = np.full((1, 4, 4, 3), 90, np.uint8)
    >>> is_target(face + 1, face, face + 40).tolist(), is_target(face, face, face).tolist()
    ([True], [False])
    """
    gap = _distance(made, target)
    if reference is None:
        return gap <= NEAR
    change = _distance(reference, target)
    return (gap <= NEAR) & (gap <= change / 2) & (change >= CHANGED)


def _distance(a: Images, b: Images) -> npt.NDArray[np.float64]:
    difference = a.astype(np.float32) - b.astype(np.float32)
    return np.asarray(np.sqrt(np.square(difference).mean((1, 2, 3), dtype=np.float64)))


def likeness_step() -> PairStep:
    """Return what is computed on the pairs of every run."""
    return PairStep(_step, f"{NEAR} levels, half of {CHANGED}", reference=True)


def _step(batch: PairBatch) -> Arrays:
    found = is_target(batch.generated, batch.target, batch.reference)
    return {ARRAY: found.astype(np.float32)}


def alarming(like_targets: int | None, generated: int) -> bool:
    """Return whether so many images are their targets that a record must say so."""
    return bool(like_targets) and (like_targets or 0) > ALARM * generated
