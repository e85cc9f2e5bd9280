"""Fréchet distance between Gaussians fitted to features (Heusel et al. 2017), without sqrtm.

tr √(S₁S₂) is the sum of the singular values of the centred cross-Gram matrix, which is exact also
where N is below the feature width and every covariance is singular.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.metrics.distributions.grams import GRAM_LIMIT, ROWS, Grams, slices
from aubench.networks.threads import one_thread, side_by_side

Features = npt.NDArray[np.floating[Any]]
Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


def _check(x: Features, y: Features) -> None:
    for rows, name in ((x, "first set"), (y, "second set")):
        if np.ndim(rows) != 2 or len(rows) < 2:
            raise ValueError(f"{name}: want at least two rows [N, D], got {np.shape(rows)}")
        if not np.isfinite(rows).all():
            raise ValueError(f"{name}: features are not finite")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"features differ in width: {x.shape[1]} and {y.shape[1]}")


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


class _Centred:
    """Rows [N, D] minus their mean, float64; of many rows a block at a time, else at once."""

    def __init__(self, x: Features) -> None:
        self.x = x
        blocks = slices(len(x), self._rows)
        total = sum(np.asarray(x[rows], np.float64).sum(0) for rows in blocks)
        self.mean: Matrix = np.asarray(total / len(x))
        self._kept = x - self.mean if len(x) <= GRAM_LIMIT else None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def _rows(self) -> int:
        return len(self.x) if len(self.x) <= GRAM_LIMIT else ROWS

    def __iter__(self) -> Iterator[Matrix]:
        if self._kept is not None:
            yield self._kept
            return
        for rows in slices(len(self.x), self._rows):
            yield np.asarray(self.x[rows], np.float64) - self.mean

    def folded(self) -> Matrix:
        """Return at most D rows with the same scatter."""
        out = np.zeros((0, self.x.shape[1]))
        for part in self:
            out = np.concatenate([out, part]) if len(out) else part
            if len(out) > out.shape[1]:
                out = np.asarray(np.linalg.qr(out, mode="r"))
        return out

    def squares(self) -> Vector:
        """Return the squared length of each row [N]."""
        return np.concatenate([(part**2).sum(1) for part in self])

    def along(self, axes: Matrix, powers: Vector) -> Vector:
        """Return Σ (row · axis)² / power over axes [D, K] of each row [N]."""
        return np.concatenate([((part @ axes) ** 2 / powers).sum(1) for part in self])


def frechet_distance(x: Features, y: Features) -> float:
    """Return the Fréchet distance of features [N, D] and [M, D], float64 throughout.

    Biased upwards at finite N: compare only values of the same N and reference set.

    Raises:
        ValueError: Fewer than two rows, different widths, or features that are not finite.

    >>> x = np.random.default_rng(0).normal(size=(200, 3))
    >>> round(frechet_distance(x, x + 2), 3)  # three means moved by 2
    12.0
    """
    return frechet(x, y).value


def frechet_influence(x: Features, y: Features) -> Vector:
    """Return how each row of x [N, D] moves the distance to y [M, D]: float64 [N], mean zero.

    If row i counts wᵢ times (Σw = N), the distance is, to first order, the present one plus the
    w-weighted mean of these values. So value + influence is a per-sample score whose mean is the
    distance, and clustered or paired intervals of means apply to it. Resampling rows with repeats
    instead would shift the distance itself, which depends on the number of distinct samples.
    The derivative of the trace term by wᵢ is half the i-th diagonal element of √(C Cᵀ), C the
    centred cross-Gram matrix.

    Raises:
        ValueError: As for the distance.

    >>> x = np.random.default_rng(0).normal(size=(50, 3))
    >>> bool(abs(frechet_influence(x, x + 2).mean()) < 1e-9)  # contributions around the distance
    True
    """
    return frechet(x, y).influence


@dataclass(frozen=True)
class Frechet:
    """The distance of two sets.

    Attributes:
        value: The distance.
        influence: How each row of the first set moves it [N], mean zero.
        other_influence: The same of the second set [M].
    """

    value: float
    influence: Vector
    other_influence: Vector


@one_thread
def frechet(x: Features, y: Features) -> Frechet:
    """Return the distance and the influence of each row of both sets, from one decomposition.

    Of more rows than ``GRAM_LIMIT`` a set passes by in blocks, to the same value.

    Raises:
        ValueError: As for the distance.
    """
    _check(x, y)
    a, b = _Centred(x), _Centred(y)
    n, m = len(a), len(b)
    gap, fold = a.mean - b.mean, b.folded()
    norms, axes, roots = _singular(a, fold)
    kept = norms > norms.max() * 1e-14
    # Right singular vectors of the cross-Gram matrix are rows of b along these axes, by norms².
    other_roots = b.along(axes[:, kept], norms[kept] ** 3)
    scale = np.sqrt((n - 1) * (m - 1))
    ours, theirs = a.squares() / (n - 1), b.squares() / (m - 1)
    value = gap @ gap + ours.sum() + theirs.sum() - 2 * norms.sum() / scale
    effect = 2 * np.concatenate([part @ gap for part in a]) / n + ours - roots / scale
    other = -2 * np.concatenate([part @ gap for part in b]) / m + theirs - other_roots / scale
    return Frechet(float(value), n * (effect - effect.mean()), m * (other - other.mean()))


def _singular(a: _Centred, fold: Matrix) -> tuple[Vector, Matrix, Vector]:
    """Return singular values s of C = A Fᵀ, columns Aᵀ u s [D, K], and Σ u² s of each row [N]."""
    if len(fold) < len(a):
        factors = [part @ fold.T for part in a] if len(a) <= GRAM_LIMIT else None

        def each() -> Iterator[Matrix]:
            return iter(factors) if factors else (part @ fold.T for part in a)

        axes, norms = _decomposed(each)
        kept = norms > norms.max() * 1e-14
        columns, roots = np.zeros((fold.shape[1], len(norms))), []
        for part, factor in zip(a, each(), strict=True):
            turned = factor @ axes
            columns += part.T @ turned
            roots.append((turned[:, kept] ** 2 / norms[kept]).sum(1))
        return norms, columns, np.concatenate(roots)
    rows = np.concatenate(list(a))  # no more of them than the features are wide
    factor = fold @ rows.T
    axes, norms = _decomposed(lambda: iter([factor]))
    return norms, rows.T @ axes * norms, axes**2 @ norms


def _decomposed(blocks: Callable[[], Iterator[Matrix]]) -> tuple[Matrix, Vector]:
    """Return orthogonal V [c, c] for which columns of F V are orthogonal, and their norms.

    Those are the singular values of F [r, c], in half the time of a singular value decomposition.
    Eigenvectors of FᵀF alone mix what lies below the root of the rounding error: columns that
    small are turned among themselves once more.

    Args:
        blocks: The rows of F, some at a time.
    """
    axes = np.linalg.eigh(_scatter(blocks()))[1]
    norms = np.sqrt(_lengths(factor @ axes for factor in blocks()))
    small = norms < 1e-6 * norms.max()
    if small.any():
        turn = np.linalg.eigh(_scatter(factor @ axes[:, small] for factor in blocks()))[1]
        axes[:, small] = axes[:, small] @ turn
        norms[small] = np.sqrt(_lengths(factor @ axes[:, small] for factor in blocks()))
    return axes, norms


def _scatter(blocks: Iterator[Matrix]) -> Matrix:
    return np.asarray(sum(block.T @ block for block in blocks))


def _lengths(blocks: Iterator[Matrix]) -> Vector:
    return np.asarray(sum((block**2).sum(0) for block in blocks))


def _quick(grams: Grams, first: Rows, second: Rows) -> float:
    """The distance of as many rows of both sets, to about 1e-6: enough for a fitted line."""
    n, wide = len(first), grams.x.shape[1]
    if n > wide or not grams.whole:
        a, b = Moments.of(grams.x[first]), Moments.of(grams.y[second])
        gap, lower = a.mean - b.mean, _lower(b.scatter)
        square, spread = lower.T @ a.scatter @ lower, np.trace(a.scatter) + np.trace(b.scatter)
    else:
        x, y = grams.x[first], grams.y[second]
        gap = x.mean(0) - y.mean(0)
        factor = grams.xy[np.ix_(first, second)]
        factor -= factor.mean(0)
        factor -= factor.mean(1, keepdims=True)
        square = factor @ factor.T
        spread = ((x - x.mean(0)) ** 2).sum() + ((y - y.mean(0)) ** 2).sum()
    nuclear = np.sqrt(np.clip(_eigenvalues(square), 0, None)).sum()
    return float(gap @ gap + (spread - 2 * nuclear) / (n - 1))


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
        x: Features [N, D], N at least 4.
        y: Features [M, D], M at least 4.
        points: Subset sizes, evenly spaced from half to all of the smaller set.
        seed: Seed of the subsets.

    Raises:
        ValueError: Too few rows, different widths, or features that are not finite.

    >>> x = np.random.default_rng(0).normal(size=(200, 3))
    >>> round(frechet_infinity(x, x + 2), 1)
    11.8
    """
    _check(x, y)
    return gram_frechet_infinity(Grams.of(x, y), points=points, seed=seed)


def subsets(n: int, m: int, points: int, seed: int) -> tuple[Rows, list[tuple[Rows, Rows]]]:
    """Return the sizes of the random subsets that FD∞ is read off, and their rows of both sets.

    Raises:
        ValueError: Fewer than four rows on a side.
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
        grams: Features and products.
        points: Subset sizes.
        seed: Seed of the subsets.
        whole: Distance of all rows, where it is known; sets of one size need it as a point.
    """
    a, b = grams.x, grams.y
    sizes, rows = subsets(len(a), len(b), points, seed)
    if sizes[0] <= a.shape[1] and grams.whole:
        _ = grams.xy  # once, before all ask for it at a time
    known = [whole] if whole is not None and len(a) == len(b) else []
    values = side_by_side(lambda pair: _quick(grams, *pair), rows[: len(rows) - len(known)])
    return float(np.polyfit(1 / sizes, [*values, *known], 1)[1])
