"""Fréchet distance between Gaussians fitted to features (Heusel et al. 2017), without sqrtm.

tr √(S₁S₂) is the sum of the singular values of the centred cross-Gram matrix, which is exact also
where N is below the feature width and every covariance is singular.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.metrics.threads import one_thread

Features = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]

GRAM_LIMIT = 8000
"""Above this many rows the moments are used instead of the features themselves."""


def _rows(x: Features, name: str) -> Matrix:
    out = np.asarray(x, np.float64)
    if out.ndim != 2 or len(out) < 2:
        raise ValueError(f"{name}: want at least two rows [N, D], got {out.shape}")
    if not np.isfinite(out).all():
        raise ValueError(f"{name}: features are not finite")
    return out


def _both(x: Features, y: Features) -> tuple[Matrix, Matrix]:
    a, b = _rows(x, "first set"), _rows(y, "second set")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"features differ in width: {a.shape[1]} and {b.shape[1]}")
    return a, b


@dataclass(frozen=True)
class Moments:
    """Count, mean [D] and centred scatter [D, D] of features; merges associatively in float64."""

    n: int
    mean: Matrix
    scatter: Matrix

    @classmethod
    def of(cls, x: Features) -> Moments:
        """Return the moments of features [N, D], N at least one."""
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


def _half(covariance: Matrix) -> Matrix:
    """Return F [D, D] with F Fᵀ equal to a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.clip(values, 0, None)))


@one_thread
def frechet_of_moments(a: Moments, b: Moments) -> float:
    """Return the distance of two Gaussians: |m₁-m₂|² + tr(S₁ + S₂ - 2 √(S₁S₂)).

    The root's trace is read off the singular values of a product of two factors. Eigenvalues of
    S₁S₂ itself would carry the square root of the rounding error in every empty direction.
    """
    s1, s2 = a.covariance, b.covariance
    root = np.linalg.svd(_half(s1).T @ _half(s2), compute_uv=False).sum()
    gap = a.mean - b.mean
    return float(gap @ gap + np.trace(s1) + np.trace(s2) - 2 * root)


def _folded(centred: Matrix) -> Matrix:
    """Return at most D rows with the same scatter as N centred rows [N, D]."""
    n, d = centred.shape
    return centred if n <= d else np.asarray(np.linalg.qr(centred, mode="r"))


@one_thread
def frechet_distance(x: Features, y: Features) -> float:
    """Return the Fréchet distance of features [N, D] and [M, D], float64 throughout.

    Biased upwards at finite N: compare only values of the same N and reference set.

    Raises:
        ValueError: fewer than two rows, different widths, or features that are not finite.
    """
    a, b = _both(x, y)
    if max(len(a), len(b)) > GRAM_LIMIT:
        return frechet_of_moments(Moments.of(a), Moments.of(b))
    n, m = len(a), len(b)
    gap = a.mean(0) - b.mean(0)
    a, b = a - a.mean(0), b - b.mean(0)
    nuclear = np.linalg.svd(_folded(a) @ _folded(b).T, compute_uv=False).sum()
    spread = (a**2).sum() / (n - 1) + (b**2).sum() / (m - 1)
    return float(gap @ gap + spread - 2 * nuclear / np.sqrt((n - 1) * (m - 1)))


@one_thread
def frechet_influence(x: Features, y: Features) -> Vector:
    """Return how each row of x [N, D] moves the distance to y [M, D]: float64 [N], mean zero.

    If row i counts wᵢ times (Σw = N), the distance is, to first order, the present one plus the
    w-weighted mean of these values. So value + influence is a per-sample score whose mean is the
    distance, and clustered or paired intervals of means apply to it. Resampling rows with repeats
    instead would shift the distance itself, which depends on the number of distinct samples.
    The derivative of the trace term by wᵢ is half the i-th diagonal element of √(C Cᵀ), C the
    centred cross-Gram matrix.

    Raises:
        ValueError: as for the distance.
    """
    a, b = _both(x, y)
    n, m = len(a), len(b)
    gap = a.mean(0) - b.mean(0)
    a, b = a - a.mean(0), b - b.mean(0)
    factor = a @ _folded(b).T  # C Cᵀ = factor factorᵀ
    if factor.shape[1] < n:
        squares, axes = np.linalg.eigh(factor.T @ factor)
        kept = squares > squares[-1] * 1e-14
        root = ((factor @ axes[:, kept]) ** 2 / np.sqrt(squares[kept])).sum(1)
    else:
        squares, axes = np.linalg.eigh(factor @ factor.T)
        root = (axes**2 * np.sqrt(np.clip(squares, 0, None))).sum(1)
    effect = 2 * (a @ gap) / n + (a**2).sum(1) / (n - 1) - root / np.sqrt((n - 1) * (m - 1))
    return np.asarray(n * (effect - effect.mean()), np.float64)


def _quick(a: Matrix, b: Matrix) -> float:
    """The distance to about 1e-6, in half the time: enough for a point of a fitted line."""
    n, m, d = len(a), len(b), a.shape[1]
    gap = a.mean(0) - b.mean(0)
    a, b = a - a.mean(0), b - b.mean(0)
    if max(n, m) <= d:
        factor = a @ b.T
        square = factor @ factor.T if n <= m else factor.T @ factor
    else:
        try:
            half = np.linalg.cholesky(b.T @ b)
        except np.linalg.LinAlgError:  # an empty direction
            half = _half(b.T @ b)
        square = half.T @ (a.T @ a) @ half
    nuclear = np.sqrt(np.clip(np.linalg.eigvalsh(square), 0, None)).sum()
    spread = (a**2).sum() / (n - 1) + (b**2).sum() / (m - 1)
    return float(gap @ gap + spread - 2 * nuclear / np.sqrt((n - 1) * (m - 1)))


@one_thread
def frechet_infinity(x: Features, y: Features, *, points: int = 8, seed: int = 2020) -> float:
    """Return the distance extrapolated to infinitely many samples (Chong & Forsyth 2020).

    A line over 1/N through the distances of random subsets, read off at zero. Both sets are cut to
    the same size, since a reference set of N samples is as biased as a generated one; and no
    subset is smaller than half of all, below which the line bends.

    Args:
        x: features [N, D], N at least 4.
        y: features [M, D], M at least 4.
        points: subset sizes, evenly spaced from half to all of the smaller set.
        seed: of the subsets.

    Raises:
        ValueError: too few rows, different widths, or features that are not finite.
    """
    a, b = _both(x, y)
    n = min(len(a), len(b))
    if n < 4:
        raise ValueError(f"extrapolation needs at least 4 samples on each side, got {n}")
    draw = np.random.default_rng(seed)
    sizes = np.unique(np.linspace(max(2, n // 2), n, points).astype(int))
    values = [
        _quick(a[draw.choice(len(a), k, replace=False)], b[draw.choice(len(b), k, replace=False)])
        for k in sizes
    ]
    return float(np.polyfit(1 / sizes, values, 1)[1])
