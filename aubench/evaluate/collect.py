"""Images to what the metrics are functions of: features, probabilities, pair values; all cached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError
from aubench.evaluate.feature_cache import FeatureCache, PixelReader, content_of, features
from aubench.evaluate.pairs import ImagePairs, Side, measure_pairs, steps_of
from aubench.evaluate.train_neighbours import (
    FeatureSpace,
    NeighbourQuery,
    UnknownTrainingError,
    find_train_neighbours,
)
from aubench.metrics import registry
from aubench.metrics.distributions.memorisation import BY_EXTRACTOR, BY_IDENTITY
from aubench.metrics.evaluation_data import (
    Arrays,
    CommandedIntensities,
    EvaluationData,
    FaceAccess,
    PurifiedReadings,
    ReferenceArrays,
    ReferenceFaces,
    TrainNeighbours,
)
from aubench.metrics.faces.target_likeness import ARRAY, NAME, likeness_step
from aubench.metrics.metric import Metric, Need
from aubench.networks.external_weights import MissingWeightsError
from aubench.networks.extractors.extractor import extractor_of
from aubench.networks.extractors.registry import load_extractor
from aubench.networks.inference import DetectorNetwork, IdentityNetwork, readings
from aubench.networks.network_choice import DEFAULT_NETWORKS, NetworkChoice
from aubench.storage.array_files import content_key, read_arrays, write_arrays
from aubench.storage.files import sha256_bytes
from aubench.storage.run_folder import RunFolder, read_png

if TYPE_CHECKING:
    from aubench.datasets.samples import ImageSource, SampleSet
    from aubench.networks.detectors.detector import Detector, PairedDetector
    from aubench.protocols.protocol import Protocol

Images = npt.NDArray[np.uint8]

MINIMUM = 6
"""Fewer images give no distribution to speak of."""


@dataclass(frozen=True)
class Evaluation:
    """What is to be evaluated, and how.

    Attributes:
        folder: Of the run; holds the images and the ledger.
        samples: Of the run, or those of them that a part is measured of.
        images: Of the data set.
        protocol: Of the run.
        metrics: Names of the metrics asked for.
        size: Side of the images in pixels.
        device: Torch device.
        choice: Networks to measure with.
        reads_text: Whether the model is told the AUs in words.
        model: Name of the model, for titles.
        cache: Of features of the targets.
        given_reader: Reader of the images, where some were read already; a new one if None.
    """

    folder: RunFolder
    samples: SampleSet
    images: ImageSource
    protocol: Protocol
    metrics: tuple[str, ...]
    size: int
    device: str = "cpu"
    choice: NetworkChoice = DEFAULT_NETWORKS
    reads_text: bool = True
    model: str = ""
    cache: FeatureCache = field(default_factory=FeatureCache)
    given_reader: PixelReader | None = None

    @cached_property
    def reader(self) -> PixelReader:
        """Reads the images of the data set; parts of a run share one."""
        return self.given_reader or PixelReader(self.images, self.size)

    @cached_property
    def chosen(self) -> list[Metric]:
        """The metrics asked for."""
        return registry.chosen(self.metrics)

    @cached_property
    def needs(self) -> frozenset[Need]:
        """What the metrics need together."""
        return frozenset(need for metric in self.chosen for need in metric.needs)

    def load_generated(self, names: Sequence[str]) -> Images:
        """Return generated images uint8 [B, H, W, 3] by sample id."""
        return np.stack([self.folder.read(name) for name in names])

    def load_dataset(self, keys: Sequence[str]) -> Images:
        """Return images of the data set uint8 [B, H, W, 3] by key."""
        return self.reader.load(keys)

    def keys(self, column: str) -> list[str]:
        """Return the image keys of ``target`` or ``reference`` of the samples."""
        return [str(key) for key in self.samples.frame[column]]


@dataclass(frozen=True)
class Networks:
    """The networks that look at the images, and why one that is needed does not.

    Attributes:
        extractor: Of features.
        detectors: Of AUs in single faces.
        paired: Detectors that hold faces against references; their networks look at the images.
        judges: Names of the primary and the independent detector, one name twice if there is one.
        witness: Name of the detector that is reported beside them, empty where there is none.
        identity: Tells persons apart.
        legibility: Answers of a vision-language model.
        unavailable: Why one cannot be had, by what it is needed for.
    """

    extractor: Any | None = None
    detectors: list[DetectorNetwork] = field(default_factory=list)
    paired: list[PairedDetector] = field(default_factory=list)
    judges: tuple[str, str] = ("", "")
    witness: str = ""
    identity: IdentityNetwork | None = None
    legibility: Any | None = None
    unavailable: dict[str, str] = field(default_factory=dict)

    def all(self) -> list[Any]:
        """Return those that look at single images, extractor first, each once."""
        single = (self.extractor, self.identity, self.legibility)
        shared = {one.network.name: one.network for one in self.paired}
        return [*(n for n in single if n is not None), *self.detectors, *shared.values()]

    def every_detector(self) -> list[Detector | PairedDetector]:
        """Return the detectors of either kind."""
        return [*(n.detector for n in self.detectors), *self.paired]

    def ids(self) -> dict[str, str]:
        """Return id and digest of each network and detector by name."""
        return {n.name: f"{n.id} {n.sha256[:12]}" for n in [*self.all(), *self.paired]}


def load_networks(
    dataset: str, needs: frozenset[Need], device: str, choice: NetworkChoice
) -> Networks:
    """Load the networks that metrics need, and say why some cannot be had.

    Raises:
        AubenchError: A network cannot be used.
    """
    unavailable: dict[str, str] = {}
    extractor, identity, legibility = None, None, None
    detectors: list[Detector | PairedDetector] = []
    judges, witness = ("", ""), ""
    if Need.EXTRACTOR in needs:
        try:
            extractor = load_extractor(choice.extractor or extractor_of(dataset), device)
        except MissingWeightsError as error:
            unavailable["extractor"] = str(error)
    if Need.DETECTORS in needs:
        detectors, judges, witness = _load_detectors(dataset, device, choice, unavailable)
    if Need.IDENTITY in needs:
        from aubench.networks.identity import identity_of, load_identity

        try:
            identity = IdentityNetwork(load_identity(identity_of(dataset), device))
        except MissingWeightsError as error:
            unavailable["identity"] = str(error)
    if Need.LEGIBILITY in needs:
        legibility = _legibility(choice, device, unavailable)
    from aubench.networks.detectors.detector import PairedDetector

    return Networks(
        extractor,
        [DetectorNetwork(one) for one in detectors if not isinstance(one, PairedDetector)],
        [one for one in detectors if isinstance(one, PairedDetector)],
        judges,
        witness,
        identity,
        legibility,
        unavailable,
    )


def _load_detectors(
    dataset: str, device: str, choice: NetworkChoice, unavailable: dict[str, str]
) -> tuple[list[Detector | PairedDetector], tuple[str, str], str]:
    """Return the detectors, the names of the two judges, and the witness's if it is there."""
    from aubench.networks.detectors import load_detectors

    words, extra = choice.detectors_of(dataset), choice.witness_of(dataset)
    found: list[Detector | PairedDetector] = []
    witness = ""
    try:
        found += load_detectors(words, device)
        names = [one.name for one in found]
    except MissingWeightsError as error:
        unavailable["detectors"] = str(error)
        names = [word.strip().partition("=")[0] for word in words.split(",")]
    if extra is not None:
        try:
            beside = load_detectors(extra, device)
            found += beside
            witness = beside[0].name
        except MissingWeightsError as error:
            unavailable["witness"] = str(error)
    return found, (names[0], names[-1]), witness


