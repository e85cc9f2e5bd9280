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


def commanded_regions(labels: npt.NDArray[np.uint8]) -> Mask:
    """Return where the commanded AUs act, bool [N, G, G], for labels uint8 [N, 12]."""
    return np.asarray(np.tensordot(labels.astype(np.int64), regions().astype(np.int64), 1) > 0)


def cell_change(made: Images, reference: Images) -> Vector:
    """Return the absolute difference of cell means, mean over colours, 0..255, [N, G, G].

    The mean over a cell takes out sensor noise, which is change of no one's making.

    Args:
        made: uint8 [N, H, W, 3], H and W at least G.
        reference: of the same shape.

    Raises:
        ValueError: shapes or types differ, or the images are smaller than the grid.
    """
    if made.shape != reference.shape or made.dtype != np.uint8 or reference.dtype != np.uint8:
        raise ValueError(f"want two uint8 [N, H, W, 3], got {made.shape} and {reference.shape}")
    gap, count = made.astype(np.int16) - reference, regions().shape[1]
    if min(gap.shape[1:3]) < count:
        raise ValueError(f"want at least {count} px, got {made.shape[1:3]}")
    sums: npt.NDArray[np.int64] = gap
    sizes = []
    for axis in (1, 2):
        edges = np.arange(count) * made.shape[axis] // count
        sums = np.add.reduceat(sums, edges, axis, dtype=np.int64)
        sizes.append(np.diff(np.append(edges, made.shape[axis])))
    means = sums / (sizes[0][:, None, None] * sizes[1][None, :, None])
    return np.asarray(np.abs(means).mean(3), np.float64)


def outside_change(change: Vector, inside: Mask) -> Vector:
    """Return the mean change of the cells outside the regions, grey levels 0..255, [N].

    NaN where the regions fill the image.

    Args:
        change: [N, G, G] of ``cell_change``.
        inside: bool [N, G, G] of ``commanded_regions``.

    Raises:
        ValueError: shapes differ.
    """
    _check(change, inside)
    return _ratio((change * ~inside).sum((1, 2)), (~inside).sum((1, 2)))


def locality(change: Vector, inside: Mask) -> Vector:
    """Return the share of all change that lies inside the regions, 0..1, [N].

    NaN where the image equals its reference: there is no change to be placed.

    Args:
        change: [N, G, G] of ``cell_change``.
        inside: bool [N, G, G] of ``commanded_regions``.

    Raises:
        ValueError: shapes differ.
    """
    _check(change, inside)
    return _ratio((change * inside).sum((1, 2)), change.sum((1, 2)))


def _check(change: Vector, inside: Mask) -> None:
    if change.shape != inside.shape or change.ndim != 3:
        raise ValueError(f"regions {inside.shape} for change {change.shape}")


def _ratio(top: Vector, bottom: npt.NDArray[np.generic]) -> Vector:
    out = np.full(len(top), np.nan)
    return np.asarray(np.divide(top, bottom, out=out, where=np.asarray(bottom, float) > 0))
