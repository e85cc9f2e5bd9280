"""Lines and curves through measured costs, and values that have a spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, sqrt

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Range:
    """A predicted value and how far below and above it may lie; None where that is not known."""

    value: float
    below: float | None = None
    above: float | None = None

    def __add__(self, other: Range) -> Range:
        """Return the sum of two that err independently."""
        return Range(
            self.value + other.value,
            _both(self.below, other.below),
            _both(self.above, other.above),
        )

    def times(self, factor: float) -> Range:
        """Return a multiple."""
        return Range(
            self.value * factor,
            None if self.below is None else self.below * factor,
            None if self.above is None else self.above * factor,
        )

    @property
    def low(self) -> float | None:
        """Lower end, never below zero."""
        return None if self.below is None else max(0.0, self.value - self.below)

    @property
    def high(self) -> float | None:
        """Upper end."""
        return None if self.above is None else self.value + self.above


def _both(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else hypot(a, b)


def without_spread(value: float) -> Range:
    """Return a value without spread."""
    return Range(value, 0.0, 0.0)


def total(ranges: Sequence[Range]) -> Range:
    """Return the sum of independent ranges."""
    found = without_spread(0.0)
    for one in ranges:
        found = found + one
    return found


@dataclass(frozen=True)
class Line:
    """Cost of a call on k images: ``fixed + each * k``.

    Attributes:
        fixed: Fixed of a call, never negative.
        each: Each of an image, never negative.
        noise: Standard deviation of a call around the line; None where too few were seen.
        covariance: Covariance of ``fixed`` and ``each``, [2, 2].
        quantile: Quantile of Student's t, for an interval of 95 %.
    """

    fixed: float
    each: float
    noise: float | None = None
    covariance: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 0.0), (0.0, 0.0))
    quantile: float = 0.0

    def of(self, images: float, calls: float) -> Range:
        """Return the cost of ``calls`` calls on ``images`` images together."""
        value = self.fixed * calls + self.each * images
        if self.noise is None:
            return Range(value)
        (aa, ab), (_, bb) = self.covariance
        variance = calls**2 * aa + 2 * calls * images * ab + images**2 * bb + calls * self.noise**2
        half = self.quantile * sqrt(max(0.0, variance))
        return Range(value, half, half)


def fit_line(points: Sequence[tuple[float, float]]) -> Line:
    """Return the line through (images, cost) of calls, by least squares.

    A negative end is set to zero and the other fitted again. Calls of one size, or a single one,
    cannot tell a call's cost from an image's: all of it is then an image's.

    Raises:
        ValueError: No points, or none with images.
    """
    from scipy.stats import t

    k, cost = (np.array(side, np.float64) for side in zip(*points, strict=True))
    if not (k > 0).any():
        raise ValueError("no images in any call")
    columns = [0, 1] if len(set(k)) > 1 else [1]
    while True:
        basis = np.stack([np.ones_like(k), k], 1)[:, columns]
        found = np.linalg.lstsq(basis, cost, rcond=None)[0]
        if (found >= 0).all() or len(columns) == 1:
            break
        columns = [columns[int(np.argmax(found))]]
    fixed, each = np.zeros(2), np.zeros((2, 2))
    fixed[columns] = np.maximum(found, 0)
    freedom = len(k) - len(columns)
    if freedom < 1:
        return Line(float(fixed[0]), float(fixed[1]))
    variance = float(((cost - basis @ found) ** 2).sum() / freedom)
    each[np.ix_(columns, columns)] = np.linalg.inv(basis.T @ basis) * variance
    (aa, ab), (ba, bb) = each.tolist()
    quantile = float(t.ppf(0.5 + CONFIDENCE / 2, freedom))
    return Line(float(fixed[0]), float(fixed[1]), sqrt(variance), ((aa, ab), (ba, bb)), quantile)


@dataclass(frozen=True)
class Curve:
    """Cost of one call on N images: ``c0 + c1 N + c2 N²``, through the sizes that were seen.

    Attributes:
        sizes: N of each observation.
        values: Cost of each.
    """

    sizes: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def coefficients(self) -> tuple[float, float, float]:
        """Constant, linear and quadratic coefficient; none is negative."""
        return _parabola(self.sizes, self.values)

    def of(self, images: float) -> Range:
        """Return the cost at N images; its spread the widest of fits with one size left out."""
        value = _at(self.coefficients, images)
        if len(self.sizes) < 4:  # three settle a parabola, and nothing is left over
            return Range(value)
        others = [
            _at(
                _parabola(
                    self.sizes[:i] + self.sizes[i + 1 :], self.values[:i] + self.values[i + 1 :]
                ),
                images,
            )
            for i in range(len(self.sizes))
        ]
        half = max(abs(other - value) for other in others)
        return Range(value, half, half)


def _at(coefficients: tuple[float, float, float], images: float) -> float:
    return sum(c * images**power for power, c in enumerate(coefficients))


def _parabola(sizes: Sequence[float], values: Sequence[float]) -> tuple[float, float, float]:
    from scipy.optimize import nnls

    n, cost = np.array(sizes, np.float64), np.array(values, np.float64)
    scale = n.max()
    # Relative errors count: a small size tells as much as a large one.
    weight = 1 / np.maximum(cost, 1e-9 + cost.max() * 1e-3)
    basis: npt.NDArray[np.float64] = np.stack([(n / scale) ** p for p in range(3)], 1)
    found = nnls(basis * weight[:, None], cost * weight)[0]
    a, b, c = (float(x / scale**p) for p, x in enumerate(found))
    return a, b, c
