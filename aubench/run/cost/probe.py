"""A short probe of a run: the real stages on a few images, in a folder that is thrown away.

Networks do not care what they look at, so the images that were made are measured several times
under other names, and features are repeated, with noise, to see how scoring grows.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from aubench.errors import AubenchError
from aubench.evaluate.feature_cache import FeatureCache
from aubench.metrics import registry
from aubench.run.cost.cost_curves import fit_line
from aubench.run.cost.estimate import Rates, StageRate
from aubench.run.cost.probe_scoring import score_curves
from aubench.stage_times import Gauges, Meter, Spent
from aubench.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from aubench.datasets.samples import SampleSet
    from aubench.generators.contract import Generator
    from aubench.metrics.evaluation_data import EvaluationData
    from aubench.run.config import Job, Loaded, RunConfig

T = TypeVar("T")

FEWEST = 8
"""Images of a probe; fewer have no two sizes of batches."""
MEASURED = 32
"""Images whose measuring is tried, by themselves and four times over."""
CHUNK = 16
"""Faces that one process renders at a time."""


@dataclass(frozen=True)
class Probed:
    """What the stages of a probe share.

    Attributes:
        job: Of the run.
        place: A folder that is thrown away.
        cache: Of features: the user's is read, what is new lies in the folder.
        gauges: Clocks and memory.
    """

    job: Job
    place: Path
    cache: FeatureCache
    gauges: Gauges

    def observed(self, images: int, call: Callable[[], T]) -> tuple[Spent, T]:
        """Return what a call costs, and what it returns."""
        meter = Meter(None, self.gauges)
        with meter.stage("probe"):
            found = call()
        return replace(meter.calls()[0]["probe"], images=images), found


def probe(
    config: RunConfig, images: int, samples: int | None = None, gauges: Gauges | None = None
) -> Rates:
    """Return the rates of a run from a few of its images.

    Args:
        config: Config of the run; its folder is not touched.
        images: Images to generate, after a warm-up of a quarter as many; three batches try what the
            run's own batches cost.
        samples: Samples of the run that is to be predicted, all of the protocol's if None.
        gauges: Clocks and memory.

    Raises:
        AubenchError: As a run; too few images; none could be generated.
    """
    from aubench.run.config import prepare

    if images < FEWEST:
        raise AubenchError(f"--probe {images} is too few", f"at least {FEWEST}")
    job = prepare(config)
    with tempfile.TemporaryDirectory(prefix="aubench-probe-") as name:
        cache = FeatureCache(Path(name) / "features", also=FeatureCache().folder)
        cache.folder.mkdir()
        shared = Probed(job, Path(name), cache, gauges or Gauges())
        return _rates(shared, images, samples or len(job.samples))


def _rates(p: Probed, images: int, count: int) -> Rates:
    from aubench.run import provenance

    load, loaded = _load(p)
    info, size = loaded.info, loaded.size
    folder, generate, bytes_an_image = _generate(p, loaded.generator, images, size)
    del loaded  # its memory is not needed while measuring
    metrics = [one.name for one in registry.chosen(p.job.config.metrics) if not one.unprobed]
    found = _measure(p, folder, info, metrics, min(images, MEASURED), size)
    curves = score_curves(found.measured, metrics, count, p.observed, found.sheet)
    stages = [load, *_render(p, count, size), generate, found.rate]
    busy = [found.rate, generate]
    seconds = sum(rate.seconds.of(1, 1).value for rate in busy)
    return Rates(
        source=f"a probe of {images} images",
        hardware=provenance.hardware(),
        images=count,
        stages=tuple(stages),
        scoring=curves.seconds,
        scoring_processor=curves.processor,
        scoring_memory=curves.memory,
        base_memory=found.resident,
        disk={"images": bytes_an_image, **found.disk},
        cpu_share=sum(rate.processor.of(1, 1).value for rate in busy) / seconds
        if seconds
        else None,
        unknown=_unknown(p, images, count),
        merge=_merge(p, folder),
    )


def _unknown(p: Probed, images: int, count: int) -> tuple[str, ...]:
    from aubench.metrics.distributions.grams import GRAM_LIMIT

    batch = p.job.config.batch_size
    tried = max(batch_sizes(images, batch))
    chosen = registry.chosen(p.job.config.metrics)
    left = [f"{one.name}: {one.unprobed}" for one in chosen if one.unprobed]
    if tried < batch:
        left.append(
            f"batches of {batch}: those of the probe hold {tried} at most; "
            f"--probe {3 * batch} tries them"
        )
    if count > GRAM_LIMIT:
        left.append(
            f"scoring above {GRAM_LIMIT:,} images, where it goes in blocks: its memory is "
            "a bound from above, its time a guess"
        )
    return (
        *left,
        "other hardware: speeds are as given, in units of this machine",
        "network and shared disks; copying the features and ledgers of shards",
    )


def _load(p: Probed) -> tuple[StageRate, Loaded]:
    spent, loaded = p.observed(0, lambda: p.job.load(p.job.samples))
    nothing = fit_line([(1, 0.0), (1, 0.0)])
    rate = StageRate(
        "load",
        nothing,
        nothing,
        spent.seconds,
        spent.processor_seconds,
        memory=spent.memory,
        device_memory=spent.device_memory,
    )
    return rate, loaded


def _render(p: Probed, count: int, size: int) -> list[StageRate]:
    """Return what faces cost that the cache lacks; nothing where none are to be rendered."""
    from aubench.datasets.synfacs.rendered_images import SynfacsImages
    from aubench.worker_processes import workers

    if not isinstance(p.job.images, SynfacsImages):
        return []
    frame = p.job.samples.frame.head(count)
    keys = sorted({*frame["reference"], *frame["target"].dropna()})
    # Beyond the protocol's own samples every face is a new one.
    beyond = max(0, count - len(p.job.samples)) * len(keys) / max(1, len(frame))
    lacking = len(p.job.images.missing([str(key) for key in keys], size)) + beyond
    if not lacking:
        return []
    parts = [keys[i : i + CHUNK] for i in range(0, min(len(keys), 4 * CHUNK), CHUNK)]
    seen, empty = [], SynfacsImages(cache=p.place / "faces")
    for part in parts:
        call = partial(empty.prefetch, [str(key) for key in part], size, "probe")
        seen.append(p.observed(len(part), call)[0])
    return [_rate("render", seen, share=lacking / count, cores=workers())]


def _rate(
    name: str,
    seen: Sequence[Spent],
    *,
    batch: int | None = None,
    share: float = 1.0,
    cores: int = 1,
) -> StageRate:
    """Return the rate of a stage; the first call is a warm-up, whose excess is paid once."""
    first, rest = seen[0], seen[1:] or seen
    seconds = fit_line([(s.images, s.seconds / cores) for s in rest])
    processor = fit_line([(s.images, s.processor_seconds) for s in rest])
    devices = [s.device_memory for s in seen if s.device_memory is not None]
    return StageRate(
        name=name,
        seconds=seconds,
        processor=processor,
        once=max(0.0, first.seconds / cores - seconds.of(first.images, 1).value),
        once_processor=max(0.0, first.processor_seconds - processor.of(first.images, 1).value),
        batch=batch,
        memory=max(s.memory for s in seen),
        device_memory=max(devices) if devices else None,
        share=share,
    )


def batch_sizes(images: int, batch: int) -> list[int]:
    """Return sizes of batches that add up to about ``images``: two sizes by turns.

    The larger is the run's own wherever a third of the images makes one. A model may fill its
    batches up to some size of its own, so that what a batch costs is no line, and only batches of
    the run's size tell what they cost.
    """
    large = max(2, min(batch, images // 3))
    small = max(1, large // 2)
    return [large, small] * max(2, round(images / (large + small)))


def _generate(
    p: Probed, generator: Generator, images: int, size: int
) -> tuple[RunFolder, StageRate, float]:
    from aubench.run.generate import generate

    sizes = [max(1, images // 4), *batch_sizes(images, p.job.config.batch_size)]
    if sum(sizes) > len(p.job.samples):
        raise AubenchError(
            f"a probe takes {sum(sizes)} samples, the protocol has {len(p.job.samples)}",
            "a smaller --probe",
        )
    chosen = p.job.samples.limit(sum(sizes))
    frame = chosen.frame
    keys = [str(key) for key in [*frame["reference"], *frame["target"].dropna()]]
    p.job.images.prefetch(list(dict.fromkeys(keys)), size, "faces of the probe")
    folder = RunFolder.create(p.place / "run", {"probe": images})
    seen, start = [], 0
    for number in sizes:
        part = chosen.subset(range(start, start + number))
        start += number
        call = partial(
            generate, folder, part, p.job.images, generator, size=size, batch_size=number
        )
        seen.append(p.observed(number, call)[0])
    if not folder.digests:
        reason = next(iter([*folder.failures.values(), *folder.unsupported.values()]), "")
        raise AubenchError(f"model '{p.job.config.model}' made no image of the probe: {reason}")
    weight = sum(folder.image(name).stat().st_size for name in folder.digests)
    rate = _rate("generate", seen, batch=p.job.config.batch_size)
    return folder, rate, weight / len(folder.digests)


def _merge(p: Probed, folder: RunFolder) -> StageRate:
    """Return what it costs to compare images with the ledger, most of what `merge` does."""
    names = sorted(folder.digests)
    parts = [names[i::4] for i in range(4)]
    seen = [
        p.observed(len(part), partial(all, map(folder.intact, part)))[0] for part in parts if part
    ]
    return _rate("merge", seen)


@dataclass(frozen=True)
class _Measuring:
    """What measuring costs, and what was measured, for scoring to go on with."""

    rate: StageRate
    measured: EvaluationData
    sheet: Callable[[], object]
    resident: float
    disk: dict[str, float]


def _measure(
    p: Probed, made: RunFolder, info: Any, metrics: Sequence[str], images: int, size: int
) -> _Measuring:
    from aubench.evaluate.collect import collect_evaluation_data
    from aubench.evaluate.evaluate import GRID, write_sheet

    seen = []
    cache = p.cache.folder
    for turn, number in enumerate((images, 4 * images, images, 4 * images, images, 4 * images)):
        folder, samples = _grown(p, made, number, p.place / f"measured{turn}", f"p{turn}")
        before = {path.name for path in cache.iterdir()}
        asked = p.job.evaluation(folder, samples, info, size)
        evaluation = replace(asked, metrics=tuple(metrics), cache=p.cache)
        call = partial(collect_evaluation_data, evaluation)
        spent, found = p.observed(number, call)
        seen.append(spent)
        new = [path for path in cache.iterdir() if path.name not in before]
    disk = {
        "features": _bytes(list((folder.path / "features").iterdir())) / number,
        "features of targets, once for all models": _bytes(new) / number,
    }
    return _Measuring(
        _rate("measure", seen),
        found,
        partial(write_sheet, found, folder.path / GRID, p.job.config.model),
        p.gauges.resident(),
        disk,
    )


def _bytes(paths: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def _grown(
    p: Probed, made: RunFolder, number: int, place: Path, prefix: str
) -> tuple[RunFolder, SampleSet]:
    """Return a run folder of ``number`` samples that repeats the images made, and its samples."""
    import numpy as np

    names = p.job.samples.ids
    kept = [i for i, name in enumerate(names) if name in made.digests]
    rows = [kept[i % len(kept)] for i in range(number)]
    frame = p.job.samples.frame.iloc[np.asarray(rows)].reset_index(drop=True)
    frame = frame.assign(sample_id=[f"{prefix}-{i:06d}" for i in range(number)])
    folder = RunFolder.create(place, {"probe": number})
    (place / "images").mkdir()
    for row, name in zip(rows, frame["sample_id"], strict=True):
        os.link(made.image(names[row]), folder.image(name))
        folder.digests[name] = made.digests[names[row]]
    return folder, replace(p.job.samples, frame=frame)
