"""One run: protocol, samples, images, features, scores, record; in that order and never back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench import __version__
from aubench.engine.costs import COSTS, Meter
from aubench.engine.folder import RunFolder
from aubench.errors import AubenchError
from aubench.files import sha256_file
from aubench.generator import GeneratorInfo, Plan, WeightSource
from aubench.record import (
    Counts,
    ModelInfo,
    ProtocolInfo,
    Provenance,
    Record,
    StageCost,
)

if TYPE_CHECKING:
    from aubench.datasets.samples import ImageSource, SampleSet
    from aubench.engine.choices import Choices
    from aubench.engine.scoring import Scored
    from aubench.generator import Generator
    from aubench.protocol import Protocol


@dataclass(frozen=True)
class RunConfig:
    """What ``aubench run`` was asked for; the fields are its options."""

    model: str
    protocol: str
    out: Path
    data: str = "synfacs"
    weights: Path | None = None
    limit: int | None = None
    seed: int = 0
    batch_size: int = 32
    device: str = "cpu"
    fresh: bool = False
    metrics: tuple[str, ...] = ("fid", "kid", "is", "lpips", "aaad", "au", "prdc")
    check_determinism: bool = False
    extractor: str | None = None
    legibility_model: str | None = None
    detectors: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


def default_folder(data: str, protocol: str, model: str, limit: int | None, seed: int) -> Path:
    """Return ``runs/<data>-<protocol>-<model>``, marked where limited or reseeded."""
    name = f"{data}-{protocol}-{model}"
    if limit is not None:
        name += f"-limit{limit}"
    if seed:
        name += f"-seed{seed}"
    return Path("runs") / name


def image_source(dataset: str) -> ImageSource:
    """Return where the images of a data set come from.

    Raises:
        AubenchError: the data set is unknown.
    """
    from aubench.datasets import image_source as find

    return find(dataset)


def _samples(protocol: Protocol, limit: int | None, seed: int) -> SampleSet:
    samples = protocol.samples()
    if limit is not None:
        samples = samples.limit(limit)
    if seed:
        frame = samples.frame.assign(seed=samples.frame["seed"] + seed)
        samples = replace(samples, frame=frame)
    return samples


def _check_inputs(info: GeneratorInfo, protocol: Protocol) -> None:
    """Refuse a model that reads text where the protocol gives labels."""
    if not info.control and "au" in protocol.inputs and "au" not in info.inputs:
        raise AubenchError(
            f"model '{info.name}' reads {', '.join(sorted(info.inputs))}; "
            f"protocol '{protocol.name}' gives AU labels",
            "choose another protocol",
        )


def _check_device(device: str) -> None:
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise AubenchError(f"--device {device} cannot be used: {reason}", "try --device cpu") from (
            error
        )


def _load(config: RunConfig, samples: SampleSet, images: ImageSource) -> Generator:
    from aubench.registry import generator_class

    cls = generator_class(config.model)
    reason = cls.available()
    if reason is not None:
        raise AubenchError(f"model '{config.model}' is unavailable: {reason}")
    if config.weights is not None and not config.weights.exists():
        raise AubenchError(f"--weights {config.weights} does not exist")
    options: dict[str, Any] = dict(config.options)
    if cls.info.control:
        if options:
            raise AubenchError(f"control '{config.model}' has no option '{next(iter(options))}'")
        options |= {"samples": samples, "images": images}
    try:
        return cls.load(
            WeightSource(config.weights), device=config.device, dtype="float32", **options
        )
    except AubenchError:
        raise
    except Exception as error:
        raise AubenchError(
            f"model '{config.model}' failed to load: {type(error).__name__}: {error}",
            "check its weights and its plug-in",
        ) from error


def _identity(
    config: RunConfig, protocol: Protocol, samples: SampleSet, images: ImageSource
) -> dict[str, Any]:
    # Plain options first: a refusal names the first that differs, and digests follow from them.
    return {
        "model": config.model,
        "protocol": f"{protocol.dataset}/{protocol.name}",
        "limit": config.limit,
        "seed": config.seed,
        "protocol sha256": protocol.sha256,
        "samples sha256": samples.sha256,
        "data fingerprint": images.fingerprint,
        "options": dict(config.options) or None,
        "weights": sha256_file(config.weights)
        if config.weights and config.weights.is_file()
        else str(config.weights or "own"),
    }


def execute(config: RunConfig) -> Record:
    """Run a model on a protocol; resumes what the run folder already holds.

    Returns:
        The record, also written to ``<out>/record.json``.

    Raises:
        AubenchError: bad input, a misbehaving plug-in, or missing weights of the model.
    """
    from aubench.engine.choices import Choices
    from aubench.protocol import load_protocol
    from aubench.registry import generator_class

    choices = Choices(config.extractor, config.legibility_model, config.detectors)
    choices.check()
    info = generator_class(config.model).info
    protocol = load_protocol(config.protocol, config.data)
    choices.check_detectors(config.data, config.metrics, config.device)
    if config.weights is None:  # given ones may read something else than the class says
        _check_inputs(info, protocol)
    _check_device(config.device)
    images = image_source(config.data)
    samples = _samples(protocol, config.limit, config.seed)
    folder = RunFolder(config.out)
    identity = _identity(config, protocol, samples, images)
    with folder.claimed(identity, fresh=config.fresh):
        return _fill(config, folder, protocol, samples, images, choices)


def _fill(
    config: RunConfig,
    folder: RunFolder,
    protocol: Protocol,
    samples: SampleSet,
    images: ImageSource,
    choices: Choices,
) -> Record:
    """Generate, measure and score into a folder that is ours."""
    from aubench.engine.generation import check_determinism, generate
    from aubench.engine.scoring import score

    meter = Meter(folder.path / COSTS)
    with meter.stage("load"):
        generator = _load(config, samples, images)
    info = generator.info  # of the weights, where they say more than the class
    _check_inputs(info, protocol)
    size = info.size or protocol.size
    ids = tuple(str(name) for name in samples.frame["sample_id"])
    known = frozenset(str(name) for name in protocol.samples().frame["sample_id"])
    generator.begin(Plan(ids, known, size))
    _state_weights(folder, generator)
    choices.write(folder.path)
    with meter.stage("render"):
        keys = list(dict.fromkeys([*samples.frame["reference"], *samples.frame["target"].dropna()]))
        images.prefetch(keys, size, "faces")
        meter.count(len(keys))
    with meter.stage("generate"):
        generate(folder, samples, images, generator, size=size, batch_size=config.batch_size)
    if config.check_determinism:
        check_determinism(folder, samples, images, generator, size=size)
    weights_sha256 = generator.weights_sha256
    del generator  # its memory is not needed while measuring
    samples, unsupported = _supported(samples, folder, info.name)
    samples.write(folder.path / "samples.parquet")
    scored = score(
        folder, samples, images, protocol, info, config.metrics, size, config.device, choices, meter
    )
    record = _record(
        config,
        protocol,
        samples,
        images,
        info,
        folder,
        scored,
        size,
        weights_sha256,
        meter.totals(),
        unsupported,
    )
    record.write(folder.record)
    folder.seal()
    return record


def _supported(samples: SampleSet, folder: RunFolder, name: str) -> tuple[SampleSet, int]:
    """Return the samples that the generator is made for, and how many others there are.

    Raises:
        AubenchError: fewer than two are left.
    """
    kept = [str(i) not in folder.unsupported for i in samples.frame["sample_id"]]
    count = kept.count(False)
    if len(kept) - count < 2:
        reason = next(iter(folder.unsupported.values()), "")
        raise AubenchError(
            f"model '{name}' supports {len(kept) - count} of {len(kept)} samples: {reason}",
            "choose another protocol, or more samples",
        )
    if not count:
        return samples, 0
    return replace(samples, frame=samples.frame[kept].reset_index(drop=True)), count


def _state_weights(folder: RunFolder, generator: Generator) -> None:
    """Refuse to mix images of two versions of the weights in one folder."""
    digest = generator.weights_sha256 or "none"
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
        from aubench.files import write_text

        write_text(stated, digest + "\n")


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


def _record(
    config: RunConfig,
    protocol: Protocol,
    samples: SampleSet,
    images: ImageSource,
    info: GeneratorInfo,
    folder: RunFolder,
    scored: Scored,
    size: int,
    weights_sha256: str | None,
    costs: dict[str, StageCost],
    unsupported: int,
) -> Record:
    import platform

    from aubench.engine import provenance

    ids = [str(name) for name in samples.frame["sample_id"]]
    failed = sum(name in folder.failures for name in ids)
    return Record(
        protocol=ProtocolInfo(
            name=protocol.name,
            version=str(protocol.version),
            sha256=protocol.sha256,
            dataset=protocol.dataset,
            dataset_fingerprint=images.fingerprint,
            size=size,
        ),
        model=_model_info(config.model, info, weights_sha256),
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
            hardware=provenance.hardware(),
            device=config.device,
            networks=scored.networks,
            images_sha256=folder.digest(ids),
            target_source=scored.target_source,
            command=provenance.command_line(),
        ),
        seconds={name: cost.seconds for name, cost in costs.items()},
        costs=costs,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
