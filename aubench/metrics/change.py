"""Change against the reference face: how much of it lies where the commanded AUs act.

A generator that edits locally changes the skin that the commanded muscles move and little else. The
regions are read off the geometry of synfacs (``aubench.synfacs.regions``) and hold for every crop
aligned to the template of ``aubench.alignment``. Blur and colour shifts of a codec count as change,
and so they should; a reference that shows another scene than the target makes both numbers
meaningless.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError
from aubench.facs import AUS

Images = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

REGIONS = Path(__file__).with_name("regions.json")


@lru_cache(maxsize=1)
def regions() -> Mask:
    """Return where each AU acts, bool [12, G, G], in the order of ``AUS``.

    Raises:
        AubenchError: the table is damaged.
    """
    try:
        table = json.loads(REGIONS.read_text(encoding="utf-8"))["regions"]
        rows = [[[cell == "1" for cell in line] for line in table[f"AU{au}"]] for au in AUS]
        return np.array(rows, bool)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AubenchError(f"{REGIONS} holds no regions of AUs", "install aubench again") from error


def commanded_regions(labels: npt.NDArray[np.uint8], size: int) -> Mask:
    """Return where the commanded AUs act, bool [N, size, size], for labels uint8 [N, 12]."""
    areas = regions()
    union = np.einsum("nk,kij->nij", labels.astype(np.int64), areas.astype(np.int64)) > 0
    at = (np.arange(size) * areas.shape[1]) // size
    return np.asarray(union[:, at][:, :, at])


def outside_change(made: Images, reference: Images, inside: Mask) -> Vector:
    """Return the mean absolute difference outside the regions, grey levels 0..255, [N].

    NaN where the regions fill the image.

    Args:
        made: uint8 [N, H, W, 3].
        reference: uint8 [N, H, W, 3].
        inside: bool [N, H, W].

    Raises:
        ValueError: shapes or types differ.
    """
    gap, outside = _gap(made, reference, inside), ~inside
    return _ratio((gap * outside).sum((1, 2)), outside.sum((1, 2)))


def locality(made: Images, reference: Images, inside: Mask) -> Vector:
    """Return the share of all change that lies inside the regions, 0..1, [N].

    NaN where the image equals its reference: there is no change to be placed.

    Args:
        made: uint8 [N, H, W, 3].
        reference: uint8 [N, H, W, 3].
        inside: bool [N, H, W].

    Raises:
        ValueError: shapes or types differ.
    """
    gap = _gap(made, reference, inside)
    return _ratio((gap * inside).sum((1, 2)), gap.sum((1, 2)))


def _gap(made: Images, reference: Images, inside: Mask) -> Vector:
    if made.shape != reference.shape or made.dtype != np.uint8 or reference.dtype != np.uint8:
        raise ValueError(f"want two uint8 [N, H, W, 3], got {made.shape} and {reference.shape}")
    if inside.shape != made.shape[:3]:
        raise ValueError(f"regions {inside.shape} for images {made.shape}")
    # Integers are exact, and three times quicker than floats.
    return np.asarray(np.abs(made.astype(np.int16) - reference).mean(3), np.float64)


def _ratio(top: Vector, bottom: Vector) -> Vector:
    out = np.full(len(top), np.nan)
    return np.asarray(np.divide(top, bottom, out=out, where=bottom > 0))
