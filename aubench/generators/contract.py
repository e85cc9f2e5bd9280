"""The plug-in contract: what a generator declares, is given, and returns."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

from aubench.generators.cards import Card, shipped_card
from aubench.generators.info_checks import check_info

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class GeneratorInfo:
    """What a generator says of itself; printed by ``aubench models`` and kept in every record.

    Attributes:
        name: The entry-point name.
        inputs: Subset of ``{"text", "au", "reference"}``.
        size: Side of the square images it returns, in pixels.
        training: How it was trained, in a few words; "none" for controls.
        trained_on: Data sets and splits seen in training.
        metrics_in_training: Networks used as a loss or in selection that a metric also uses; tables
            mark these scores with a dagger.
        licence: SPDX identifier of code and weights.
        citation: Short reference.
        control: A yardstick, not a competitor; may look at targets.
        summary: One line.
        needs: The option of ``aubench run`` without which it cannot be loaded; "" for none.
        reads_ids: Whether it is told the protocol's sample ids, to find images that were made
            elsewhere; the record says so. Others get ids that tell nothing.

    Raises:
        AubenchError: A field is of another type, the name is none for a file, or an input is
            unknown.
    """

    name: str
    inputs: frozenset[str]
    size: int
    training: str
    trained_on: tuple[str, ...]
    metrics_in_training: tuple[str, ...]
    licence: str
    citation: str
    control: bool = False
    summary: str = ""
    needs: str = ""
    reads_ids: bool = False

    def __post_init__(self) -> None:
        check_info(self)


@dataclass(frozen=True)
class Request:
    """One image to generate.

    Attributes:
        sample_id: Names the sample in this process alone, and tells nothing of it: another run
            gives another name. The protocol's id for controls and for ``reads_ids``.
        text: AU description, empty if the generator does not read text.
        aus: uint8 [12], 0/1 in the order of ``aubench.facs.AUS``; None if not among its inputs.
        intensities: float32 [12] in 0..5; None where unknown or AUs are not among its inputs.
        reference: uint8 [H, W, 3] RGB neutral face of the subject, or None.
        seed: Derived from sample id and protocol seed alone.
        size: Side in pixels of the image wanted.
    """

    sample_id: str
    text: str
    aus: npt.NDArray[np.uint8] | None
    intensities: npt.NDArray[np.float32] | None
    reference: npt.NDArray[np.uint8] | None
    seed: int
    size: int


@dataclass(frozen=True)
class WeightSource:
    """Where weights come from: a path the user gave, or None for the plug-in's own."""

    path: Path | None = None

    @property
    def is_default(self) -> bool:
        """Whether the plug-in's own weights are meant."""
        return self.path is None


@dataclass(frozen=True)
class Plan:
    """What a run is going to ask of a generator, told before the first request.

    Attributes:
        sample_ids: The samples that will be asked for, in order, as requests name them.
        known: All samples of the protocol; more than ``sample_ids`` in a limited run.
        size: Side of the images in pixels.
    """

    sample_ids: tuple[str, ...]
    known: frozenset[str]
    size: int


class SampleFailure(Exception):
    """Raised by a generator that cannot make one sample; it is counted and scored as failed.

    Args:
        sample_id: The sample it gives up on; the rest of the batch is asked for again.
        reason: One line, kept in the ledger.
    """

    def __init__(self, sample_id: str, reason: str) -> None:
        super().__init__(f"{sample_id}: {reason}")
        self.sample_id = sample_id
        self.reason = reason


class Unsupported(SampleFailure):
    """Raised for a sample that a generator was not made for, such as an AU that it lacks.

    The sample is left out of this model's scores, and record and tables say how many were. Raise
    it for what the request asks alone; a sample that came out badly is a failure.
    """


