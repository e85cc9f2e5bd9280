"""Rates of a run that is over, read off its record."""

from __future__ import annotations

from aubench.errors import AubenchError
from aubench.records.record import Record, StageCost
from aubench.run.cost.cost_curves import Curve, Line
from aubench.run.cost.estimate import Rates, StageRate

OVER_IMAGES = ("render", "generate", "measure")


def rates_of(record: Record, source: str) -> Rates:
    """Return what a record tells of the cost of a run of another size.

    One run is one point: it has no spread, and does not tell a call's cost from an image's; all
    of it is taken as an image's. How scoring grows is not known either: with the square of the
    images is the most that it can come to at a larger size.

    Args:
        record: Record of a finished run.
        source: What to call it.

    Raises:
        AubenchError: It tells nothing of generation.
    """
    costs = record.costs or _former(record)
    made = costs.get("generate")
    if made is None or not made.images or not made.seconds:
        raise AubenchError(
            f"{source} tells nothing of generation", "probe instead: leave out --from"
        )
    images = max(1, record.counts.generated)
    unknown = ["spread: a record is one run", "how scoring grows; taken to be with the square"]
    if not record.costs:
        unknown.append(
            "images and features that the finishing call found made: the record is of a former "
            "version and counts that call alone"
        )
    stages = []
    for name in ("load", *OVER_IMAGES):
        cost = costs.get(name)
        if cost is not None and (name == "load" or cost.images):
            stages.append(_stage(name, cost, images))
        elif name != "render":
            unknown.append(f"{name}: no image was new to it")
    if costs.get("measure") and costs["measure"].images < 2 * images:
        unknown.append("measuring targets: taken to cost what generated images cost")
    seconds, processor = _scoring(costs.get("score"), images)
    return Rates(
        source=f"the record {source}, {images:,} images",
        hardware=record.provenance.hardware,
        images=record.counts.asked,
        stages=tuple(stages),
        scoring=seconds,
        scoring_processor=processor,
        unknown=(*unknown, "disk", "other hardware: speeds are as given"),
    )


def _former(record: Record) -> dict[str, StageCost]:
    """Return the seconds of a record of a former version as costs of one call."""
    images = max(1, record.counts.generated)
    passes = {"generate": images, "measure": 2 * images, "score": images}
    return {
        name: StageCost(
            seconds=seconds,
            processor_seconds=0,
            images=passes.get(name, 0),
            peak_memory_mib=0,
            calls=1,
        )
        for name, seconds in record.seconds.items()
    }


def _stage(name: str, cost: StageCost, images: int) -> StageRate:
    memory, device = cost.peak_memory_mib, cost.device_memory_mib
    if name == "load":
        return StageRate(
            name,
            Line(0.0, 0.0),
            Line(0.0, 0.0),
            cost.seconds / cost.calls,
            cost.processor_seconds / cost.calls,
            memory=memory,
            device_memory=device,
        )
    # Networks see a generated image and its target.
    share = max(2.0, cost.images / images) if name == "measure" else 1.0
    seconds, processor = cost.seconds / cost.images, cost.processor_seconds / cost.images
    return StageRate(
        name,
        Line(0.0, seconds),
        Line(0.0, processor),
        memory=memory,
        device_memory=device,
        share=share,
    )


def _scoring(cost: StageCost | None, images: int) -> tuple[dict[str, Curve], dict[str, Curve]]:
    """Return curves through one size and nothing at all: with the square of the images."""
    if cost is None:
        return {}, {}
    sizes = (float(images) / 2, float(images))
    seconds, processor = cost.seconds / cost.calls, cost.processor_seconds / cost.calls
    return (
        {"score": Curve(sizes, (seconds / 4, seconds))},
        {"score": Curve(sizes, (processor / 4, processor))},
    )
