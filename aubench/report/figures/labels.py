"""Names beside the points of a figure, where they cover neither points nor each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

OFFSETS = ((6, 5), (6, -10), (-6, 5), (-6, -10), (0, 9), (0, -15), (6, 16), (-6, 16), (6, -21))
"""Tried in this order, points of a printer: beside, then further away."""
SIZE = 7.0


def label_points(panel: Any, names: Sequence[str], places: Sequence[tuple[float, float]]) -> None:
    """Write each name beside its point, at the first of `OFFSETS` that is free.

    Args:
        panel: Axes of matplotlib, whose limits are final.
        names: One a point.
        places: The points, in data coordinates.
    """
    panel.figure.draw_without_rendering()  # what lies where is known only then
    whole = panel.get_window_extent()
    points = [tuple(panel.transData.transform(place)) for place in places]
    pixels = panel.figure.dpi / 72
    taken = [(x - 4 * pixels, y - 4 * pixels, x + 4 * pixels, y + 4 * pixels) for x, y in points]
    for name, place, (x, y) in zip(names, places, points, strict=True):
        best, least = OFFSETS[0], float("inf")
        for offset in OFFSETS:
            box = _box(name, x, y, offset, pixels)
            cost = sum(_overlap(box, other) for other in taken)
            cost += 10 * _outside(box, (whole.x0, whole.y0, whole.x1, whole.y1))
            if cost < least:
                best, least = offset, cost
        taken.append(_box(name, x, y, best, pixels))
        panel.annotate(
            name,
            place,
            best,
            textcoords="offset points",
            ha=_side(best[0]),
            fontsize=SIZE,
        )


def _side(dx: float) -> str:
    return "center" if dx == 0 else "left" if dx > 0 else "right"


Box = tuple[float, float, float, float]


def _box(name: str, x: float, y: float, offset: tuple[int, int], pixels: float) -> Box:
    """Return about where a name will lie: letters are 0.58 of their height wide."""
    wide, high = 0.58 * SIZE * len(name) * pixels, SIZE * pixels
    left = x + offset[0] * pixels
    left -= {"left": 0.0, "center": wide / 2, "right": wide}[_side(offset[0])]
    low = y + offset[1] * pixels
    return (left, low, left + wide, low + high)


def _overlap(a: Box, b: Box) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, wide) * max(0.0, high)


def _outside(box: Box, whole: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1]) - _overlap(box, whole)