class Generator(ABC):
    """Base class of every generator; subclass it and register it by entry point.

    ``info`` belongs to the class; where the weights that were loaded are of another training, an
    instance may carry an ``info`` of its own, and that is what the record keeps.
    """

    info: ClassVar[GeneratorInfo]

    @classmethod
    @abstractmethod
    def load(cls, weights: WeightSource, *, device: str, dtype: str, **options: Any) -> Self:
        """Return a ready generator.

        Args:
            weights: The user's weights or the plug-in's own.
            device: Torch device string.
            dtype: ``"float32"`` or another torch dtype name.
            options: Plug-in options; a control also gets ``samples`` and ``images``.

        Raises:
            AubenchError: Weights are missing, foreign or damaged.
        """

    @abstractmethod
    def generate(self, batch: Sequence[Request]) -> npt.NDArray[np.uint8]:
        """Return uint8 [B, H, W, 3] RGB, one image a request, in the order of the requests.

        The image of a request must depend on that request alone, not on its batch.
        """

    @classmethod
    def available(cls) -> str | None:
        """Return None if the generator can run here, else the reason why not."""
        return None

    @classmethod
    def card(cls) -> Card:
        """Return the card of the weights in use by default.

        This one reads ``weights/<name>-nano.card.json`` or ``weights/nano.card.json`` beside the
        module of the class; where neither is, the card says that no weights are shipped.
        """
        module = sys.modules[cls.__module__].__file__
        folder = Path(module).parent / "weights" if module else Path()
        for name in (f"{cls.info.name}-nano", "nano"):
            if (folder / f"{name}.card.json").is_file():
                return shipped_card(folder / f"{name}.card.json")
        return Card()

    def begin(self, plan: Plan) -> None:  # noqa: B027 - most have nothing to say
        """Learn what will be asked; called once before the first request.

        A generator that can tell at once that it will fail raises here.

        Raises:
            AubenchError: It cannot do what is planned.
        """

    @property
    def weights_sha256(self) -> str | None:
        """Digest of the weights in use, or None for a generator that has none."""
        return None


@dataclass(frozen=True)
class Training:
    """What ``aubench train MODEL`` was asked for; the fields are its options.

    Attributes:
        preset: One of the model's presets.
        data: A data set by name, imported ones too, or a folder that the model can read.
        out: Folder of checkpoints, logs and the final weights; a second call there resumes.
        stage: Number of the stage, for models that train in several; None for all, or the only one.
        steps: Optimiser steps in place of the preset's.
        seed: Seed of the initial weights and the draws.
        device: Torch device string.
        options: Settings of the preset to change, ``--set NAME=VALUE``.
        fold: Subject-exclusive fold whose training part is read; None for the data set's own split,
            or the first fold where it has none.
    """

    preset: str
    data: str
    out: Path
    stage: int | None = None
    steps: int | None = None
    seed: int = 0
    device: str = "cpu"
    options: Mapping[str, str] = field(default_factory=dict)
    fold: int | None = None


@runtime_checkable
class Trainable(Protocol):
    """A generator that ``aubench train`` can train; add these to its class.

    Attributes:
        presets: Their names, the default first.
        stages: Numbers of its stages, in order; empty where it trains in one.
    """

    presets: ClassVar[tuple[str, ...]]
    stages: ClassVar[tuple[int, ...]]

    @classmethod
    def fit(cls, training: Training) -> Path:
        """Train, or resume, and return the final weights, which ``--weights`` takes.

        Raises:
            AubenchError: An unknown preset, stage or setting; data that cannot be read; a
                checkpoint that is damaged or of other settings.
        """


@dataclass(frozen=True)
class AblationRow:
    """A variant of a model that ``aubench ablate`` trains and scores.

    Attributes:
        name: Name in small letters, digits and dashes; its record is called ``MODEL-NAME``.
        table: Table of the paper, such as ``Table 3``.
        title: What its line says.
        inputs: Subset of ``{"text", "au", "reference"}``.
    """

    name: str
    table: str
    title: str
    inputs: frozenset[str]


@runtime_checkable
class Ablatable(Trainable, Protocol):
    """A trainable generator whose parts can be left out one by one.

    Attributes:
        rows: Its variants, the whole model first.
    """

    rows: ClassVar[tuple[AblationRow, ...]]

    @classmethod
    def fit_row(cls, row: AblationRow, training: Training) -> Path:
        """Train one variant, or resume, below ``training.out``; return its weights.

        Rows share there what they have in common, such as a first stage.

        Raises:
            AubenchError: As ``fit``.
        """

    @classmethod
    def run_options(cls, row: AblationRow, training: Training) -> Mapping[str, str]:
        """Return the options with which ``load`` takes the weights of a row.

        They follow from the training, such as files of frozen networks; empty where there are none.
        """
