"""Points of the face mesh that each AU moves of its own, by their numbers."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from aubench.facs import AUS
from aubench.networks.face_landmarker.names import STABLE

POINTS = 478

INNER_BROWS = (107, 66, 55, 65, 336, 296, 285, 295)
OUTER_BROWS = (105, 52, 63, 53, 70, 46, 334, 282, 293, 283, 300, 276)
BETWEEN_BROWS = (9, 8, 108, 337)
UPPER_LIDS = (158, 159, 160, 385, 386, 387)
LOWER_LIDS = (144, 145, 153, 373, 374, 380)
UNDER_EYES = (23, 24, 230, 231, 232, 253, 254, 450, 451, 452)
CHEEKS = (50, 101, 117, 118, 205, 280, 330, 346, 347, 425)
CORNERS = (61, 76, 78, 291, 306, 308, 57, 287, 185, 146, 409, 375)
UPPER_LIP = (0, 11, 12, 13, 37, 39, 40, 267, 269, 270, 80, 81, 82, 310, 311, 312)
ABOVE_LIP = (164, 165, 167, 391, 393, 92, 322)
LOWER_LIP = (14, 15, 16, 17, 84, 181, 91, 314, 405, 321, 87, 88, 178, 317, 318, 402)
CHIN = (18, 83, 313, 200, 199, 201, 421, 175, 152)
BESIDE_MOUTH = (186, 410, 43, 273, 212, 432)

OWN: dict[int, tuple[int, ...]] = {
    1: INNER_BROWS,
    2: OUTER_BROWS,
    4: (*INNER_BROWS, *BETWEEN_BROWS, *OUTER_BROWS),
    6: (*CHEEKS, *UNDER_EYES, *LOWER_LIDS),
    7: (*LOWER_LIDS, *UPPER_LIDS),
    10: (*UPPER_LIP, *ABOVE_LIP),
    12: (*CORNERS, *BESIDE_MOUTH),
    14: (*CORNERS, *BESIDE_MOUTH),
    15: (*CORNERS, *BESIDE_MOUTH),
    17: (*CHIN, *LOWER_LIP),
    23: (*UPPER_LIP, *LOWER_LIP, *CORNERS),
    24: (*UPPER_LIP, *LOWER_LIP),
}
"""By AU, what its muscle pulls at; muscles whose ends meet share points."""

NEIGHBOURS: dict[int, tuple[int, ...]] = {
    1: (*OUTER_BROWS, *BETWEEN_BROWS),
    2: (*INNER_BROWS, *UPPER_LIDS),
    4: UPPER_LIDS,
    6: UPPER_LIDS,
    7: UNDER_EYES,
    10: (*CORNERS, *CHEEKS, *BESIDE_MOUTH),
    12: (*UPPER_LIP, *LOWER_LIP, *ABOVE_LIP, *CHEEKS, *CHIN, *UNDER_EYES),
    14: (*UPPER_LIP, *LOWER_LIP, *CHEEKS),
    15: (*UPPER_LIP, *LOWER_LIP, *CHIN),
    17: (*UPPER_LIP, *CORNERS, *BESIDE_MOUTH),
    23: (*ABOVE_LIP, *CHIN, *BESIDE_MOUTH),
    24: (*CORNERS, *ABOVE_LIP, *CHIN),
}
"""By AU, what gives way around them: no part of its motion, and no spill-over either."""


@lru_cache(maxsize=2)
def _table(*, around: bool) -> npt.NDArray[np.bool_]:
    out = np.zeros((len(AUS), POINTS), np.bool_)
    for k, au in enumerate(AUS):
        out[k, list(OWN[au])] = True
        if around:
            out[k, list(NEIGHBOURS[au])] = True
    out[:, list(STABLE)] = False  # the head is set by them
    return out


def own_points() -> npt.NDArray[np.bool_]:
    """Return which points each AU moves of its own, bool [12, 478], in the order of ``AUS``."""
    return _table(around=False)


def regions() -> npt.NDArray[np.bool_]:
    """Return the own points of each AU and those around them, bool [12, 478]."""
    return _table(around=True)


def expressive() -> npt.NDArray[np.bool_]:
    """Return the points that any AU moves of its own, bool [478]."""
    return np.asarray(own_points().any(0))
