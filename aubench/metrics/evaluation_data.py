"""What the metrics of a run are functions of: features, probabilities, pair values, labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from aubench.facs import AUS
from aubench.networks.network_choice import INDEPENDENT_DETECTOR, PRIMARY_DETECTOR

if TYPE_CHECKING:
    from aubench.networks.detectors.intensity import IntensityScale

T = TypeVar("T")
Arrays = dict[str, npt.NDArray[Any]]
Image = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ReferenceFaces:
    """The distinct reference faces, as the identity network sees them.

    Attributes:
        network: Name of the identity network.
        embeddings: Float32 [R, D].
        subjects: Subject of each reference face [R].
        rows: Row of the reference face of each sample, int64 [N].
    """

    network: str
    embeddings: npt.NDArray[np.float32]
    subjects: list[str]
    rows: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Neighbours:
    """Nearest training faces of M images.

    Attributes:
        index: Row in the training set [M].
        distance: Distance to it [M].
    """

    index: npt.NDArray[np.int64]
    distance: Vector


@dataclass(frozen=True)
class TrainNeighbours:
    """Nearest training faces by the features of one network.

    Attributes:
        keys: Image keys of the training faces [T].
        generated: Nearest to the generated images [K].
        targets: Nearest to the targets of all samples [N].
        gaps: Distance of each training face to its nearest other one, float64 [T].
        network_id: Id of the network.
    """

    keys: list[str]
    generated: Neighbours
    targets: Neighbours
    gaps: Vector
    network_id: str


@dataclass(frozen=True)
class CommandedIntensities:
    """Commanded intensities of the samples.

    Attributes:
        intensities: Float32 [N, 12] in 0..5, NaN where unknown.
        scenes: Key of the reference face [N]; samples of a series share it.
        graded: Whether the protocol tells intensities and holds sweeps and grids.
        scale: From the detector's probabilities to intensities, None where it has none.
    """

    intensities: npt.NDArray[np.float32]
    scenes: list[str]
    graded: bool
    scale: IntensityScale | None


@dataclass(frozen=True)
class FaceAccess:
    """The faces of a run, loaded when a metric draws them.

    Attributes:
        load_generated: From a sample id to its image, uint8 [H, W, 3].
        load_dataset: From an image key of the data set to its image, uint8 [H, W, 3].
        sample_ids: Ids of the samples [N].
        target_keys: Image key of the target of each sample [N].
        reference_keys: Image key of the reference face of each sample [N].
    """

    load_generated: Callable[[str], Image]
    load_dataset: Callable[[str], Image]
    sample_ids: Sequence[str]
    target_keys: Sequence[str]
    reference_keys: Sequence[str]

    def generated(self, row: int) -> Image:
        """Return the generated image of a sample."""
        return self.load_generated(self.sample_ids[row])

    def target(self, row: int) -> Image:
        """Return the target of a sample."""
        return self.load_dataset(self.target_keys[row])

    def reference(self, row: int) -> Image:
        """Return the reference face of a sample."""
        return self.load_dataset(self.reference_keys[row])


@dataclass(frozen=True)
class ReferenceArrays:
    """What networks that hold faces against references saw in the distinct reference faces.

    Attributes:
        arrays: By network, arrays with a row a distinct reference face.
        rows: Row of the reference face of each sample, int64 [N].
    """

    arrays: dict[str, Arrays]
    rows: npt.NDArray[np.int64]

    def of_samples(self, network: str) -> Arrays:
        """Return the arrays of a network with a row a sample."""
        return {name: array[self.rows] for name, array in self.arrays[network].items()}


@dataclass(frozen=True)
class PurifiedReadings:
    """What a detector sees in purified images, probabilities float32.

    Attributes:
        generated: [K, 12].
        targets: [N, 12].
    """

    generated: npt.NDArray[np.float32]
    targets: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Judged:
    """What a detector says of the samples that it can judge, M of N.

    Attributes:
        rows: Which samples, int64 [M].
        labels: Commanded AUs [M, 12], -1 where the detector does not know the AU.
        probabilities: Of the generated images, float32 [M, 12]; 0 of failed ones and unknown AUs.
        found: AUs found in them, bool [M, 12].
        found_in_targets: AUs found in the targets, bool [M, 12].
        failed: Which of the M have no image, or none with a face, int64.
        subjects: Of the samples [M].
    """

    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.integer[Any]]
    probabilities: npt.NDArray[np.float32]
    found: npt.NDArray[np.bool_]
    found_in_targets: npt.NDArray[np.bool_]
    failed: npt.NDArray[np.int64]
    subjects: list[str]

    def __len__(self) -> int:
        """Return M."""
        return len(self.rows)


@dataclass(frozen=True)
class EvaluationData:
    """Everything the metrics are functions of; N samples, K of them generated.

    A detector's arrays are ``probabilities``, 0 where it knows nothing, and ``found`` if there may
    be no face for it. Of the network of a paired detector, such as ``mp-face``, ``generated``,
    ``targets`` and ``reference_arrays`` hold what it saw: points and blendshapes.

    Attributes:
        generated: By network, arrays with a row a generated image.
        targets: By network, arrays with a row a sample.
        generated_rows: Rows of the samples that were generated, int64 [K].
        labels: Commanded AUs, uint8 [N, 12].
        target_au_probabilities: What AAAD compares with, float32 [N, 12].
        subjects: Subject of each sample [N].
        thresholds: By detector, float32 [12].
        pairs: Values of the generated images and their targets by name, [K] each; absent where
            not measured.
        reference_set: Name of the reference set, as in metric ids.
        extractor: Id of the extractor, empty where none was asked for.
        network_ids: Id and digest of each network by name.
        target_source: ``text`` and its classifier, or ``labels``.
        strata: Stratum of each sample [N].
        aaad_constants: AAAD's constants frozen with the protocol, (low, high) by detector id and
            target source.
        unavailable: By network or metric, why it could not be had though asked for.
        references: For identity, None where not asked for or not to be had.
        attributes: By attribute of the subjects, the group of each sample [N].
        train_neighbours: Nearest training faces by the extractor under ``memorisation``, by the
            identity network under ``lookalikes``; absent where not asked for or not to be had.
        commanded: Intensities and their scale, None where not asked for.
        primary_detector: Name of the detector that a model may have trained on.
        independent_detector: Name of the other one; the same where there is only one.
        witness: Name of the detector that is reported beside these two, empty where there is none.
        known_aus: By detector, which of the twelve AUs it knows, bool [12]; absent where all.
        reference_arrays: What paired detectors' networks saw in the reference faces; None where
            no detector is one.
        faces: The images themselves, None where there are none to be drawn.
        unsure_texts: Texts that the classifier could not read, None where it read none.
        like_targets: Generated images that are their targets, or nearly; None where not looked at.
        remarks: By paired detector, how many generated faces are odd, by what is odd.
        families: By detector, what it was trained on: ``renderer`` or ``photographs``.
        unmoved: By paired detector, what it reads in the reference of each sample held against
            itself, float32 [N, 12].
        purified: By detector of single faces, what it sees in purified images; empty where not
            asked for.
    """

    generated: dict[str, Arrays]
    targets: dict[str, Arrays]
    generated_rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.uint8]
    target_au_probabilities: npt.NDArray[np.float32]
    subjects: list[str]
    thresholds: dict[str, npt.NDArray[np.float32]]
    pairs: Arrays
    reference_set: str
    extractor: str
    network_ids: dict[str, str]
    target_source: str
    strata: list[str]
    aaad_constants: dict[str, tuple[float, float]] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    references: ReferenceFaces | None = None
    attributes: dict[str, list[str]] = field(default_factory=dict)
    train_neighbours: dict[str, TrainNeighbours] = field(default_factory=dict)
    commanded: CommandedIntensities | None = None
    primary_detector: str = PRIMARY_DETECTOR
    independent_detector: str = INDEPENDENT_DETECTOR
    faces: FaceAccess | None = None
    witness: str = ""
    known_aus: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    reference_arrays: ReferenceArrays | None = None
    unsure_texts: int | None = None
    like_targets: int | None = None
    remarks: dict[str, dict[str, int]] = field(default_factory=dict)
    families: dict[str, str] = field(default_factory=dict)
    unmoved: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    purified: dict[str, PurifiedReadings] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of samples, failed ones included."""
        return len(self.labels)

    @property
    def failed_rows(self) -> npt.NDArray[np.int64]:
        """Rows of the samples that the generator failed on."""
        return np.setdiff1d(np.arange(len(self)), self.generated_rows)

    def once(self, key: str, compute: Callable[[], T]) -> T:
        """Return what ``compute`` gives; computed once for these data, not for changed copies."""
        kept: dict[str, Any] = self.__dict__.setdefault("_computed", {})
        if key not in kept:
            kept[key] = compute()
        return cast("T", kept[key])

    def both(self, network: str, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return an array of a network, of the generated images and of all targets."""
        return self.generated[network][name], self.targets[network][name]

    def extracted(self, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return ``features`` or ``logits`` of the extractor, of generated images and targets."""
        return self.both(self.extractor.split("|")[0], name)

    def network_id(self, network: str) -> str:
        """Return the id of a network without the digest of its weights."""
        return self.network_ids[network].split(" ")[0]

    def generated_subjects(self) -> list[str]:
        """Return the subjects of the generated samples [K]."""
        return [self.subjects[i] for i in self.generated_rows]

    def spread(self, values: npt.NDArray[Any], failed_value: float) -> Vector:
        """Return values of the generated images [K] as one a sample [N], float64.

        Args:
            values: One a generated image.
            failed_value: What a sample gets that the generator failed on.
        """
        out = np.full(len(self), failed_value, np.float64)
        out[self.generated_rows] = values
        return out

    def knows(self, detector: str) -> npt.NDArray[np.bool_]:
        """Return which of the twelve AUs a detector knows, bool [12]."""
        return self.known_aus.get(detector, np.ones(len(AUS), np.bool_))

    def readable_rows(self, detector: str) -> npt.NDArray[np.int64]:
        """Return the samples that a detector can judge: it found the faces of the data set."""
        found = self.targets[detector].get("found")
        return np.arange(len(self)) if found is None else np.flatnonzero(found)

    def failed_rows_of(self, detector: str) -> npt.NDArray[np.int64]:
        """Return the samples that failed for a detector: no image, or no face in it."""
        ok = self.generated_rows
        found = self.generated[detector].get("found")
        return np.setdiff1d(np.arange(len(self)), ok if found is None else ok[found > 0])

    def labels_for(self, detector: str) -> npt.NDArray[np.integer[Any]]:
        """Return commanded AUs [N, 12], -1 where a detector cannot say: unknown AUs and faces."""
        rows, known = self.readable_rows(detector), self.knows(detector)
        if len(rows) == len(self) and known.all():
            return self.labels
        out = np.full(self.labels.shape, -1, np.int64)
        out[np.ix_(rows, known)] = self.labels[np.ix_(rows, known)]
        return out

    def judged(self, detector: str) -> Judged:
        """Return what a detector says of the samples that it can judge."""
        rows = self.readable_rows(detector)
        return Judged(
            rows,
            self.labels_for(detector)[rows],
            self.probabilities(detector)[rows],
            self.detected(detector)[rows],
            self.detected_in_targets(detector)[rows],
            np.flatnonzero(np.isin(rows, self.failed_rows_of(detector))),
            [self.subjects[i] for i in rows],
        )

    def lacks_detector(self) -> str | None:
        """Return why no detector has looked though one should have, None where they have."""
        if self.independent_detector in self.generated:
            return None
        return self.unavailable.get("detectors", "no detector was asked for")

    def readers(self) -> dict[str, str]:
        """Return the readers of AUs that have looked: ``first``, ``second`` and ``witness``."""
        out = {}
        if self.lacks_detector() is None:
            out["first"] = self.primary_detector
            if self.independent_detector != self.primary_detector:
                out["second"] = self.independent_detector
        return out | ({"witness": self.witness} if self.witness else {})

    def detector_note(self, detector: str) -> str:
        """Return in words what a detector does not know and could not see, empty if nothing."""
        notes = []
        unknown = [
            f"AU{au}" for au, known in zip(AUS, self.knows(detector), strict=True) if not known
        ]
        if unknown:
            notes.append(f"{detector} does not know {', '.join(unknown)}")
        gone = len(self) - len(self.readable_rows(detector))
        if gone:
            notes.append(f"{gone} samples left out: no face found in their reference or target")
        lost = np.intersect1d(
            np.setdiff1d(self.failed_rows_of(detector), self.failed_rows),
            self.readable_rows(detector),
        )
        if len(lost):
            notes.append(f"no face found in {len(lost)} generated images, which count as failed")
        odd = [f"{count} {what}" for what, count in self.remarks.get(detector, {}).items()]
        if odd:
            notes.append(f"of the generated faces {', '.join(odd)}")
        return "; ".join(notes)

    def probabilities(self, detector: str) -> npt.NDArray[np.float32]:
        """Return probabilities [N, 12] of all samples, zero where the generator failed."""
        out = np.zeros((len(self), len(AUS)), np.float32)
        out[self.generated_rows] = self.generated[detector]["probabilities"]
        return out

    def detected(self, detector: str) -> npt.NDArray[np.bool_]:
        """Return the AUs that a detector finds in all samples, bool [N, 12]."""
        return np.asarray(self.probabilities(detector) >= self.thresholds[detector])

    def detected_in_targets(self, detector: str) -> npt.NDArray[np.bool_]:
        """Return the AUs that a detector finds in the targets, bool [N, 12]."""
        return np.asarray(self.targets[detector]["probabilities"] >= self.thresholds[detector])
