"""What an audit looks at: faces and commands, one of the two corrupted, and what networks see.

Of a data set whose faces are rendered to order the command stays, and the face shows ever more
wrong AUs. Of any other the face stays, whose AUs are known, and the command asks for ever more
wrong ones. Either way it is known how far command and face are apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from aubench.audit.corrupt import KINDS, LABEL_KINDS, corruptions
from aubench.datasets import DEFAULT_DATASET, default_networks, image_source
from aubench.errors import AubenchError
from aubench.evaluate.feature_cache import PixelReader, features, reference_path
from aubench.facs import AUS, combination_name, parse_aus
from aubench.networks.inference import DetectorNetwork, readings
from aubench.protocols.protocol import Protocol, load_protocol
from aubench.storage.array_files import content_key

if TYPE_CHECKING:
    from aubench.datasets.dataset import Dataset
    from aubench.datasets.samples import ImageSource, SampleSet
    from aubench.networks.detectors.detector import Detector, PairedDetector
    from aubench.networks.face_landmarker.readers import Reader
    from aubench.networks.network import Arrays, Network

    Readers = Sequence[Detector | PairedDetector]

MINIMUM = 8
"""Fewer faces give neither constants nor intervals."""

WITNESS = "mp-zero"

FULL = 5.0
"""Intensity of an AU of which no more is known than that it is there."""


@dataclass(frozen=True)
class AuditPlan:
    """What an audit is asked to do.

    Attributes:
        samples: Faces, spread over the numbers of active AUs.
        levels: Corrupted levels of each kind.
        seed: Seed of the faces, and of which AUs are corrupted in which order.
        detectors: One or two, ``A,B``; the first one's AAAD is the headline, the other stands
            beside it. None for the data set's own.
        text_au: Classifier of the texts; None for the default.
        data: Data set.
        protocol: Its protocol whose samples are taken.
        kinds: Kinds of corruption.
    """

    samples: int = 200
    levels: int = 6
    seed: int = 0
    detectors: str | None = None
    text_au: str | None = None
    data: str = DEFAULT_DATASET
    protocol: str = "test2k"
    kinds: tuple[str, ...] = KINDS

    @property
    def conditions(self) -> list[tuple[str, int]]:
        """Return (kind, level) of every condition; the first is the faithful one."""
        rest = [(kind, level) for kind in self.kinds for level in range(1, self.levels + 1)]
        return [("faithful", 0), *rest]

    def rows(self, kind: str) -> list[int]:
        """Return the conditions of a kind, the faithful one first; all for ``pooled``."""
        return [
            i for i, (name, _) in enumerate(self.conditions) if kind in ("pooled", name) or i == 0
        ]


@dataclass(frozen=True)
class Observed:
    """What the networks saw, C conditions of N faces.

    Attributes:
        plan: What was asked for.
        samples: The faces, in the order of the protocol.
        shown: Intensities that the faces show, float32 [C, N, 12].
        asked: Intensities that the commands ask for, float32 [C, N, 12].
        seen: Probabilities float32 [C, N, 12] by detector, the first one first; 0 where it knows
            nothing.
        wanted: AU probabilities of the texts float32 [C, N, 12].
        thresholds: Thresholds by detector, float32 [12].
        ids: Id by detector, and of ``text``.
        protocol: The protocol.
        images: Id of the images.
        masks: AUs that a detector knows, bool [12]; all where it is not named.
        lost: Faces by detector that it did not find.
        witness: What the witness saw; None where its weights are missing, or where it is one of
            the detectors.
        families: Family of each detector.
    """

    plan: AuditPlan
    samples: SampleSet
    shown: npt.NDArray[np.float32]
    asked: npt.NDArray[np.float32]
    seen: dict[str, npt.NDArray[np.float32]]
    wanted: npt.NDArray[np.float32]
    thresholds: dict[str, npt.NDArray[np.float32]]
    ids: dict[str, str]
    protocol: Protocol
    images: str
    masks: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    witness: Witnessed | None = None
    families: dict[str, str] = field(default_factory=dict)

    @property
    def detectors(self) -> list[str]:
        """Names of the detectors, the first one first."""
        return list(self.seen)

    @property
    def labels(self) -> npt.NDArray[np.uint8]:
        """Whether a command asks for an AU, uint8 [C, N, 12]."""
        return np.asarray(self.asked > 0, np.uint8)

    def mask(self, detector: str) -> npt.NDArray[np.bool_]:
        """Return the AUs that a detector knows, bool [12]."""
        return self.masks.get(detector, np.ones(len(AUS), np.bool_))


@dataclass(frozen=True)
class Witnessed:
    """What the witness saw, C conditions of N faces.

    Attributes:
        name: Its name.
        probabilities: Less what it reads in a face that did not move, float64 [C, N, 12].
        known: AUs that it knows, bool [12].
        gain: Motion along the faithful face's and the square of that, float64 [2, C, N].
        distance: From the faithful face, percent of the way between the eyes [C, N].
    """

    name: str
    probabilities: npt.NDArray[np.float64]
    known: npt.NDArray[np.bool_]
    gain: npt.NDArray[np.float64]
    distance: npt.NDArray[np.float64]

    def repeated(self, conditions: int) -> Witnessed:
        """Return the same for every condition, where one face was seen under all commands."""
        return replace(
            self,
            probabilities=_repeated(self.probabilities, 0, conditions),
            gain=_repeated(self.gain, 1, conditions),
            distance=_repeated(self.distance, 0, conditions),
        )


def _repeated(values: npt.NDArray[np.float64], axis: int, count: int) -> npt.NDArray[np.float64]:
    shape = list(values.shape)
    shape[axis] = count
    return np.broadcast_to(values, shape)


def choose(samples: SampleSet, count: int, seed: int, protocol: str = "test2k") -> SampleSet:
    """Return ``count`` samples with an active and an inactive AU, spread over the AU counts.

    Raises:
        AubenchError: There are not so many.
    """
    active = samples.labels().sum(1)
    rows = np.nonzero((active > 0) & (active < len(AUS)))[0]
    if not MINIMUM <= count <= len(rows):
        raise AubenchError(
            f"--samples {count}: {protocol} has {len(rows)} faces with an active AU",
            f"ask for {MINIMUM} to {len(rows)}"
            if len(rows) >= MINIMUM
            else f"an audit takes {MINIMUM} or more",
        )
    mixed = np.random.default_rng(seed).permutation(rows)
    ordered = mixed[np.argsort(active[mixed], kind="stable")]
    every = (np.arange(count) + 0.5) * len(rows) / count
    return samples.subset(np.sort(ordered[every.astype(int)]))


def corrupted(samples: SampleSet, plan: AuditPlan) -> npt.NDArray[np.float32]:
    """Return the intensities of every condition, float32 [C, N, 12].

    Without ``weaken`` among the kinds an AU is there or not, and has the full intensity.
    """
    ids, graded = samples.ids, "weaken" in plan.kinds
    values = samples.intensities() if graded else samples.labels().astype(np.float32) * FULL
    parts = [corruptions(values, ids, kind, plan.levels, plan.seed)[1:] for kind in plan.kinds]
    found = np.concatenate([values[None], *parts])
    return found if graded else np.where(found > 0, np.float32(FULL), np.float32(0))


def keys_of(source: Dataset, samples: SampleSet, shown: npt.NDArray[np.float32]) -> list[list[str]]:
    """Return the image keys of each condition: same subject, same scene, other AUs."""
    targets = [str(key) for key in samples.frame["target"]]
    return [
        [str(source.key_with(key, row)) for key, row in zip(targets, rows, strict=True)]
        for rows in shown
    ]


def texts_of(samples: SampleSet, asked: npt.NDArray[np.float32]) -> list[list[str]]:
    """Return our texts of the commands of each condition."""
    from aubench.facs.describe import describe

    seeds = [int(seed) for seed in samples.frame["seed"]]
    return [
        [
            describe(parse_aus(combination_name(row > 0)), seed=seed).text
            for row, seed in zip(rows, seeds, strict=True)
        ]
        for rows in asked
    ]


def observe(plan: AuditPlan) -> Observed:
    """Show or command every condition and read it; what was seen before is read from the cache.

    Raises:
        AubenchError: Unknown data set, protocol or detector, too few or too many samples.
    """
    from aubench.datasets.registry import find_dataset
    from aubench.networks.detectors import load_detectors

    source = find_dataset(plan.data)
    protocol = load_protocol(plan.protocol, plan.data)
    samples = choose(protocol.samples(), plan.samples, plan.seed, plan.protocol)
    rendered = source.key_with(str(samples.frame["target"].iloc[0]), [0.0] * len(AUS)) is not None
    plan = replace(plan, kinds=KINDS if rendered else LABEL_KINDS)
    words = plan.detectors or default_networks(plan.data).detectors
    detectors = load_detectors(words)
    if len(detectors) > 2:
        raise AubenchError(f"--detectors {words} are more than two", "name one or two")
    values = corrupted(samples, plan)
    faithful = np.broadcast_to(values[:1], values.shape)
    shown, asked = (values, faithful) if rendered else (faithful, values)
    images = image_source(plan.data)
    keys = keys_of(source, samples, shown) if rendered else [_targets(samples)]
    seen, lost = _see(plan, keys, samples, images, protocol.size, detectors)
    wanted, text = _read(plan, samples, None if rendered else asked)
    witness, its_id = _witness(plan, [d.name for d in detectors], keys, samples, images, protocol)
    return Observed(
        plan=plan,
        samples=samples,
        shown=shown,
        asked=asked,
        seen={name: np.broadcast_to(rows, values.shape) for name, rows in seen.items()},
        wanted=np.broadcast_to(wanted, values.shape),
        thresholds={d.name: d.thresholds for d in detectors},
        ids={**{d.name: d.id for d in detectors}, "text": f"text-{text}", **its_id},
        protocol=protocol,
        images=images.fingerprint,
        masks={d.name: d.mask for d in detectors},
        lost=lost,
        witness=None if witness is None else witness.repeated(len(values)),
        families={d.name: d.family for d in detectors},
    )


def _witness(
    plan: AuditPlan,
    detectors: Sequence[str],
    keys: list[list[str]],
    samples: SampleSet,
    source: ImageSource,
    protocol: Protocol,
) -> tuple[Witnessed | None, dict[str, str]]:
    """Return what the witness sees of the faces of every condition, and its id.

    Nothing without its weights, or where it is one of the detectors.
    """
    from aubench.networks.external_weights import MissingWeightsError
    from aubench.networks.face_landmarker.readers import load_reader

    if WITNESS in detectors:
        return None, {}
    try:
        reader = load_reader(WITNESS)
    except MissingWeightsError:
        return None, {}
    network, references = reader.network, [str(key) for key in samples.frame["reference"]]
    (own,), seen = (
        _looked_at(plan, part, source, protocol.size, [network]) for part in ([references], keys)
    )
    conditions = [arrays[network.name] for arrays in seen]
    return (
        witnessed(reader, own[network.name], conditions, samples.labels()),
        {reader.name: reader.id},
    )


def witnessed(
    reader: Reader, references: Arrays, conditions: Sequence[Arrays], labels: npt.NDArray[np.uint8]
) -> Witnessed:
    """Return readings and motion of faces held against their references.

    Args:
        reader: The witness.
        references: What its network saw in the references.
        conditions: The same of each condition; the first is the faithful one.
        labels: Commanded AUs, uint8 [N, 12].
    """
    from aubench.metrics.faces.motion import distance, gain_sums
    from aubench.metrics.faces.own_points import expressive, own_points
    from aubench.networks.face_landmarker.change import change
    from aubench.networks.face_landmarker.network import geometry_of
    from aubench.networks.inference import readings

    still = readings(reader, references, references)["probabilities"].astype(np.float64)
    neutral = geometry_of(references)
    own = labels.astype(int) @ own_points().astype(int) > 0
    everywhere = np.broadcast_to(expressive(), own.shape)
    moves = [np.nan_to_num(change(geometry_of(one), neutral).points) for one in conditions]
    probabilities = [
        np.clip((readings(reader, one, references)["probabilities"] - still) / (1 - still), 0, 1)
        for one in conditions
    ]
    sums = [gain_sums(made, moves[0], own) for made in moves]
    return Witnessed(
        reader.name,
        np.stack(probabilities),
        reader.mask,
        np.stack([np.stack(side) for side in zip(*sums, strict=True)]),
        np.stack([distance(made, moves[0], everywhere) for made in moves]),
    )


def _targets(samples: SampleSet) -> list[str]:
    return [str(key) for key in samples.frame["target"]]


def _read(
    plan: AuditPlan, samples: SampleSet, asked: npt.NDArray[np.float32] | None
) -> tuple[npt.NDArray[np.float32], str]:
    """Return the AUs of the protocol's texts [1, N, 12], or of our texts of commands [C, N, 12].

    The second value is the id of the classifier.
    """
    from aubench.networks.textau import load_text_au

    classifier = load_text_au(plan.text_au or default_networks(samples.dataset).text_au)
    own = [[str(text) for text in samples.frame["text"]]]
    texts = own if asked is None else texts_of(samples, asked)
    different = sorted({text for row in texts for text in row})
    found = dict(zip(different, classifier.probabilities(different), strict=True))
    return np.stack([[found[text] for text in row] for row in texts]), classifier.id


def _see(
    plan: AuditPlan,
    keys: list[list[str]],
    samples: SampleSet,
    source: ImageSource,
    size: int,
    detectors: Readers,
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, int]]:
    """Return the probabilities of each detector [C, N, 12], cached a condition at a time.

    The second value counts the faces that a detector did not find.
    """
    from aubench.networks.detectors.detector import PairedDetector

    networks: dict[str, Network] = {}
    for one in detectors:
        network = one.network if isinstance(one, PairedDetector) else DetectorNetwork(one)
        networks.setdefault(network.name, network)
    parts = _looked_at(plan, keys, source, size, list(networks.values()))
    paired = [one for one in detectors if isinstance(one, PairedDetector)]
    own: list[dict[str, Arrays]] = []
    if paired:
        shared = list({one.network.name: one.network for one in paired}.values())
        references = [[str(key) for key in samples.frame["reference"]]]
        own = _looked_at(plan, references, source, size, shared)
    seen: dict[str, npt.NDArray[np.float32]] = {}
    lost: dict[str, int] = {}
    for one in detectors:
        rows = [
            readings(one, part[one.network.name], own[0][one.network.name])
            if isinstance(one, PairedDetector)
            else part[one.name]
            for part in parts
        ]
        seen[one.name] = np.stack([arrays["probabilities"] for arrays in rows])
        if "found" in rows[0]:
            lost[one.name] = int(sum((arrays["found"] == 0).sum() for arrays in rows))
    return seen, lost


def _looked_at(
    plan: AuditPlan,
    keys: list[list[str]],
    source: ImageSource,
    size: int,
    networks: list[Network],
) -> list[dict[str, Arrays]]:
    """Return what networks see of each condition's faces."""
    reader = PixelReader(source, size)
    contents = [content_key(source.fingerprint, str(size), *names) for names in keys]
    places = [{n.name: reference_path(content, n) for n in networks} for content in contents]
    missing = [
        names
        for names, place in zip(keys, places, strict=True)
        if not all(path.is_file() for path in place.values())
    ]
    source.prefetch([key for names in missing for key in names], size, "render corrupted faces")
    parts = []
    for i, (names, place) in enumerate(zip(keys, places, strict=True)):
        kind, level = plan.conditions[i]
        parts.append(
            features(
                names,
                reader.load,
                networks,
                place,
                partial(reader.digest, names),
                f"measure {kind} {level}",
            )
        )
    return parts
