"""What a run is asked to do: its options, checked, with the protocol and samples they name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.datasets import DEFAULT_DATASET
from aubench.errors import AubenchError
from aubench.generators.contract import GeneratorInfo, WeightSource
from aubench.generators.requests import plan_of
from aubench.metrics import registry
from aubench.storage.files import sha256_file
from aubench.storage.run_folder import CODE

if TYPE_CHECKING:
    from aubench.datasets.samples import ImageSource, SampleSet
    from aubench.evaluate.collect import Evaluation
    from aubench.generators.code_identity import CodeIdentity
    from aubench.generators.contract import Generator
    from aubench.networks.network_choice import NetworkChoice
    from aubench.protocols.protocol import Protocol
    from aubench.storage.run_folder import RunFolder


@dataclass(frozen=True)
class RunConfig:
    """What ``aubench run`` was asked for; the fields are its options.

    Attributes:
        sandbox: Whether the generator works in a process without renderer, cache and protocol.
        only: Ids of the samples that are made, all where it is empty; a study draws some.
    """

    model: str
    protocol: str
    out: Path
    data: str = DEFAULT_DATASET
    weights: Path | None = None
    limit: int | None = None
    seed: int = 0
    batch_size: int = 32
    device: str = "cpu"
    fresh: bool = False
    metrics: tuple[str, ...] = field(default_factory=lambda: registry.profile("paper"))
    check_determinism: bool = False
    extractor: str | None = None
    legibility_model: str | None = None
    detectors: str | None = None
    witness: str | None = None
    text_au: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    sandbox: bool = False
    only: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Return what decides the record, as JSON holds it: not where, nor how fast."""
        data = asdict(self)
        for name in ("out", "batch_size", "fresh", "check_determinism"):
            del data[name]
        return data | {
            "weights": str(self.weights) if self.weights else None,
            "metrics": list(self.metrics),
            "only": list(self.only),
            "options": dict(self.options),
        }


def config_of(data: Mapping[str, Any], out: Path) -> RunConfig:
    """Return the options that ``RunConfig.plain`` gave.

    Raises:
        TypeError: A field is missing or unknown.
    """
    weights = data.get("weights")
    typed = {
        "weights": Path(weights) if weights else None,
        "metrics": tuple(data.get("metrics", ())),
        "only": tuple(data.get("only", ())),
    }
    return RunConfig(**{**data, **typed, "out": out})


def image_source(dataset: str) -> ImageSource:
    """Return where the images of a data set come from.

    Raises:
        AubenchError: The data set is unknown.
    """
    from aubench.datasets import image_source as find

    return find(dataset)


def samples_of(
    protocol: Protocol, limit: int | None, seed: int, only: tuple[str, ...] = ()
) -> SampleSet:
    """Return the samples of a protocol, perhaps fewer, perhaps with other seeds.

    Raises:
        AubenchError: One of ``only`` is no sample of the protocol.
    """
    samples = protocol.samples()
    if only:
        lacking = sorted(set(only) - set(samples.ids))
        if lacking:
            raise AubenchError(
                f"{protocol.name} {protocol.version} has no sample {lacking[0]}",
                "list the samples anew by `aubench study create … --plan`",
            )
        frame = samples.frame[samples.frame["sample_id"].isin(set(only))]
        samples = replace(samples, frame=frame.reset_index(drop=True))
    if limit is not None:
        samples = samples.limit(limit)
    if seed:
        frame = samples.frame.assign(seed=samples.frame["seed"] + seed)
        samples = replace(samples, frame=frame)
    return samples


def check_inputs(info: GeneratorInfo, protocol: Protocol) -> None:
    """Refuse a model that reads text where the protocol gives labels.

    Raises:
        AubenchError: Names model and protocol.
    """
    if not info.control and "au" in protocol.inputs and "au" not in info.inputs:
        raise AubenchError(
            f"model '{info.name}' reads {', '.join(sorted(info.inputs))}; "
            f"protocol '{protocol.name}' gives AU labels",
            "choose another protocol",
        )


def check_device(device: str) -> None:
    """Refuse a device that torch cannot use.

    Raises:
        AubenchError: Names it.
    """
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise AubenchError(f"--device {device} cannot be used: {reason}", "try --device cpu") from (
            error
        )


def load_generator(config: RunConfig, samples: SampleSet, images: ImageSource) -> Generator:
    """Load the generator; a control also gets all samples of the run and their images.

    Raises:
        AubenchError: It is unavailable, or its plug-in raised.
    """
    from aubench.generators.registry import (
        check_available,
        generator_class,
        generator_info,
        load_with,
    )

    cls = generator_class(config.model)
    info = generator_info(cls, config.model)
    check_available(cls, config.model)
    if config.weights is not None and not config.weights.exists():
        raise AubenchError(f"--weights {config.weights} does not exist")
    options: dict[str, Any] = dict(config.options)
    if info.control:
        if options:
            raise AubenchError(f"control '{config.model}' has no option '{next(iter(options))}'")
        options |= {"samples": samples, "images": images}
    return load_with(cls, config.model, WeightSource(config.weights), config.device, **options)