def _legibility(choice: NetworkChoice, device: str, unavailable: dict[str, str]) -> Any | None:
    name = "legibility"
    if choice.legibility is None:
        unavailable[name] = "no vision-language model; name one with --legibility-model"
        return None
    from aubench.networks.legibility import load_legibility

    try:
        return load_legibility(choice.legibility, device)
    except MissingWeightsError as error:
        unavailable[name] = str(error)
        return None


@dataclass(frozen=True)
class Collector:
    """What is measured of some samples; every file it writes is a cache by content.

    Attributes:
        evaluation: What is measured, of which samples.
        generated_ids: Ids of the samples that have an image, in order.
        place: Folder of the files of generated images and pairs.
    """

    evaluation: Evaluation
    generated_ids: list[str]
    place: Path

    @cached_property
    def networks(self) -> Networks:
        """The networks that look at the images."""
        e = self.evaluation
        return load_networks(e.protocol.dataset, e.needs, e.device, e.choice)

    @cached_property
    def pixels(self) -> str:
        """Digest of the generated images."""
        return self.evaluation.folder.digest(self.generated_ids)

    @cached_property
    def content(self) -> str:
        """What names the targets of all samples."""
        return self.content_of(self.evaluation.samples)

    def target_pixels(self) -> str:
        """Return the digest of the pixels of all targets; reads those that were not read yet."""
        return self.evaluation.reader.digest(self.evaluation.keys("target"))

    def content_of(self, samples: SampleSet) -> str:
        """Return what names the targets of some samples."""
        return content_of(self.evaluation.images, self.evaluation.size, samples)

    def file(self, name: str) -> Path:
        """Return the file of a network or metric."""
        return self.place / f"{name}.safetensors"

    def generated(self) -> dict[str, Arrays]:
        """Return by network arrays with a row a generated image."""
        networks = self.networks.all()
        paths = {n.name: self.file(n.name) for n in networks}
        load = self.evaluation.load_generated
        pixels = self.pixels
        return features(
            self.generated_ids, load, networks, paths, lambda: pixels, "measure generated"
        )

    def targets(self, networks: Sequence[Any], paths: dict[str, Path]) -> dict[str, Arrays]:
        """Return by network arrays with a row a sample."""
        e = self.evaluation
        keys = e.keys("target")
        pixels = self.target_pixels
        return features(keys, e.load_dataset, networks, paths, pixels, "measure targets")

    def purified(self) -> dict[str, PurifiedReadings]:
        """Return what detectors of single faces see in purified images, where that is wanted."""
        if Need.PURIFIED not in self.evaluation.needs or not self.networks.detectors:
            return {}
        from aubench.networks.purification import PURIFIED, purified

        e, networks = self.evaluation, self.networks.detectors
        kept = {n.name: self.file(f"{n.name}-{PURIFIED}") for n in networks}
        content = f"{self.content}|{PURIFIED}"
        places = {n.name: e.cache.reference_path(content, n) for n in networks}
        made = features(
            self.generated_ids,
            lambda names: purified(e.load_generated(names)),
            networks,
            kept,
            lambda: f"{self.pixels}|{PURIFIED}",
            "measure purified",
        )
        truth = features(
            e.keys("target"),
            lambda keys: purified(e.load_dataset(keys)),
            networks,
            places,
            lambda: f"{self.target_pixels()}|{PURIFIED}",
            "measure purified targets",
        )
        return {
            n.name: PurifiedReadings(made[n.name]["probabilities"], truth[n.name]["probabilities"])
            for n in networks
        }

    def pairs(self, rows: Sequence[int]) -> tuple[Arrays, dict[str, str], dict[str, str]]:
        """Return values on pairs, the key of each metric's file, and what cannot be computed.

        Args:
            rows: Of the samples that have an image.
        """
        e = self.evaluation
        steps, unavailable = steps_of(e.chosen, e.size, e.device)
        steps[NAME] = likeness_step()
        target, reference = e.keys("target"), e.keys("reference")
        sides = [e.reader.digest([side[k] for k in rows]) for side in (target, reference) if steps]
        pairs = ImagePairs(
            Side(self.generated_ids, e.load_generated),
            Side([target[k] for k in rows], e.load_dataset),
            Side([reference[k] for k in rows], e.load_dataset),
            e.samples.labels()[list(rows)],
            "|".join([self.pixels, *sides]),
        )
        values = measure_pairs(pairs, steps, self.place) if steps else {}
        return values, {name: step.key for name, step in steps.items()}, unavailable


