"""Which AUs occur together in synfacs 2, and how strongly.

AU sets are drawn from a Gaussian copula: each AU has a base rate and pairs have correlations, both
in the order of magnitude of spontaneous behaviour. Fifteen pairs never occur together in train and
in ``test2k``, though each of their AUs often does: the protocol ``unseen`` asks for them.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from aubench.facs import AUS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

RATES = {
    1: 0.28,
    2: 0.26,
    4: 0.24,
    6: 0.36,
    7: 0.32,
    10: 0.31,
    12: 0.40,
    14: 0.29,
    15: 0.27,
    17: 0.32,
    23: 0.26,
    24: 0.26,
}
"""Share of images in which an AU is active, before held-out pairs are broken up."""

CORRELATIONS = {
    (1, 2): 0.60,
    (1, 4): 0.15,
    (4, 7): 0.30,
    (4, 10): 0.15,
    (6, 7): 0.35,
    (6, 12): 0.55,
    (7, 12): 0.20,
    (6, 10): 0.25,
    (7, 10): 0.25,
    (10, 12): 0.15,
    (12, 14): 0.10,
    (12, 15): -0.10,
    (15, 17): 0.40,
    (17, 23): 0.20,
    (17, 24): 0.30,
    (23, 24): 0.15,
    (14, 17): 0.15,
    (12, 24): -0.20,
    (10, 24): -0.20,
    (4, 17): 0.15,
    (1, 12): -0.05,
    (10, 23): -0.10,
    (14, 24): 0.10,
}
"""Latent correlations of AU pairs; all others are zero."""

CLIQUES = ((1, 12, 15, 23), (2, 10, 14, 24))
"""AUs of which no two ever occur together in train."""
OTHER_PAIRS = ((4, 6), (6, 17), (7, 17))
HELD_OUT = frozenset(pair for clique in CLIQUES for pair in combinations(clique, 2)) | frozenset(
    OTHER_PAIRS
)
"""The fifteen pairs; 12+15 and 12+23 are among the conflicts of FACS."""

LEVELS = {1: 0.18, 2: 0.30, 3: 0.28, 4: 0.17, 5: 0.07}
"""Share of each intensity, A to E, of an active AU: mostly A to C, as in spontaneous behaviour."""
LEAST = 0.6
"""Lowest intensity of an active AU."""


def held_out_in(aus: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the held-out pairs that a set of AUs contains."""
    return [pair for pair in combinations(sorted(aus), 2) if pair in HELD_OUT]


def draw_labels(rng: np.random.Generator, count: int) -> npt.NDArray[np.uint8]:
    """Return AU sets uint8 [count, 12] from the copula, without held-out pairs.

    Where a set has such a pair, AUs of such pairs are dropped at random until none is left, so that
    sets stay as large as they can.

    Args:
        rng: Consumed.
        count: Number of rows.
    """
    import numpy as np
    from scipy.stats import norm

    sigma = np.eye(len(AUS))
    for (a, b), value in CORRELATIONS.items():
        i, j = AUS.index(a), AUS.index(b)
        sigma[i, j] = sigma[j, i] = value
    values, vectors = np.linalg.eigh(sigma)
    root = vectors * np.sqrt(np.clip(values, 1e-6, None))
    root /= np.linalg.norm(root, axis=1, keepdims=True)
    threshold = norm.isf([RATES[au] for au in AUS])
    drawn = (rng.standard_normal((count, len(AUS))) @ root.T > threshold).astype(np.uint8)
    order = rng.random((count, len(AUS)))
    opposed = np.zeros((len(AUS), len(AUS)), np.bool_)
    for a, b in HELD_OUT:
        opposed[AUS.index(a), AUS.index(b)] = opposed[AUS.index(b), AUS.index(a)] = True
    for row, rank in zip(drawn, order, strict=True):
        for i in np.argsort(rank):
            if row[i] and (opposed[i] & (row > 0)).any():
                row[i] = 0
    return np.asarray(drawn, np.uint8)


def draw_intensities(
    rng: np.random.Generator, labels: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float32]:
    """Return intensities float32 [N, 12], 0.6 to 5.0 in steps of 0.1 where active, else 0.

    A level of ``LEVELS``, and up to half a level to either side.
    """
    import numpy as np

    level = rng.choice(list(LEVELS), labels.shape, p=list(LEVELS.values()))
    drawn = np.clip(np.round(level + rng.uniform(-0.5, 0.5, labels.shape), 1), LEAST, 5.0)
    return np.where(labels, drawn, 0).astype(np.float32)
