"""Fréchet distance between Gaussians fitted to features (Heusel et al. 2017), without sqrtm.

tr √(S₁S₂) is the sum of the singular values of the centred cross-Gram matrix, which is exact also
where N is below the feature width and every covariance is singular.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.float64]

GRAM_LIMIT = 8000
"""Above this many rows the moments are used instead of Gram matrices."""


def _rows(x: Features, name: str) -> Matrix:
    out = np.asarray(x, np.float64)
    if out.ndim != 2 or len(out) < 2:
        raise ValueError(f"{name}: want at least two rows [N, D], got {out.shape}")
    if not np.isfinite(out).all():
        raise ValueError(f"{name}: features are not finite")
    return out


@dataclass(frozen=True)
class Moments:
    """Count, mean [D] and centred scatter [D, D] of features; merges associatively in float64."""

    n: int
    mean: Matrix
    scatter: Matrix

    @classmethod
    def of(cls, x: Features) -> Moments:
        """Return the moments of features [N, D]."""
        rows = np.asarray(x, np.float64)
        mean = rows.mean(0)
        centred = rows - mean
        return cls(len(rows), mean, centred.T @ centred)

    def merge(self, other: Moments) -> Moments:
        """Return the moments of both sets together (Chan et al. 1979)."""
        n = self.n + other.n
        step = other.mean - self.mean
        scatter = self.scatter + other.scatter + np.outer(step, step) * (self.n * other.n / n)
        return Moments(n, self.mean + step * (other.n / n), scatter)

    @property
    def covariance(self) -> Matrix:
        """Unbiased covariance [D, D]."""
        return np.asarray(self.scatter / (self.n - 1))


def frechet_of_moments(a: Moments, b: Moments) -> float:
    """Return the distance of two Gaussians: |m₁-m₂|² + tr(S₁ + S₂ - 2 √(S₁S₂)).

    The product is made symmetric first; an asymmetric one gives negative eigenvalues.
    """
    s1, s2 = a.covariance, b.covariance
    values, vectors = np.linalg.eigh(s2)
    half = vectors * np.sqrt(np.clip(values, 0, None))
    inner = np.linalg.eigvalsh(half.T @ s1 @ half)
    root = np.sqrt(np.clip(inner, 0, None)).sum()
    gap = a.mean - b.mean
    return float(gap @ gap + np.trace(s1) + np.trace(s2) - 2 * root)


def frechet_distance(x: Features, y: Features) -> float:
    """Return the Fréchet distance of features [N, D] and [M, D], float64 throughout.

    Biased upwards at finite N: compare only values of the same N and reference set.

    Raises:
        ValueError: fewer than two rows, or features that are not finite.
    """
    a, b = _rows(x, "first set"), _rows(y, "second set")
    if max(len(a), len(b)) > GRAM_LIMIT:
        return frechet_of_moments(Moments.of(a), Moments.of(b))
    gap = a.mean(0) - b.mean(0)
    a, b = a - a.mean(0), b - b.mean(0)
    n, m, d = len(a), len(b), a.shape[1]
    if d < min(n, m):
        return frechet_of_moments(Moments.of(x), Moments.of(y))
    nuclear = np.linalg.svd(a @ b.T, compute_uv=False).sum() / np.sqrt((n - 1) * (m - 1))
    spread = (a**2).sum() / (n - 1) + (b**2).sum() / (m - 1)
    return float(gap @ gap + spread - 2 * nuclear)


def frechet_infinity(x: Features, y: Features, *, points: int = 8, seed: int = 2020) -> float:
    """Return the distance extrapolated to infinitely many samples (Chong & Forsyth 2020).

    A line through the distances of random subsets of both sets, over 1/N.

    Args:
        x: features [N, D].
        y: features [M, D].
        points: subset sizes, evenly spaced between a third and all.
        seed: of the subsets.
    """
    draw = np.random.default_rng(seed)
    n = min(len(x), len(y))
    sizes = np.unique(np.linspace(max(3, n // 3), n, points).astype(int))
    values = [
        frechet_distance(
            x[draw.choice(len(x), k, replace=False)], y[draw.choice(len(y), k, replace=False)]
        )
        for k in sizes
    ]
    return float(np.polyfit(1 / sizes, values, 1)[1])
