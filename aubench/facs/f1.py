"""F1 of each AU, the one definition for scores, cards of detectors and reports of classifiers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.integer[Any]]


def f1_by_au(found: npt.NDArray[np.bool_], labels: Labels) -> npt.NDArray[np.float64]:
    """Return F1 of each AU, float64 [K]: 2 hits / (found + labelled), over known labels.

    An AU that no sample is labelled with scores 0 where it is found all the same, since every
    find is a false alarm, and NaN where it is not found either: then there is nothing to score,
    and a mean over AUs leaves it out.

    Args:
        found: Whether each AU is found, bool [N, K].
        labels: 1 where it is there, 0 where not; negative where unknown, [N, K].

    >>> found = np.array([[True, True, False], [True, False, False]])
    >>> f1_by_au(found, np.array([[1, 0, 0], [0, 0, 0]]))
    array([0.66666667, 0.        ,        nan])
    """
    known, on = labels >= 0, labels == 1
    hit = (found & on).sum(0).astype(float)
    total = (found & known).sum(0) + on.sum(0).astype(float)
    return np.asarray(np.divide(2 * hit, total, out=np.full(len(hit), np.nan), where=total > 0))
