"""The record of a finished run: scores, and what makes them comparable."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aubench import __version__
from aubench.records.record import Counts, ModelInfo, ProtocolInfo, Provenance, Record, StageCost

if TYPE_CHECKING:
    from aubench.datasets.samples import SampleSet
    from aubench.evaluate.evaluate import Scored
    from aubench.generators.contract import GeneratorInfo
    from aubench.run.config import Job
    from aubench.storage.run_folder import RunFolder


@dataclass(frozen=True)
class GenerationResult:
    """What made the images of a run.

    Attributes:
        info: Info of the generator with its weights.
        size: Side of the images in pixels.
        weights_sha256: None for a generator that has none.
        hardware: The machines that made them, in words; empty for this one.
        device: Device that made them, the run's own if None.
    """

    info: GeneratorInfo
    size: int
    weights_sha256: str | None
    hardware: tuple[str, ...] = ()
    device: str | None = None


def model_info(
    name: str, info: GeneratorInfo, weights_sha256: str | None, code_sha256: str | None = None
) -> ModelInfo:
    """Return what a record says of a generator.

    Args:
        name: The entry-point name.
        info: Of the generator with its weights.
        weights_sha256: None for one that has none.
        code_sha256: Of the modules that made the images, None where nobody looked.
    """
    from aubench.generators.registry import GROUP

    package, version = GROUP.package(name)
    return ModelInfo(
        name=info.name,
        package=package,
        package_version=version,
        inputs=sorted(info.inputs),
        training=info.training,
        trained_on=list(info.trained_on),
        metrics_in_training=list(info.metrics_in_training),
        licence=info.licence,
        citation=info.citation,
        control=info.control,
        weights_sha256=weights_sha256,
        code_sha256=code_sha256,
        reads_ids=info.reads_ids,
    )


def record_of(
    job: Job,
    samples: SampleSet,
    unsupported: int,
    folder: RunFolder,
    made: GenerationResult,
    scored: Scored,
    costs: dict[str, StageCost],
) -> Record:
    """Return the record.

    Args:
        job: What was asked for.
        samples: Those that the generator is made for.
        unsupported: How many others there are.
        folder: Folder with the ledger.
        made: What made the images.
        scored: Their scores.
        costs: Costs by stage.
    """
    import platform

    from aubench.run import provenance

    config, protocol = job.config, job.protocol
    ids = samples.ids
    failed = sum(name in folder.failures for name in ids)
    return Record(
        protocol=ProtocolInfo(
            name=protocol.name,
            version=str(protocol.version),
            sha256=protocol.sha256,
            dataset=protocol.dataset,
            dataset_fingerprint=job.images.fingerprint,
            size=made.size,
        ),
        model=model_info(config.model, made.info, made.weights_sha256, job.code.sha256),
        counts=Counts(
            asked=len(ids) + unsupported,
            generated=len(ids) - failed,
            failed=failed,
            unsupported=unsupported,
            limited=config.limit is not None or bool(config.only),
            unsure_texts=scored.unsure_texts,
            like_targets=scored.like_targets,
        ),
        scores=scored.rows,
        subsets=scored.subsets,
        groups=scored.groups,
        provenance=Provenance(
            seed=config.seed,
            aubench=__version__,
            revision=provenance.revision(),
            python=platform.python_version(),
            packages=provenance.package_versions(),
            deviations=provenance.deviations(provenance.PACKAGES),
            hardware=" + ".join(made.hardware) or provenance.hardware(),
            device=made.device or config.device,
            networks=scored.networks,
            images_sha256=folder.digest(ids),
            target_source=scored.target_source,
            command=provenance.command_line(),
        ),
        seconds={name: cost.seconds for name, cost in costs.items()},
        costs=costs,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