def collect_evaluation_data(evaluation: Evaluation) -> EvaluationData:
    """Measure what the metrics need, each network once; features are cached.

    Raises:
        AubenchError: Too few images, or an unknown metric.
    """
    e, ids = evaluation, evaluation.samples.ids
    rows = np.array([i for i, name in enumerate(ids) if name not in e.folder.failures], np.int64)
    if len(rows) < MINIMUM:
        raise AubenchError(f"only {len(rows)} images to measure", f"ask for at least {MINIMUM}")
    collector = Collector(e, [ids[i] for i in rows], e.folder.path / "features")
    networks = collector.networks
    generated = collector.generated()
    places = {n.name: e.cache.reference_path(collector.content, n) for n in networks.all()}
    targets = collector.targets(networks.all(), places)
    references = _reference_arrays(e, [one.network for one in networks.paired])
    for one in networks.paired:
        generated[one.name], targets[one.name] = _readings(
            one, generated, targets, references, rows
        )
    target_aus, target_source, unsure = _target_aus(e)
    neighbours, unknown = _train_neighbours(collector, generated, targets)
    pairs, _, not_paired = collector.pairs(rows.tolist())
    detectors = networks.every_detector()
    subjects = e.samples.subjects()
    return EvaluationData(
        generated=generated,
        targets=targets,
        generated_rows=rows,
        labels=e.samples.labels(),
        target_au_probabilities=target_aus,
        subjects=subjects,
        thresholds={one.name: one.thresholds for one in detectors},
        pairs=pairs,
        reference_set=e.protocol.reference_set,
        extractor=networks.extractor.id if networks.extractor else "",
        network_ids=networks.ids(),
        target_source=target_source,
        strata=[str(s) for s in e.samples.frame["strata"]],
        aaad_constants=e.protocol.constants(),
        unavailable=networks.unavailable | unknown | not_paired,
        references=_references(e, networks.identity),
        attributes=e.images.attributes(subjects) if Need.ATTRIBUTES in e.needs else {},
        train_neighbours=neighbours,
        commanded=_commanded(e, networks),
        primary_detector=networks.judges[0],
        independent_detector=networks.judges[1],
        faces=_faces(e),
        witness=networks.witness,
        known_aus={one.name: one.mask for one in detectors if not one.mask.all()},
        reference_arrays=references,
        unsure_texts=unsure,
        remarks={one.name: one.remarks(generated[one.network.name]) for one in networks.paired},
        families={one.name: one.family for one in detectors},
        unmoved={one.name: _unmoved(one, references) for one in networks.paired},
        purified=collector.purified(),
        like_targets=int(pairs[ARRAY].sum()),
    )


