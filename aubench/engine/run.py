"""One run: protocol, samples, images, features, scores, record; in that order and never back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aubench.engine import stamp
from aubench.engine.costs import COSTS, Meter
from aubench.engine.folder import RunFolder
from aubench.engine.job import Job, RunConfig, image_source, prepare
from aubench.engine.recording import Made, record_of
from aubench.errors import AubenchError
from aubench.files import write_text

if TYPE_CHECKING:
    from aubench.datasets.samples import SampleSet
    from aubench.record import Record

__all__ = ["RunConfig", "default_folder", "execute", "image_source"]


def default_folder(data: str, protocol: str, model: str, limit: int | None, seed: int) -> Path:
    """Return ``runs/<data>-<protocol>-<model>``, marked where limited or reseeded."""
    name = f"{data}-{protocol}-{model}"
    if limit is not None:
        name += f"-limit{limit}"
    if seed:
        name += f"-seed{seed}"
    return Path("runs") / name


Maker = Callable[[Job, RunFolder, Meter], Made]
"""Makes the images of a run that its folder does not hold yet."""


def make_here(job: Job, folder: RunFolder, meter: Meter, part: SampleSet | None = None) -> Made:
    """Make images in this process.

    Args:
        job: what is asked for.
        folder: that takes them.
        meter: of the folder.
        part: of the samples, all of them if None.
    """
    from aubench.engine.generation import check_determinism, generate

    samples, config = part or job.samples, job.config
    with meter.stage("load"):
        loaded = job.load(samples)
    generator, size = loaded.generator, loaded.size
    state_weights(folder, generator.weights_sha256)
    job.choices.write(folder.path)
    with meter.stage("render"):
        meter.count(job.prefetch(samples, size))
    with meter.stage("generate"):
        generate(folder, samples, job.images, generator, size=size, batch_size=config.batch_size)
    if config.check_determinism:
        check_determinism(folder, samples, job.images, generator, size=size)
    return Made(loaded.info, size, generator.weights_sha256)


def made_of(
    job: Job, folder: RunFolder, meter: Meter, maker: Maker, part: SampleSet | None = None
) -> Made:
    """Return what made the images of a folder, after making those that it lacks.

    Where it lacks none, the generator is not loaded.

    Args:
        job: what is asked for.
        folder: that takes them.
        meter: of the folder.
        maker: makes them.
        part: of the samples, all of them if None.
    """
    samples, config = part or job.samples, job.config
    if not config.check_determinism:
        with meter.stage("load"):
            found = stamp.kept(folder, config, samples.ids)
        if found is not None:
            state_weights(folder, found.weights_sha256)
            job.choices.write(folder.path)
            with meter.stage("render"):
                meter.count(job.prefetch(samples, found.size))
            return found
    stamp.forget(folder)
    before = stamp.sources(config)  # a file that changes while images are made is another one
    made = maker(job, folder, meter)
    stamp.keep(folder, made, before)
    return made


def execute(config: RunConfig, maker: Maker = make_here) -> Record:
    """Run a model on a protocol; resumes what the run folder already holds.

    Args:
        config: the options.
        maker: makes the images, here or on other machines.

    Returns:
        The record, also written to ``<out>/record.json``.

    Raises:
        AubenchError: bad input, a misbehaving plug-in, or missing weights of the model.
    """
    job = prepare(config)
    folder = RunFolder(config.out)
    with folder.claimed(job.identity(), fresh=config.fresh):
        meter = Meter(folder.path / COSTS)
        made = made_of(job, folder, meter, maker)
        return finish(job, folder, made, meter)


def finish(job: Job, folder: RunFolder, made: Made, meter: Meter) -> Record:
    """Measure and score a folder whose images are made, and write its record.

    Raises:
        AubenchError: too few images, or weights of a network that are damaged.
    """
    from aubench.engine.scoring import score

    config = job.config
    samples, unsupported = supported(job.samples, folder, made.info.name)
    samples.write(folder.path / "samples.parquet")
    scored = score(
        folder, samples, job.images, job.protocol, made.info, config.metrics, made.size,
        config.device, job.choices, meter,
    )  # fmt: skip
    record = record_of(job, samples, unsupported, folder, made, scored, meter.totals())
    record.write(folder.record)
    folder.seal()
    return record


def supported(samples: SampleSet, folder: RunFolder, name: str) -> tuple[SampleSet, int]:
    """Return the samples that the generator is made for, and how many others there are.

    Raises:
        AubenchError: fewer than two are left.
    """
    kept = [name not in folder.unsupported for name in samples.ids]
    count = kept.count(False)
    if len(kept) - count < 2:
        reason = next(iter(folder.unsupported.values()), "")
        raise AubenchError(
            f"model '{name}' supports {len(kept) - count} of {len(kept)} samples: {reason}",
            "choose another protocol, or more samples",
        )
    return (samples.subset(kept) if count else samples), count


def state_weights(folder: RunFolder, sha256: str | None) -> None:
    """Refuse to mix images of two versions of the weights in one folder.

    Raises:
        AubenchError: it holds images of others, or does not tell of which.
    """
    digest = sha256 or "none"
    stated = folder.path / "weights.sha256"
    if stated.is_file() and stated.read_bytes().strip() != digest.encode():
        raise AubenchError(
            f"{folder.path} holds images made with other weights ({stated.name})",
            "use --fresh or another --out",
        )
    if not stated.is_file():
        if folder.digests:
            raise AubenchError(
                f"{stated} is missing: what made the images is unknown",
                "use --fresh or another --out",
            )
        write_text(stated, digest + "\n")
