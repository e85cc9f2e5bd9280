"""The record of a finished run: scores, and what makes them comparable."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from aubench import __version__
from aubench.record import Counts, ModelInfo, ProtocolInfo, Provenance, Record, StageCost

if TYPE_CHECKING:
    from aubench.datasets.samples import SampleSet
    from aubench.engine.folder import RunFolder
    from aubench.engine.job import Job
    from aubench.engine.scoring import Scored
    from aubench.generator import GeneratorInfo


@dataclass(frozen=True)
class Made:
    """What made the images of a run.

    Attributes:
        info: of the generator with its weights.
        size: side of the images in pixels.
        weights_sha256: None for a generator that has none.
        hardware: the machines that made them, in words; empty for this one.
        device: that made them, the run's own if None.
    """

    info: GeneratorInfo
    size: int
    weights_sha256: str | None
    hardware: tuple[str, ...] = ()
    device: str | None = None


def _plugin(name: str) -> tuple[str, str]:
    from aubench.registry import GROUP

    for point in entry_points(group=GROUP, name=name):
        if point.dist is not None:
            return point.dist.name, point.dist.version
    return "?", "?"


def _model_info(name: str, info: GeneratorInfo, weights_sha256: str | None) -> ModelInfo:
    package, version = _plugin(name)
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
    )


def record_of(
    job: Job,
    samples: SampleSet,
    unsupported: int,
    folder: RunFolder,
    made: Made,
    scored: Scored,
    costs: dict[str, StageCost],
) -> Record:
    """Return the record.

    Args:
        job: what was asked for.
        samples: those that the generator is made for.
        unsupported: how many others there are.
        folder: with the ledger.
        made: what made the images.
        scored: their scores.
        costs: by stage.
    """
    import platform

    from aubench.engine import provenance

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
        model=_model_info(config.model, made.info, made.weights_sha256),
        counts=Counts(
            asked=len(ids) + unsupported,
            generated=len(ids) - failed,
            failed=failed,
            unsupported=unsupported,
            limited=config.limit is not None,
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