def _faces(e: Evaluation) -> FaceAccess:
    return FaceAccess(
        lambda name: read_png(e.folder.image(name)),
        lambda key: e.images.load(key, e.size),
        e.samples.ids,
        e.keys("target"),
        e.keys("reference"),
    )


def _references(e: Evaluation, network: IdentityNetwork | None) -> ReferenceFaces | None:
    """Return the distinct reference faces as the identity network sees them."""
    if network is None or Need.REFERENCE_FACES not in e.needs:
        return None
    found, first, rows = _of_references(e, [network])
    subjects = [str(s) for s in e.samples.frame["subject"].iloc[first]]
    return ReferenceFaces(network.name, found[network.name]["embeddings"], subjects, rows)


def _reference_arrays(e: Evaluation, networks: Sequence[Any]) -> ReferenceArrays | None:
    """Return what the networks of paired detectors see in the distinct reference faces."""
    shared = list({network.name: network for network in networks}.values())
    if not shared:
        return None
    found, _, rows = _of_references(e, shared)
    return ReferenceArrays(found, rows)


def _of_references(
    e: Evaluation, networks: Sequence[Any]
) -> tuple[dict[str, Arrays], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return arrays of distinct references, a sample that has each, and each sample's reference."""
    keys, first, rows = np.unique(
        e.samples.frame["reference"].to_numpy(str), return_index=True, return_inverse=True
    )
    names = [str(key) for key in keys]
    digest = sha256_bytes(chr(10).join(names).encode())
    content = f"{e.images.fingerprint}|{e.size}|references|{digest}"
    places = {network.name: e.cache.reference_path(content, network) for network in networks}
    found = features(
        names,
        e.load_dataset,
        networks,
        places,
        lambda: e.reader.digest(names),
        "measure references",
    )
    return found, first, rows


def _readings(
    detector: PairedDetector,
    generated: dict[str, Arrays],
    targets: dict[str, Arrays],
    references: ReferenceArrays | None,
    rows: npt.NDArray[np.int64],
) -> tuple[Arrays, Arrays]:
    """Return the probabilities of a paired detector of generated images and of targets."""
    assert references is not None
    name = detector.network.name
    of_samples = references.of_samples(name)
    of_generated = {key: array[rows] for key, array in of_samples.items()}
    return (
        readings(detector, generated[name], of_generated),
        readings(detector, targets[name], of_samples),
    )


def _unmoved(
    detector: PairedDetector, references: ReferenceArrays | None
) -> npt.NDArray[np.float32]:
    """Return what a paired detector reads in each sample's reference held against itself."""
    assert references is not None
    seen = references.arrays[detector.network.name]
    found: npt.NDArray[np.float32] = readings(detector, seen, seen)["probabilities"]
    return found[references.rows]


def _train_neighbours(
    collector: Collector, generated: dict[str, Arrays], targets: dict[str, Arrays]
) -> tuple[dict[str, TrainNeighbours], dict[str, str]]:
    """Return training faces nearest to generated images and targets, and why there are none."""
    e, networks = collector.evaluation, collector.networks
    if Need.TRAINING_FACES not in e.needs:
        return {}, {}
    found: dict[str, TrainNeighbours] = {}
    unavailable: dict[str, str] = {}
    judges: tuple[tuple[str, Any, str, str], ...] = (
        (BY_EXTRACTOR, networks.extractor, "features", "extractor"),
        (BY_IDENTITY, networks.identity, "embeddings", "identity"),
    )
    for name, network, array, kind in judges:
        if network is None:
            unavailable[name] = networks.unavailable.get(kind, "")
            continue
        space = FeatureSpace(e.samples, e.images.fingerprint, network, array, e.size)
        one = generated[network.name][array], collector.pixels, collector.file(name)
        two = targets[network.name][array], collector.target_pixels()
        try:
            found[name] = find_train_neighbours(space, NeighbourQuery(*one), NeighbourQuery(*two))
        except UnknownTrainingError as error:
            unavailable[name] = str(error)
    return found, unavailable


def _commanded(e: Evaluation, networks: Networks) -> CommandedIntensities | None:
    """Return commanded intensities and their scale; the independent detector judges responses."""
    if Need.INTENSITIES not in e.needs:
        return None
    from aubench.networks.detectors.intensity import load_scale

    judge = networks.judges[1]
    return CommandedIntensities(
        intensities=e.samples.intensities(),
        scenes=e.keys("reference"),
        graded=e.protocol.definition.graded,
        scale=next((load_scale(n.detector) for n in networks.detectors if n.name == judge), None),
    )


def _target_aus(e: Evaluation) -> tuple[npt.NDArray[np.float32], str, int | None]:
    """Return what AAAD compares with, its name, and how many texts could not be read.

    That is the text's AUs, or the labels where no text is read; then nothing is counted.
    """
    definition = e.protocol.definition
    # The face is scored against levels by other metrics; a text's AUs say nothing of them.
    by_label = definition.input == "labels" or definition.graded
    if by_label or not e.reads_text or Need.TEXT_AUS not in e.needs:
        return e.samples.labels().astype(np.float32), "labels", None
    texts = [str(text) for text in e.samples.frame["text"]]
    found, name = _aus_of_texts(texts, e.cache, e.choice.text_au_of(e.protocol.dataset))
    return found, name, _unsure(texts, found)


def _unsure(texts: list[str], found: npt.NDArray[np.float32]) -> int:
    from aubench.networks.textau.checks import check_reading
    from aubench.networks.textau.classifier import Reading

    return sum(
        check_reading(text, Reading(row)) is not None
        for text, row in zip(texts, found, strict=True)
    )


def _aus_of_texts(
    texts: list[str], cache: FeatureCache, classifier: str
) -> tuple[npt.NDArray[np.float32], str]:
    """Return the AUs that the classifier reads in texts [N, 12], by content, and its name."""
    from aubench.networks.textau import load_text_au, text_au_identity

    id_, digest = text_au_identity(classifier)
    key = content_key("texts", digest, sha256_bytes("\0".join(texts).encode()))
    path = cache.path(key)
    found = read_arrays(path, key, len(texts))
    if found is None:
        found = {"probabilities": load_text_au(classifier).probabilities(texts)}
        write_arrays(path, key, found)
    return found["probabilities"], f"text-{id_}"
