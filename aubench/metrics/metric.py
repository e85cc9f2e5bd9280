"""A metric: what a score is called and how it is shown, what it needs, and how it is computed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError
from aubench.metrics.evaluation_data import Arrays, EvaluationData, Vector
from aubench.metrics.statistics.groups import SubjectSums, mean_sums
from aubench.records.record import ScoreRow

if TYPE_CHECKING:
    from aubench.datasets.samples import SampleSet

Draws = Sequence[npt.NDArray[np.int64]]


class Need(Enum):
    """What a metric needs to have been measured."""

    EXTRACTOR = "features of the extractor"
    DETECTORS = "probabilities of the AU detectors"
    PURIFIED = "probabilities of purified images"
    IDENTITY = "embeddings of the identity network"
    LEGIBILITY = "answers of the vision-language model"
    PAIRS = "a value of each generated image beside its target"
    REFERENCE_FACES = "embeddings of the reference faces"
    TRAINING_FACES = "the nearest training faces"
    INTENSITIES = "commanded intensities"
    ATTRIBUTES = "attributes of the subjects"
    TEXT_AUS = "the AUs that the text classifier reads in the texts"


@dataclass(frozen=True)
class Tolerance:
    """How far a score computed again may be from the stated one.

    Attributes:
        relative: Share of the value.
        absolute: In the unit of the record.
        counted: Whether the score is a share of images, of which one on the edge may fall on
            either side, however many they are.
    """

    relative: float = 0.0
    absolute: float = 1e-4
    counted: bool = False

    def far(self, stated: float | None, again: float | None, n: int) -> bool:
        """Return whether two values of ``n`` samples differ by more."""
        if stated is None or again is None:
            return stated is not again
        allowed = self.absolute + self.relative * abs(again)
        return not abs(stated - again) <= allowed + (1 / max(1, n) if self.counted else 0)


ROUNDING = 1e-5
"""By which a value may be beyond its bounds: a distance of zero may come out below it."""
INFINITY: float = inf
Bounds = tuple[float, float]
ANY: Bounds = (-INFINITY, INFINITY)
SHARE: Bounds = (0.0, 1.0)
CORRELATION: Bounds = (-1.0, 1.0)
DISTANCE: Bounds = (0.0, INFINITY)
"""Least and largest value that a score can have."""


@dataclass(frozen=True)
class ScoreFacts:
    """What is known of one score of a metric, a row of a record.

    Attributes:
        title: What it is called, without unit.
        higher_is_better: The direction.
        digits: Decimals to show, in the unit that is shown.
        unit: Such as ``dB``, empty for a plain number.
        exponent: The score is shown multiplied by ten to this power.
        informative: False where it tells nothing on faces.
        headline: Whether the leaderboards show it beside the most important ones.
        in_paper: Whether it is a column of the paper's tables.
        failed_value: What a sample scores that the generator failed on; None where such a sample
            has no part in the score.
        whole_set: Whether per-sample values are contributions to a score of the whole set, which
            mean nothing between runs that failed on different samples.
        tolerance: How far it may be from the stated one when computed again.
        ideal: The value that is right, where more and less are both worse; such a score is not
            ranked. None where the direction says all.
        bounds: Least and largest value that it can have; a record with another is refused.
    """

    title: str
    higher_is_better: bool
    digits: int = 3
    unit: str = ""
    exponent: int = 0
    informative: bool = True
    headline: bool = False
    in_paper: bool = False
    failed_value: float | None = None
    whole_set: bool = False
    tolerance: Tolerance = Tolerance()
    ideal: float | None = None
    bounds: Bounds = ANY

    @property
    def scale(self) -> float:
        """Factor from the value of the record to the one that is shown."""
        return 10.0**self.exponent

    @property
    def label(self) -> str:
        """Title and unit, without the power of ten."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    def possible(self, value: float) -> bool:
        """Return whether the score can have a value, up to rounding."""
        low, high = self.bounds
        return isfinite(value) and low - ROUNDING <= value <= high + ROUNDING

    def clipped(self, interval: tuple[float, float]) -> tuple[float, float]:
        """Return an interval without what the score cannot be."""
        low, high = self.bounds
        return (min(max(interval[0], low), high), min(max(interval[1], low), high))

    @property
    def multiple(self) -> str:
        """The power of ten such as ``×10³``, empty where there is none."""
        digits = str(self.exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"×10{digits}" if self.exponent else ""

    @property
    def heading(self) -> str:
        """Label and power of ten, as the terminal shows them."""
        return f"{self.label} {self.multiple}".strip()

    @property
    def arrow(self) -> str:
        """The direction as an arrow, or what it should come to."""
        if self.ideal is not None:
            return f"→ {self.ideal:g}"
        return "↑" if self.higher_is_better else "↓"

    def text(self, value: float) -> str:
        """Return a value of the record as it is shown, without the sign of a zero."""
        text = f"{value * self.scale:.{self.digits}f}"
        return text.removeprefix("-") if float(text) == 0 else text


@dataclass(frozen=True)
class PairBatch:
    """Some pairs of a generated image and its target, decoded.

    Attributes:
        generated: uint8 [B, H, W, 3].
        target: Of the same shape.
        reference: Of the same shape; None where no step wants it.
        labels: Commanded AUs, uint8 [B, 12].
    """

    generated: npt.NDArray[np.uint8]
    target: npt.NDArray[np.uint8]
    reference: npt.NDArray[np.uint8] | None
    labels: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PairStep:
    """What a metric computes on pairs, in one pass with all others; the values are cached.

    Attributes:
        compute: From a batch to arrays float [B] by name, as ``EvaluationData.pairs`` has them.
        key: What the values depend on beside the pixels: networks, weights, constants.
        reference: Whether it wants the reference faces.
    """

    compute: Callable[[PairBatch], Arrays]
    key: str
    reference: bool = False


class UnavailableError(AubenchError):
    """A metric cannot be measured here; the record states the reason in place of a value."""


class ProtocolFacts(Protocol):
    """What a metric may ask of a protocol."""

    @property
    def name(self) -> str:
        """Name of the protocol."""

    @property
    def dataset(self) -> str:
        """Name of its data set."""

    def samples(self) -> SampleSet:
        """Return its samples."""


@dataclass(frozen=True)
class Resampled:
    """A score of the whole set and its values [R] on resamples of the generated images."""

    value: float
    replicates: Vector


class Metric(ABC):
    """A group of scores that are computed together, as ``aubench run --metrics`` names them.

    A subclass states the facts, and computes. It has no state: one object serves all runs.

    Attributes:
        name: As in ``--metrics``, the name of its entry point in ``aubench.metrics``.
        order: Place among the metrics of a run and in tables; strangers come last.
        scores: The facts of each score by its name in records, in the order of the rows.
        needs: What must have been measured.
        paper: Whether it is part of the ``paper`` profile.
        quick: Whether it is part of the ``quick`` profile.
        with_intensities: Whether every profile holds it on protocols that command intensities.
        unprobed: What a probe of the cost leaves out of it, empty where it is probed whole.
        files: Names of the files that ``artefacts`` may write into the run folder.
    """

    name: ClassVar[str]
    order: ClassVar[int] = 1000
    scores: ClassVar[Mapping[str, ScoreFacts]]
    needs: ClassVar[frozenset[Need]] = frozenset()
    paper: ClassVar[bool] = False
    quick: ClassVar[bool] = False
    with_intensities: ClassVar[bool] = False
    unprobed: ClassVar[str] = ""
    files: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def score(self, data: EvaluationData) -> list[ScoreRow]:
        """Return the rows of the record; where there is no value, the reason is the row's note."""

    def applies(self, protocol: ProtocolFacts) -> str | None:
        """Return why the metric says nothing on a protocol, None where it applies."""
        return None

    def lacks(self, others: Sequence[Metric]) -> str | None:
        """Return why the metric says nothing beside these others, None where it does."""
        return None

    def per_sample(self, data: EvaluationData) -> Mapping[str, Vector]:
        """Return values of the samples [N] by score, whose mean is the score's; NaN for none."""
        return {}

    def resampled(self, data: EvaluationData, draws: Draws) -> Mapping[str, Resampled]:
        """Return scores that are no means over samples, on resamples of the generated images."""
        return {}

    def subject_sums(self, data: EvaluationData) -> Mapping[str, SubjectSums]:
        """Return scores as sums over subjects, for groups of them; by default per-sample means."""
        out = {}
        for name, values in self.per_sample(data).items():
            known = np.flatnonzero(np.isfinite(values))
            if len(known):
                out[name] = mean_sums(values[known], [data.subjects[i] for i in known])
        return out

    def strata(self, data: EvaluationData) -> Mapping[str, list[ScoreRow]]:
        """Return rows of parts of the protocol, by stratum."""
        return {}

    def groups(
        self, data: EvaluationData, others: Sequence[Metric]
    ) -> Mapping[str, list[ScoreRow]]:
        """Return rows of groups of subjects, by ``attribute=group``."""
        return {}

    def pair_step(self, size: int, device: str) -> PairStep | None:
        """Return what the metric computes on pairs of images; None if nothing.

        Args:
            size: Side of the images in pixels.
            device: Torch device.

        Raises:
            UnavailableError: It cannot be computed here.
            MissingWeightsError: Weights are not on this machine.
        """
        return None

    def artefacts(self, data: EvaluationData, folder: Path) -> list[Path]:
        """Write files beside the record, of the names in ``files``; return those written."""
        return []

    @property
    def splits(self) -> bool:
        """Whether its scores fall apart over subjects."""
        kind = type(self)
        return (
            kind.per_sample is not Metric.per_sample or kind.subject_sums is not Metric.subject_sums
        )

    @property
    def comparable(self) -> bool:
        """Whether two runs on the same samples can be compared by it."""
        return self.splits or type(self).resampled is not Metric.resampled

    def row(self, name: str, id_: str, value: float | None, n: int, **more: Any) -> ScoreRow:
        """Return a row of the record; a value that is not finite becomes None, with a note.

        Args:
            name: Of the score, one of ``scores``.
            id_: How it was measured; rows of different ids are never compared.
            value: The number, None for none.
            n: Samples behind it.
            more: ``ci`` and ``note``.
        """
        if value is not None and not np.isfinite(value):
            value, more["note"] = None, more.get("note") or "undefined on these samples"
        facts = self.scores[name]
        if more.get("ci") is not None:
            more["ci"] = facts.clipped(more["ci"])
        return ScoreRow(
            metric=name,
            id=id_,
            value=value,
            n=n,
            higher_is_better=facts.higher_is_better,
            informative=facts.informative,
            **more,
        )

    def without_value(
        self, data: EvaluationData, reason: str, names: Sequence[str] | None = None
    ) -> list[ScoreRow]:
        """Return rows without a value and the reason as their note; all scores by default."""
        return [
            self.row(name, name, None, len(data.generated_rows), note=reason)
            for name in names or self.scores
        ]

    def failed_note(self, data: EvaluationData, name: str) -> str:
        """Return what failed samples count as in a score, empty where none failed."""
        return failed_note(data, f"{self.scores[name].failed_value:g}")

    def pair_values(self, data: EvaluationData, name: str) -> Vector:
        """Return a value of each sample [N] on pairs; failed samples get their ``failed_value``."""
        failed = self.scores[name].failed_value
        return data.spread(data.pairs[name], float("nan") if failed is None else failed)


def failed_note(data: EvaluationData, worst: str) -> str:
    """Return what failed samples count as, in words; empty where none failed."""
    failed = len(data) - len(data.generated_rows)
    return f"{failed} failed samples count as {worst}" if failed else ""
