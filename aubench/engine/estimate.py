"""What a run will cost: lines and curves through what was measured, put on other machines.

A stage that goes over images costs something once a process, something a call or batch, and
something an image; the last two are a line by least squares. Scoring works on all images at once
and in part on all pairs of them: a parabola with no negative coefficient.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, hypot, sqrt

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError

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


def exactly(value: float) -> Range:
    """Return a value without spread."""
    return Range(value, 0.0, 0.0)


def total(ranges: Sequence[Range]) -> Range:
    """Return the sum of independent ranges."""
    found = exactly(0.0)
    for one in ranges:
        found = found + one
    return found


@dataclass(frozen=True)
class Line:
    """Cost of a call on k images: ``fixed + each * k``.

    Attributes:
        fixed: of a call, never negative.
        each: of an image, never negative.
        noise: standard deviation of a call around the line; None where too few were seen.
        covariance: of ``fixed`` and ``each``, [2, 2].
        quantile: of Student's t, for an interval of 95 %.
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
        ValueError: no points, or none with images.
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
        values: cost of each.
    """

    sizes: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def coefficients(self) -> tuple[float, float, float]:
        """Constant, linear and quadratic coefficient; none is negative."""
        return _parabola(self.sizes, self.values)

    def of(self, images: float) -> Range:
        """Return the cost at N images; its spread is that of fits with one size left out."""
        value = _at(self.coefficients, images)
        if len(self.sizes) < 3:
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
        return Range(value, max(0.0, value - min(others)), max(0.0, max(others) - value))


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


@dataclass(frozen=True)
class Machine:
    """Machines of one kind; ``speed`` is in units of the machine that was measured on."""

    count: int
    name: str
    speed: float = 1.0


ALONE = (Machine(1, "this machine"),)


def parse_machines(text: str) -> tuple[Machine, ...]:
    """Return the machines of ``8x a100:4.0,16x cpu``.

    Raises:
        AubenchError: names the part that is not of that form.
    """
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(?:(\d+)\s*x\s*)?([A-Za-z][\w.-]*)(?::(\d+\.?\d*))?\s*", part)
        count, speed = (int(match[1] or 1), float(match[3] or 1)) if match else (0, 0.0)
        if match is None or not count or not speed:
            raise AubenchError(
                f"--machines: '{part.strip()}' is not COUNTx NAME:SPEED", "such as 8x a100:4.0"
            )
        found.append(Machine(count, match[2], speed))
    return tuple(found)


@dataclass(frozen=True)
class StageRate:
    """What a stage that goes over images costs on the machine that was measured on.

    Attributes:
        name: of the stage.
        seconds: of the wall clock.
        processor: seconds of all cores.
        once: seconds a process, before the first image or with it.
        once_processor: of all cores.
        batch: images a call; None where a process makes one call.
        memory: largest resident set, MiB.
        device_memory: on CUDA, MiB, None without.
        share: images that it handles, for one of the run.
    """

    name: str
    seconds: Line
    processor: Line
    once: float = 0.0
    once_processor: float = 0.0
    batch: int | None = None
    memory: float = 0.0
    device_memory: float | None = None
    share: float = 1.0

    def calls(self, images: float) -> float:
        """Return how many calls a process makes."""
        return 1.0 if self.batch is None else float(ceil(images / self.batch))


@dataclass(frozen=True)
class Rates:
    """What was measured, from which a run of any size is predicted.

    Attributes:
        source: what they were read off.
        hardware: the machine.
        stages: that go over images and are divided among machines.
        scoring: seconds by group of metrics, on one machine.
        scoring_processor: the same of all cores.
        scoring_memory: bytes that scoring holds on top of ``base_memory``.
        base_memory: resident set when scoring begins, MiB.
        disk: bytes an image, by kind of file.
        cpu_share: processor seconds over wall seconds of the stages; low where a machine is busy.
        unknown: what was not measured, in words.
    """

    source: str
    hardware: str
    stages: tuple[StageRate, ...]
    scoring: Mapping[str, Curve]
    scoring_processor: Mapping[str, Curve]
    scoring_memory: Curve | None = None
    base_memory: float = 0.0
    disk: Mapping[str, float] = field(default_factory=dict)
    cpu_share: float | None = None
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class StageEstimate:
    """A stage of the run: what was measured, and what it comes to.

    Attributes:
        name: of the stage, or of the group of metrics.
        divided: among the machines; scoring is not.
        each: seconds an image more, at this size, on the machine that was measured on.
        fixed: seconds whatever the size.
        seconds: of the wall clock on the machines asked for.
        processor: seconds of all cores, as fast as those measured on.
        quadratic: share of the seconds that grows with the square of the images.
    """

    name: str
    divided: bool
    each: float
    fixed: float
    seconds: Range
    processor: Range
    quadratic: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """A run, predicted.

    Attributes:
        images: of the run.
        machines: that it is divided among.
        stages: in order.
        seconds: of the wall clock, all stages one after the other.
        serial: the part of it that one machine does alone.
        processor: seconds of all cores, as fast as those measured on.
        memory: MiB by process: ``worker`` and ``scoring``.
        disk: bytes by kind of file.
        rates: what it follows from.
    """

    images: int
    machines: tuple[Machine, ...]
    stages: tuple[StageEstimate, ...]
    seconds: Range
    serial: Range
    processor: Range
    memory: Mapping[str, float]
    disk: Mapping[str, float]
    rates: Rates


def estimate(rates: Rates, images: int, machines: Sequence[Machine] = ALONE) -> Estimate:
    """Predict a run of ``images`` images, divided among machines in proportion to their speed."""
    stages = [_over_images(rate, images, machines) for rate in rates.stages]
    for name, curve in rates.scoring.items():
        stages.append(_scoring(name, curve, rates.scoring_processor[name], images))
    serial = [stage.seconds for stage in stages if not stage.divided]
    return Estimate(
        images=images,
        machines=tuple(machines),
        stages=tuple(stages),
        seconds=total([stage.seconds for stage in stages]),
        serial=total(serial),
        processor=total([stage.processor for stage in stages]),
        memory=_memory(rates, images),
        disk={kind: each * images for kind, each in rates.disk.items()},
        rates=rates,
    )


def _over_images(rate: StageRate, images: int, machines: Sequence[Machine]) -> StageEstimate:
    handled = images * rate.share
    calls = rate.calls(handled)
    slowest = min(machine.speed for machine in machines)
    if rate.batch is None:
        busy = float(sum(m.count for m in machines))
        speed = sum(m.count * m.speed for m in machines)
        part = rate.seconds.of(handled * slowest / speed, 1).times(1 / slowest)
    else:
        # A machine without a batch has nothing to do.
        busy, speed = _busy(machines, calls)
        part = rate.seconds.of(handled, calls).times(1 / speed)
    work = rate.processor.of(handled, busy if rate.batch is None else calls)
    fixed = rate.once + (rate.seconds.fixed if rate.batch is None else 0.0)
    each = rate.seconds.each + (rate.seconds.fixed / rate.batch if rate.batch else 0.0)
    return StageEstimate(
        name=rate.name,
        divided=True,
        each=each * rate.share,
        fixed=fixed,
        seconds=exactly(rate.once / slowest) + part,
        processor=exactly(rate.once_processor * busy) + work,
    )


def _busy(machines: Sequence[Machine], calls: float) -> tuple[float, float]:
    """Return how many machines have something to do, the fastest first, and their speed."""
    left, count, speed = max(1.0, calls), 0.0, 0.0
    for machine in sorted(machines, key=lambda m: -m.speed):
        taken = min(float(machine.count), left)
        left, count, speed = left - taken, count + taken, speed + taken * machine.speed
    return count, speed


def _scoring(name: str, seconds: Curve, processor: Curve, images: int) -> StageEstimate:
    constant, linear, square = seconds.coefficients
    whole = seconds.of(images)
    return StageEstimate(
        name=name,
        divided=False,
        each=linear + 2 * square * images,
        fixed=constant,
        seconds=whole,
        processor=processor.of(images),
        quadratic=square * images**2 / whole.value if whole.value else 0.0,
    )


def _memory(rates: Rates, images: int) -> dict[str, float]:
    found = {}
    if any(rate.memory for rate in rates.stages):
        found["worker"] = max(rate.memory for rate in rates.stages)
    device = [rate.device_memory for rate in rates.stages if rate.device_memory is not None]
    if device:
        found["device"] = max(device)
    if rates.scoring_memory is not None:
        found["scoring"] = rates.base_memory + rates.scoring_memory.of(images).value / (1 << 20)
    return found
