"""A predicted run in the terminal and as data."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aubench.run.cost.cost_curves import Range
from aubench.run.cost.estimate import Estimate, StageEstimate

UNITS = (("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))
YEAR = 365.25 * 86400


def duration(seconds: float) -> str:
    """Return seconds in the unit that suits them."""
    if seconds >= YEAR:
        return f"{seconds / YEAR:,.3g} years"
    for name, unit in UNITS:
        if seconds >= unit or name == "s":
            return f"{seconds / unit:.3g} {name}"
    raise AssertionError


def size(amount: float) -> str:
    """Return bytes in the unit that suits them."""
    for name in ("B", "kB", "MB", "GB", "TB", "PB"):
        if amount < 1000 or name == "PB":
            return f"{amount:.3g} {name}"
        amount /= 1000
    raise AssertionError


def spread(value: Range) -> str:
    """Return a duration with its interval."""
    if value.low is None or value.high is None:
        return f"{duration(value.value)} [spread not known]"
    return f"{duration(value.value)} [{duration(value.low)}, {duration(value.high)}]"


def lines(found: Estimate) -> list[str]:
    """Return what is printed."""
    machines = ", ".join(
        f"{m.count} x {m.name}" + (f" at {m.speed:g} times its speed" if m.speed != 1 else "")
        for m in found.machines
    )
    rates = found.rates
    out = [
        f"{found.images:,} images on {machines}; from {rates.source} on {rates.hardware}",
        "",
        f"{'stage':<16}{'ms an image':>13}{'fixed':>11}{'processor':>14}  wall [95 % of probe]",
    ]
    out += [_stage(stage) for stage in found.stages]
    alone = f"of it on one machine alone {spread(found.serial)}"
    out += ["", f"wall       {spread(found.seconds)}, {alone}"]
    if found.processor.value:
        hours = f"{found.processor.value / 3600:,.4g} hours of cores"
        out.append(f"processor  {spread(found.processor)}, {hours}")
    memory = [f"{name} {size(value * (1 << 20))}" for name, value in found.memory.items()]
    out += [f"memory     {', '.join(memory)}"] if memory else []
    disk = [f"{name} {size(value)}" for name, value in found.disk.items()]
    out += [f"disk       {', '.join(disk)}"] if disk else []
    if rates.cpu_share is not None and rates.cpu_share < 0.8:
        out.append(
            f"busy       {rates.cpu_share:.2g} processors were at work on the probe: others had "
            "work too, or it waited; --idle counts processor seconds alone"
        )
    square = [stage for stage in found.stages if stage.quadratic > 0.5 and stage.seconds.value > 60]
    if square:
        names = ", ".join(stage.name for stage in square)
        out.append(f"square     grows with the square of the images: {names}")
    return out + [f"not known  {text}" for text in rates.unknown]


def _stage(stage: StageEstimate) -> str:
    where = "" if stage.divided else ", alone"
    return (
        f"{stage.name:<16}{1000 * stage.each:>13.3g}{duration(stage.fixed):>11}"
        f"{duration(stage.processor.value):>14}  {spread(stage.seconds)}{where}"
    )


def as_data(found: Estimate) -> dict[str, Any]:
    """Return what ``--json`` prints: seconds, MiB and bytes, each range as value, low and high."""
    return {
        "images": found.images,
        "machines": [asdict(machine) for machine in found.machines],
        "source": found.rates.source,
        "hardware": found.rates.hardware,
        "stages": [
            {
                "name": stage.name,
                "divided": stage.divided,
                "seconds_an_image": stage.each,
                "fixed_seconds": stage.fixed,
                "seconds": _range(stage.seconds),
                "processor_seconds": _range(stage.processor),
                "quadratic_share": stage.quadratic,
            }
            for stage in found.stages
        ],
        "seconds": _range(found.seconds),
        "serial_seconds": _range(found.serial),
        "processor_seconds": _range(found.processor),
        "processor_hours": found.processor.value / 3600,
        "memory_mib": dict(found.memory),
        "disk_bytes": dict(found.disk),
        "processor_share": found.rates.cpu_share,
        "not_known": list(found.rates.unknown),
    }


def _range(value: Range) -> dict[str, float | None]:
    return {"value": value.value, "low": value.low, "high": value.high}