@dataclass(frozen=True)
class Loaded:
    """A generator ready for requests.

    Attributes:
        generator: Generator that knows what will be asked.
        info: Info of its weights, where they say more than the class.
        size: Side of the images in pixels.
    """

    generator: Generator
    info: GeneratorInfo
    size: int


@dataclass(frozen=True)
class Job:
    """A run with everything that its options name.

    Attributes:
        config: The options.
        protocol: Named by them.
        samples: All of the run, also where one process makes a part of them.
        images: Images of the data set.
        choices: Networks to measure with.
    """

    config: RunConfig
    protocol: Protocol
    samples: SampleSet
    images: ImageSource
    choices: NetworkChoice

    @property
    def ids(self) -> list[str]:
        """The ids of all samples, in order."""
        return self.samples.ids

    def identity(self, shard: str | None = None) -> dict[str, Any]:
        """Return what a run folder states and a resumed run must agree with."""
        config = self.config
        weights = config.weights
        # Plain options first: a refusal names the first that differs, and digests follow from them.
        return {
            "model": config.model,
            "protocol": f"{self.protocol.dataset}/{self.protocol.name}",
            "limit": config.limit,
            "seed": config.seed,
            "shard": shard,
            "protocol sha256": self.protocol.sha256,
            "samples sha256": self.samples.sha256,
            "data fingerprint": self.images.fingerprint,
            "options": dict(config.options) or None,
            "weights": sha256_file(weights)
            if weights and weights.is_file()
            else str(weights or "own"),
            **({"only": len(config.only)} if config.only else {}),
            **self.code.plain(),
            CODE: self.code.tag,
            **({"sandbox": True} if config.sandbox else {}),
        }

    @cached_property
    def code(self) -> CodeIdentity:
        """By what code the images are made."""
        from aubench.generators.code_identity import code_identity

        return code_identity(self.config.model)

    def load(self, part: SampleSet) -> Loaded:
        """Load the generator and tell it that a part of the samples will be asked for.

        Raises:
            AubenchError: As ``load_generator``; or it cannot do what is planned.
        """
        from aubench.generators.registry import begin

        config = self.config
        if config.sandbox:
            from aubench.run.sandbox import Wanted, sandboxed

            given = Wanted(config.model, config.weights, config.device, config.options)
            generator: Generator = sandboxed(given)
        else:
            generator = load_generator(config, self.samples, self.images)
        info = generator.info
        check_inputs(info, self.protocol)
        size = info.size or self.protocol.size
        begin(generator, plan_of(part.ids, self.protocol.samples().ids, size, info))
        return Loaded(generator, info, size)

    def evaluation(
        self, folder: RunFolder, samples: SampleSet, info: GeneratorInfo, size: int
    ) -> Evaluation:
        """Return what is to be evaluated of some samples of the run.

        Args:
            folder: That holds their images.
            samples: All of the run, or a part.
            info: Of the generator with its weights.
            size: Side of the images in pixels.
        """
        from aubench.evaluate.collect import Evaluation

        config = self.config
        return Evaluation(
            folder,
            samples,
            self.images,
            self.protocol,
            config.metrics,
            size,
            config.device,
            self.choices,
            reads_text="text" in info.inputs or info.control,
            model=info.name,
        )

    def prefetch(self, part: SampleSet, size: int) -> int:
        """Bring the faces of some samples into the cache; return how many there are."""
        frame = part.frame
        keys = list(dict.fromkeys([*frame["reference"], *frame["target"].dropna()]))
        self.images.prefetch(keys, size, "faces")
        return len(keys)


def check_count(count: int) -> None:
    """Refuse samples that are too few to be measured, before any is made.

    Raises:
        AubenchError: There are too few.
    """
    from aubench.evaluate.collect import MINIMUM

    if count < MINIMUM:
        raise AubenchError(f"only {count} samples to measure", f"ask for at least {MINIMUM}")


def prepare(config: RunConfig) -> Job:
    """Check the options of a run and find what they name, before any work.

    Raises:
        AubenchError: Names the option at fault.
    """
    from aubench.generators.registry import generator_class, generator_info
    from aubench.metrics.metric import Need
    from aubench.networks.network_choice import NetworkChoice
    from aubench.protocols.protocol import load_protocol

    choices = NetworkChoice(
        config.extractor,
        config.legibility_model,
        config.detectors,
        config.witness,
        config.text_au,
    )
    choices.check()
    info = generator_info(generator_class(config.model), config.model)
    protocol = load_protocol(config.protocol, config.data)
    if Need.DETECTORS in registry.needs(config.metrics):
        choices.check_detectors(config.data, config.device)
    if config.weights is None:  # given ones may read something else than the class says
        check_inputs(info, protocol)
    check_device(config.device)
    samples = samples_of(protocol, config.limit, config.seed, config.only)
    return Job(config, protocol, samples, image_source(config.data), choices)
