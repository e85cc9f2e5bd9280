"""What the installed model says of a bundle: its card, what it cannot make, images made again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError
from aubench.generators.contract import SampleFailure, Unsupported
from aubench.generators.requests import NAMES, call, plan_of, requests
from aubench.run.build_record import model_info
from aubench.storage.run_folder import pixel_digest
from aubench.submission.findings import Finding, fails, holds, is_open

if TYPE_CHECKING:
    from aubench.datasets.samples import SampleSet
    from aubench.generators.contract import Generator, GeneratorInfo
    from aubench.protocols.protocol import Protocol
    from aubench.records.record import ModelInfo, Record
    from aubench.submission.bundle import Bundle

SHARE = 0.9
"""Of the images made again that must have the same pixels where hardware and versions agree, and
that must look alike elsewhere."""
ALIKE = 0.5
"""Grey levels, mean over an image, within which two look alike. Weights changed by a millionth,
which is more than another machine rounds, moved images of the models here by 0.08 at most."""
CARD = (
    "package",
    "inputs",
    "training",
    "trained_on",
    "metrics_in_training",
    "licence",
    "citation",
    "control",
    "reads_ids",
    "weights_sha256",
)
"""Fields of a record's model that the installed class answers for."""


@dataclass(frozen=True)
class ModelSource:
    """Where the model that is said to have made the images comes from.

    Attributes:
        weights: Weights of the model, in place of its own.
        options: Options that it is loaded with.
        sandbox: Whether it works in a process without renderer, cache and protocol in reach.
    """

    weights: Path | None = None
    options: Mapping[str, str] | None = None
    sandbox: bool = True


@dataclass(frozen=True)
class InstalledModel:
    """The model of a bundle as it is installed here.

    Attributes:
        generator: Loaded; None where it is not to be had.
        info: What a record says of it.
        reason: Why it is not to be had.
    """

    generator: Generator | None
    info: ModelInfo | None
    reason: str = ""


def load_model(
    record: Record, whole: Protocol, samples: SampleSet, source: ModelSource
) -> InstalledModel:
    """Load the model that a record names.

    Args:
        record: Its record.
        whole: The protocol of the run.
        samples: All samples that the run asked for, which controls are shown.
        source: Where it comes from.
    """
    from aubench.datasets import image_source
    from aubench.generators.registry import generator_class
    from aubench.run.config import RunConfig, load_generator
    from aubench.run.sandbox import Wanted, sandboxed

    name, protocol = record.model.name, record.protocol
    config = RunConfig(
        name,
        protocol.name,
        Path(),
        protocol.dataset,
        weights=source.weights,
        options=dict(source.options or {}),
    )
    try:
        info: GeneratorInfo = generator_class(name).info
        if source.sandbox and not info.control:
            generator: Generator = sandboxed(
                Wanted(name, source.weights, config.device, config.options)
            )
        else:
            generator = load_generator(config, samples, image_source(protocol.dataset))
        size = generator.info.size or whole.size
        generator.begin(plan_of(samples.ids, whole.samples().ids, size, generator.info))
    except AubenchError as error:
        return InstalledModel(None, None, error.message)
    return InstalledModel(generator, model_info(name, generator.info, generator.weights_sha256))


def check_card(stated: ModelInfo, installed: ModelInfo) -> Iterator[Finding]:
    """Yield what of a record's model is not as the installed class says."""
    wrong = [name for name in CARD if getattr(stated, name) != getattr(installed, name)]
    for name in wrong:
        values = getattr(stated, name), getattr(installed, name)
        more = "; give its --weights" if name == "weights_sha256" else ""
        yield fails(
            f"{name} of '{stated.name}' is stated as {values[0]}, here it is {values[1]}{more}"
        )
    if not wrong:
        yield holds(f"the card is that of '{stated.name}' as installed here")
    if stated.package_version != installed.package_version:
        versions = stated.package_version, installed.package_version
        yield is_open("made with version {} of its package, here is {}".format(*versions))


@dataclass(frozen=True)
class Remake:
    """A model that makes samples of a bundle again.

    Attributes:
        bundle: The bundle.
        model: Loaded.
        samples: All samples of the bundle, those that the model left out too.
    """

    bundle: Bundle
    model: Generator
    samples: SampleSet

    def image(self, sample_id: str) -> npt.NDArray[np.uint8]:
        """Return an image made again.

        Raises:
            SampleFailure: The model gives up on it.
        """
        from aubench.datasets import image_source

        record = self.bundle.record
        images, size = image_source(record.protocol.dataset), record.protocol.size
        row = self.samples.ids.index(sample_id)
        asked = requests(self.samples, images, self.model, [row], size)
        made: npt.NDArray[np.uint8] = call(self.model, asked, size)[0]
        return made

    def compare(self, picked: Sequence[str]) -> tuple[list[Finding], int]:
        """Make some samples again and compare them with the images of the bundle.

        Returns:
            What was found, and how many have the same pixels.
        """
        same, unlike = 0, []
        for name in picked:
            try:
                again = self.image(name)
            except SampleFailure as failure:
                reason = NAMES.told(failure.reason)
                return [fails(f"{name} could not be made again: {reason}")], same
            if pixel_digest(again) == self.bundle.digests[name]:
                same += 1
            elif self.bundle.carries_images:
                gap = float(np.abs(again.astype(float) - self.bundle.image(name)).mean())
                if not gap <= ALIKE:
                    unlike.append(f"{name} ({gap:.1f} levels)")
            else:
                unlike.append(name)
        return self._judged(len(picked), same, unlike), same

    def _judged(self, count: int, same: int, unlike: Sequence[str]) -> list[Finding]:
        told = f"{count} images made again, {same} with the same pixels"
        if len(unlike) > (1 - SHARE) * count:
            return [fails(f"{told}; {len(unlike)} look otherwise, first {unlike[0]}")]
        if same >= SHARE * count:
            return [holds(told)]
        if machine_of(self.bundle.record) == machine_here():
            return [fails(f"{told}, though hardware and versions are the record's")]
        return [is_open(f"{told}, the others look alike; hardware or versions are others")]

    def ask_unmade(self, failed: Sequence[str]) -> Iterator[Finding]:
        """Yield whether the model refuses what the bundle says it cannot make.

        Args:
            failed: Ids of failed samples to ask for; those left out are asked for all.
        """
        for kind, names in (("unsupported", list(self.bundle.unsupported)), ("failed", failed)):
            for name in names:
                try:
                    self.image(name)
                except SampleFailure as failure:
                    if isinstance(failure, Unsupported) is (kind == "unsupported"):
                        continue
                yield fails(f"{name} is stated as {kind}, and is not")
                break
            else:
                if names:
                    yield holds(f"{len(names)} {kind} samples are so here too")


def machine_of(record: Record) -> tuple[object, ...]:
    """Return what must agree for a record's images to have the same pixels."""
    p = record.provenance
    return p.hardware.partition(",")[0], p.device, p.packages


def machine_here() -> tuple[object, ...]:
    """Return the same of this machine."""
    from aubench.run.provenance import hardware, package_versions

    return hardware().partition(",")[0], "cpu", package_versions()
