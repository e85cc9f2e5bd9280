"""Fréchet distance between Gaussians fitted to features (Heusel et al. 2017), without sqrtm.

tr √(S₁S₂) is the sum of the singular values of the centred cross-Gram matrix, which is exact also
where N is below the feature width and every covariance is singular.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.metrics.grams import GRAM_LIMIT, Grams
from aubench.metrics.threads import one_thread, side_by_side

Features = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


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


BLOCK = 2048
"""Rows in memory as float64 at a time where only moments are wanted."""


@dataclass(frozen=True)
class Moments:
    """Count, mean [D] and centred scatter [D, D] of features; merges associatively in float64."""

    n: int
    mean: Matrix
    scatter: Matrix

    @classmethod
    def of(cls, x: Features) -> Moments:
        """Return the moments of features [N, D], N at least one, in the memory of one block."""
        found = cls._block(x[:BLOCK])
        for i in range(BLOCK, len(x), BLOCK):
            found = found.merge(cls._block(x[i : i + BLOCK]))
        return found

    @classmethod
    def _block(cls, x: Features) -> Moments:
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


def half(covariance: Matrix) -> Matrix:
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
    root = np.linalg.svd(half(s1).T @ half(s2), compute_uv=False).sum()
    gap = a.mean - b.mean
    return float(gap @ gap + np.trace(s1) + np.trace(s2) - 2 * root)


def _folded(centred: Matrix) -> Matrix:
    """Return at most D rows with the same scatter as N centred rows [N, D]."""
    n, d = centred.shape
    return centred if n <= d else np.asarray(np.linalg.qr(centred, mode="r"))


def frechet_distance(x: Features, y: Features) -> float:
    """Return the Fréchet distance of features [N, D] and [M, D], float64 throughout.

    Biased upwards at finite N: compare only values of the same N and reference set.

    Raises:
        ValueError: fewer than two rows, different widths, or features that are not finite.
    """
    if max(len(x), len(y)) > GRAM_LIMIT:
        few = min(len(x), len(y)) < 2
        if few or x.shape[1:] != y.shape[1:] or not (np.isfinite(x).all() and np.isfinite(y).all()):
            _both(x, y)  # says which and why
        return frechet_of_moments(Moments.of(x), Moments.of(y))
    return frechet(x, y)[0]


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
    return frechet(x, y)[1]


@one_thread
def frechet(x: Features, y: Features) -> tuple[float, Vector]:
    """Return the distance and the influence of each row of x, from one decomposition.

    Raises:
        ValueError: as for the distance.
    """
    a, b = _both(x, y)
    n, m = len(a), len(b)
    gap = a.mean(0) - b.mean(0)
    a, b = a - a.mean(0), b - b.mean(0)
    factor = a @ _folded(b).T  # C Cᵀ = factor factorᵀ
    if factor.shape[1] < n:
        _, turned, norms = _decomposed(factor)
        kept = norms > norms.max() * 1e-14
        root = (turned[:, kept] ** 2 / norms[kept]).sum(1)
    else:
        axes, _, norms = _decomposed(factor.T)
        root = axes**2 @ norms
    scale = np.sqrt((n - 1) * (m - 1))
    spread = (a**2).sum(1) / (n - 1)
    value = gap @ gap + spread.sum() + (b**2).sum() / (m - 1) - 2 * norms.sum() / scale
    effect = 2 * (a @ gap) / n + spread - root / scale
    return float(value), np.asarray(n * (effect - effect.mean()), np.float64)


def _decomposed(factor: Matrix) -> tuple[Matrix, Matrix, Vector]:
    """Return orthogonal V [c, c], the columns of F V [r, c], orthogonal, and their norms.

    Those are the singular values of F [r, c], in half the time of a singular value decomposition.
    Eigenvectors of FᵀF alone mix what lies below the root of the rounding error: columns that
    small are turned among themselves once more.
    """
    axes = np.linalg.eigh(factor.T @ factor)[1]
    turned = factor @ axes
    norms = np.linalg.norm(turned, axis=0)
    small = norms < 1e-6 * norms.max()
    if small.any():
        turn = np.linalg.eigh(turned[:, small].T @ turned[:, small])[1]
        axes[:, small], turned[:, small] = axes[:, small] @ turn, turned[:, small] @ turn
        norms[small] = np.linalg.norm(turned[:, small], axis=0)
    return axes, turned, norms


def _quick(grams: Grams, first: Rows, second: Rows) -> float:
    """The distance of as many rows of both sets, to about 1e-6: enough for a fitted line."""
    a, b, n = grams.x[first], grams.y[second], len(first)
    gap = a.mean(0) - b.mean(0)
    a, b = a - a.mean(0), b - b.mean(0)
    if n <= a.shape[1]:
        factor = grams.xy[np.ix_(first, second)]
        factor -= factor.mean(0)
        factor -= factor.mean(1, keepdims=True)
        square = factor @ factor.T
    else:
        half = _lower(b.T @ b)
        square = half.T @ (a.T @ a) @ half
    nuclear = np.sqrt(np.clip(_eigenvalues(square), 0, None)).sum()
    return float(gap @ gap + ((a**2).sum() + (b**2).sum() - 2 * nuclear) / (n - 1))


def _lower(scatter: Matrix) -> Matrix:
    """Return L [D, D] with L Lᵀ a positive semidefinite matrix and a hair on its diagonal.

    A unit that answers to no image of a subset leaves an empty direction, which the hair fills.
    """
    filled = scatter.copy()
    np.einsum("ii->i", filled)[:] += 1e-14 * np.trace(scatter)
    try:
        return np.asarray(np.linalg.cholesky(filled))
    except np.linalg.LinAlgError:
        return half(scatter)


def _eigenvalues(square: Matrix) -> Vector:
    """Return the eigenvalues of a symmetric matrix; twice as fast as numpy's."""
    import torch

    return np.asarray(torch.linalg.eigvalsh(torch.from_numpy(square)).numpy())


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
    return gram_frechet_infinity(Grams(*_both(x, y)), points=points, seed=seed)


def subsets(n: int, m: int, points: int, seed: int) -> tuple[Rows, list[tuple[Rows, Rows]]]:
    """Return the sizes of the random subsets that FD∞ is read off, and their rows of both sets.

    Raises:
        ValueError: fewer than four rows on a side.
    """
    least = min(n, m)
    if least < 4:
        raise ValueError(f"extrapolation needs at least 4 samples on each side, got {least}")
    draw = np.random.default_rng(seed)
    sizes = np.unique(np.linspace(max(2, least // 2), least, points).astype(int))
    rows = [(draw.choice(n, k, replace=False), draw.choice(m, k, replace=False)) for k in sizes]
    return sizes, rows


def gram_frechet_infinity(
    grams: Grams, *, points: int = 8, seed: int = 2020, whole: float | None = None
) -> float:
    """Return the same from features whose products are there.

    Args:
        grams: features and products.
        points: subset sizes.
        seed: of the subsets.
        whole: distance of all rows, where it is known; sets of one size need it as a point.
    """
    a, b = grams.x, grams.y
    sizes, rows = subsets(len(a), len(b), points, seed)
    if sizes[0] <= a.shape[1]:
        _ = grams.xy  # once, before all ask for it at a time
    known = [whole] if whole is not None and len(a) == len(b) else []
    values = side_by_side(lambda pair: _quick(grams, *pair), rows[: len(rows) - len(known)])
    return float(np.polyfit(1 / sizes, [*values, *known], 1)[1])
