"""One run: protocol, samples, images, features, scores, record; in that order and never back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aubench.errors import AubenchError
from aubench.run import generator_state
from aubench.run.build_record import GenerationResult, record_of
from aubench.run.config import Job, RunConfig, check_count, image_source, prepare
from aubench.stage_times import COSTS, Meter
from aubench.storage.files import write_text
from aubench.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from aubench.datasets.samples import SampleSet
    from aubench.records.record import Record

__all__ = ["RunConfig", "default_folder", "execute", "image_source"]


def default_folder(data: str, protocol: str, model: str, limit: int | None, seed: int) -> Path:
    """Return ``runs/<data>-<protocol>-<model>``, marked where limited or reseeded."""
    name = f"{data}-{protocol}-{model}"
    if limit is not None:
        name += f"-limit{limit}"
    if seed:
        name += f"-seed{seed}"
    return Path("runs") / name


ImageBackend = Callable[[Job, RunFolder, Meter], GenerationResult]
"""Makes the images of a run that its folder does not hold yet."""


def generate_locally(
    job: Job, folder: RunFolder, meter: Meter, part: SampleSet | None = None
) -> GenerationResult:
    """Make images in this process.

    Args:
        job: What is asked for.
        folder: Folder that takes them.
        meter: Meter of the folder.
        part: Part of the samples, all of them if None.
    """
    from aubench.generators.registry import weights_digest
    from aubench.run.generate import check_determinism, generate

    samples, config = part or job.samples, job.config
    with meter.stage("load"):
        loaded = job.load(samples)
    generator, size = loaded.generator, loaded.size
    weights = weights_digest(generator)
    check_weights_unchanged(folder, weights)
    job.choices.write(folder.path)
    with meter.stage("render"):
        meter.count(job.prefetch(samples, size))
    with meter.stage("generate"):
        generate(folder, samples, job.images, generator, size=size, batch_size=config.batch_size)
    if config.check_determinism:
        check_determinism(folder, samples, job.images, generator, size=size)
    return GenerationResult(loaded.info, size, weights)


def ensure_images(
    job: Job, folder: RunFolder, meter: Meter, backend: ImageBackend, part: SampleSet | None = None
) -> GenerationResult:
    """Return what made the images of a folder, after making those that it lacks.

    Where it lacks none, the generator is not loaded.

    Args:
        job: What is asked for.
        folder: Folder that takes them.
        meter: Meter of the folder.
        backend: Makes them.
        part: Part of the samples, all of them if None.
    """
    samples, config = part or job.samples, job.config
    if not config.check_determinism:
        with meter.stage("load"):
            found = generator_state.load_if_current(folder, config, samples.ids)
        if found is not None:
            check_weights_unchanged(folder, found.weights_sha256)
            job.choices.write(folder.path)
            with meter.stage("render"):
                meter.count(job.prefetch(samples, found.size))
            return found
    generator_state.invalidate(folder)
    before = generator_state.source_digest(
        config
    )  # a file that changes while images are made is another one
    made = backend(job, folder, meter)
    generator_state.save(folder, made, before)
    return made


def execute(config: RunConfig, backend: ImageBackend = generate_locally) -> Record:
    """Run a model on a protocol; resumes what the run folder already holds.

    Args:
        config: The options.
        backend: Makes the images, here or on other machines.

    Returns:
        The record, also written to ``<out>/record.json``.

    Raises:
        AubenchError: Bad input, a misbehaving plug-in, or missing weights of the model.
    """
    job = prepare(config)
    check_count(len(job.samples))
    with RunFolder.exclusive(config.out, job.identity(), fresh=config.fresh) as folder:
        meter = Meter(folder.path / COSTS)
        made = ensure_images(job, folder, meter, backend)
        return finish(job, folder, made, meter)


def finish(job: Job, folder: RunFolder, made: GenerationResult, meter: Meter) -> Record:
    """Measure and score a folder whose images are made, and write its record.

    Raises:
        AubenchError: Too few images, or weights of a network that are damaged.
    """
    from aubench.evaluate.evaluate import score

    folder.sync()
    samples, unsupported = supported(job.samples, folder, made.info.name)
    samples.write(folder.path / "samples.parquet")
    scored = score(job.evaluation(folder, samples, made.info, made.size), meter)
    record = record_of(job, samples, unsupported, folder, made, scored, meter.totals())
    record.write(folder.record)
    folder.seal()
    return record


def supported(samples: SampleSet, folder: RunFolder, name: str) -> tuple[SampleSet, int]:
    """Return the samples that the generator is made for, and how many others there are.

    Raises:
        AubenchError: Fewer than two are left.
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


def check_weights_unchanged(folder: RunFolder, sha256: str | None) -> None:
    """Refuse to mix images of two versions of the weights in one folder.

    Raises:
        AubenchError: It holds images of others, or does not tell of which.
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
        write_text(stated, digest + "\n", durable=True)
