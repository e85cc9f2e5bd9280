"""What a run will cost: what was measured, for more images and on other machines.

A stage that goes over images costs something once a process, something a call or batch, and
something an image; the last two are a line by least squares. Scoring works on all images at once
and in part on all pairs of them: a parabola with no negative coefficient.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from aubench.errors import AubenchError
from aubench.run.cost.cost_curves import Curve, Line, Range, total, without_spread


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
        AubenchError: Names the part that is not of that form.
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
        name: Name of the stage.
        seconds: Seconds of the wall clock.
        processor: Seconds of all cores.
        once: Seconds a process, before the first image or with it.
        once_processor: Once processor of all cores.
        batch: Images a call; None where a process makes one call.
        memory: Largest resident set, MiB.
        device_memory: Device memory on CUDA, MiB; None without CUDA.
        share: Images that it handles, for one of the run.
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
        source: What they were read off.
        hardware: The machine.
        images: Images of the run that was probed or recorded.
        stages: Stages that go over images and are divided among machines.
        merge: Putting shards together, on one machine; None where it was not measured.
        scoring: Seconds by group of metrics, on one machine.
        scoring_processor: The same of all cores.
        scoring_memory: Bytes that scoring holds on top of ``base_memory``.
        base_memory: Resident set when scoring begins, MiB.
        disk: Bytes an image, by kind of file.
        cpu_share: Processor seconds over wall seconds of the stages; low where a machine is busy.
        unknown: What was not measured, in words.
    """

    source: str
    hardware: str
    images: int
    stages: tuple[StageRate, ...]
    scoring: Mapping[str, Curve]
    scoring_processor: Mapping[str, Curve]
    scoring_memory: Curve | None = None
    base_memory: float = 0.0
    disk: Mapping[str, float] = field(default_factory=dict)
    cpu_share: float | None = None
    merge: StageRate | None = None
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class StageEstimate:
    """A stage of the run: what was measured, and what it comes to.

    Attributes:
        name: Name of the stage, or of the group of metrics.
        divided: Among the machines; scoring is not.
        each: Seconds an image more, at this size, on the machine that was measured on.
        fixed: Seconds whatever the size.
        seconds: Seconds of the wall clock on the machines asked for.
        processor: Seconds of all cores, as fast as those measured on.
        quadratic: Share of the seconds that grows with the square of the images.
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
        images: Images of the run.
        machines: Machines that it is divided among.
        stages: Stages in order.
        seconds: Seconds of the wall clock, all stages one after the other.
        serial: The part of it that one machine does alone.
        processor: Seconds of all cores, as fast as those measured on.
        memory: MiB by process: ``worker`` and ``scoring``.
        disk: Bytes by kind of file.
        rates: What it follows from.
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


def estimate(
    rates: Rates, images: int, machines: Sequence[Machine] = ALONE, *, idle: bool = False
) -> Estimate:
    """Predict a run of ``images`` images, divided among machines in proportion to their speed.

    Args:
        rates: What was measured.
        images: Images of the run.
        machines: Machines that do it.
        idle: Take processor seconds for those of the wall clock: what one core with nothing else to
            do would take.

    Raises:
        AubenchError: Idle, and the rates know no processor seconds.
    """
    if idle:
        rates = _idle(rates)
    stages = [_over_images(rate, images, machines) for rate in rates.stages]
    if rates.merge is not None and sum(machine.count for machine in machines) > 1:
        stages.append(replace(_over_images(rates.merge, images, ALONE), divided=False))
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


def _idle(rates: Rates) -> Rates:
    if any(rate.seconds.each and not rate.processor.each for rate in rates.stages):
        raise AubenchError(f"{rates.source} tells no processor seconds", "leave out --idle")
    stages = tuple(
        replace(rate, seconds=rate.processor, once=rate.once_processor) for rate in rates.stages
    )
    merge = rates.merge and replace(rates.merge, seconds=rates.merge.processor)
    return replace(rates, stages=stages, merge=merge, scoring=rates.scoring_processor)


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
        seconds=without_spread(rate.once / slowest) + part,
        processor=without_spread(rate.once_processor * busy) + work,
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
