"""Images to what the metrics are functions of: features, probabilities, pair distances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aubench.engine.choices import DETECTED, USUAL, Choices
from aubench.engine.choices import FIRST as FIRST
from aubench.engine.choices import SECOND as SECOND
from aubench.engine.commanded import Commanded, commanded
from aubench.engine.features import (
    Arrays,
    cache_path,
    content_key,
    content_of,
    features,
    read_arrays,
    reference_path,
    write_arrays,
)
from aubench.engine.folder import RunFolder
from aubench.engine.pairs import Pairs, Side, compare
from aubench.engine.training import Eye, Memory, memories
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.files import sha256_bytes
from aubench.metrics import blocks
from aubench.metrics.aaad import Constants, constants
from aubench.metrics.extractors import extractor_of, load_extractor
from aubench.metrics.frechet import frechet, gram_frechet_infinity
from aubench.metrics.grams import GRAM_LIMIT, Grams
from aubench.metrics.measure import DetectorNetwork, IdentityNetwork
from aubench.metrics.prdc import Neighbourhoods, gram_neighbourhoods
from aubench.weights import MissingWeightsError

if TYPE_CHECKING:
    from aubench.datasets.samples import ImageSource, SampleSet
    from aubench.generator import GeneratorInfo
    from aubench.protocol import Protocol

EXTRACTED = frozenset({"fid", "kid", "is", "prdc", "memorisation"})
IDENTIFIED, READ, RECALLED = "identity", "legibility", "memorisation"
MINIMUM = 6
"""Fewer images give no distribution to speak of."""


@dataclass(frozen=True)
class References:
    """The distinct reference faces, as the identity network sees them.

    Attributes:
        network: name of the identity network.
        embeddings: float32 [R, D].
        subjects: of each [R].
        rows: the reference of each sample, int64 [N].
    """

    network: str
    embeddings: npt.NDArray[np.float32]
    subjects: list[str]
    rows: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Measured:
    """Everything the metrics are functions of.

    Attributes:
        generated: by network, arrays with a row a generated image.
        targets: by network, arrays with a row a sample.
        kept: rows of the samples that were generated, [K] of N.
        labels: commanded AUs uint8 [N, 12].
        wanted: target distribution of AAAD float32 [N, 12].
        subjects: of the samples [N].
        thresholds: by detector, float32 [12].
        pairs: of the generated images and their targets.
        ref: name of the reference set.
        extractor: id of the extractor, empty where none was asked for.
        tags: id and digest of each network.
        source: ``text`` and its classifier, or ``labels``.
        strata: of the samples [N].
        frozen: AAAD's constants of the protocol, (low, high) by detector id and source.
        missing: why the extractor could not be loaded, empty where it was.
        references: for identity, None where not asked for or not to be had.
        unidentified: why ``references`` is None though asked for, else empty.
        attributes: by attribute of the subjects, the group of each sample [N].
        memory: training faces nearest by ``memorisation``, the extractor, and by ``lookalikes``,
            the identity network; absent where not asked for or not to be had.
        reasons: by metric group, why it cannot be measured though asked for.
        commanded: intensities and their scale, None where not asked for.
        first: name of the detector that a model may have trained on.
        second: name of the independent one.
    """

    generated: dict[str, Arrays]
    targets: dict[str, Arrays]
    kept: npt.NDArray[np.int64]
    labels: npt.NDArray[np.uint8]
    wanted: npt.NDArray[np.float32]
    subjects: list[str]
    thresholds: dict[str, npt.NDArray[np.float32]]
    pairs: Pairs
    ref: str
    extractor: str
    tags: dict[str, str]
    source: str
    strata: list[str]
    frozen: dict[str, tuple[float, float]]
    missing: str
    references: References | None
    unidentified: str
    attributes: dict[str, list[str]]
    memory: dict[str, Memory]
    reasons: dict[str, str]
    commanded: Commanded | None = None
    first: str = FIRST
    second: str = SECOND

    def at(self, network: str, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return an array of the generated images and of all targets."""
        return self.generated[network][name], self.targets[network][name]

    def extracted(self, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return ``features`` or ``logits`` of the extractor, generated images and targets."""
        return self.at(self.extractor.split("|")[0], name)

    @cached_property
    def grams(self) -> Grams:
        """Products of the extractor's features, generated images and targets."""
        return Grams.of(*self.extracted("features"))

    @property
    def many(self) -> bool:
        """Whether there are too many images for matrices with a row and a column an image."""
        return max(map(len, self.extracted("features"))) > GRAM_LIMIT

    @cached_property
    def _frechet(self) -> tuple[float, npt.NDArray[np.float64]]:
        return (blocks.frechet if self.many else frechet)(*self.extracted("features"))

    @cached_property
    def frechet(self) -> float:
        """Fréchet distance of the generated images to the targets."""
        return self._frechet[0]

    @cached_property
    def frechet_limit(self) -> float:
        """The same at infinitely many images."""
        if self.many:
            return blocks.frechet_infinity(*self.extracted("features"))
        return gram_frechet_infinity(self.grams, whole=self.frechet)

    @cached_property
    def frechet_influence(self) -> npt.NDArray[np.float64]:
        """What each generated image adds to the Fréchet distance [K]."""
        return self._frechet[1]

    @cached_property
    def near(self) -> Neighbourhoods:
        """Which generated images and targets lie near each other."""
        if self.many:
            made, real = self.extracted("features")
            return blocks.neighbourhoods(real, made)
        return gram_neighbourhoods(self.grams)

    def scale(self, network: str) -> tuple[Constants, str]:
        """Return AAAD's constants for a detector, and where they come from."""
        frozen = self.frozen.get(f"{self.tags[network].split(' ')[0]}|{self.source}")
        if frozen is not None:
            return Constants(*frozen), "frozen"
        return constants(self.targets[network]["probabilities"], self.wanted), "of these samples"

    def subjects_kept(self) -> list[str]:
        """Return the subjects of the generated samples."""
        return [self.subjects[i] for i in self.kept]

    def paired(self, name: str, worst: float) -> npt.NDArray[np.float64]:
        """Return a value of each sample [N] on pairs, the worst one where the generator failed."""
        out = np.full(len(self.labels), worst, np.float64)
        out[self.kept] = self.pairs.values[name]
        return out

    def whole(self, network: str) -> npt.NDArray[np.float32]:
        """Return probabilities [N, 12] of all samples, zero where the generator failed."""
        out = np.zeros((len(self.labels), len(AUS)), np.float32)
        out[self.kept] = self.generated[network]["probabilities"]
        return out


@dataclass(frozen=True)
class Networks:
    """What looks at the images, and why something that was asked for does not."""

    extractor: Any | None
    detectors: list[DetectorNetwork]
    identity: IdentityNetwork | None
    legibility: Any | None
    missing: dict[str, str]

    def all(self) -> list[Any]:
        """Return those that are there, extractor first."""
        single = (self.extractor, self.identity, self.legibility)
        return [*(n for n in single if n is not None), *self.detectors]

    def eyes(self) -> dict[str, Eye]:
        """Return who is to find training faces."""
        return {
            RECALLED: (self.extractor, "features", self.missing.get("extractor", "")),
            "lookalikes": (self.identity, "embeddings", self.missing.get("identity", "")),
        }


def networks_of(dataset: str, metrics: Sequence[str], device: str, choices: Choices) -> Networks:
    """Load the networks that metrics need, and say why some cannot be had.

    Raises:
        AubenchError: no detectors are set for the data set.
    """
    missing: dict[str, str] = {}
    extractor, identity = None, None
    detectors: list[DetectorNetwork] = []
    if EXTRACTED.intersection(metrics):
        try:
            extractor = load_extractor(choices.extractor or extractor_of(dataset), device)
        except MissingWeightsError as error:
            missing["extractor"] = str(error)
    if DETECTED.intersection(metrics):
        from aubench.detectors import load_detectors

        words = choices.detectors_of(dataset)
        detectors = [DetectorNetwork(found) for found in load_detectors(words, device)]
    if {IDENTIFIED, RECALLED}.intersection(metrics):
        from aubench.identity import identity_of, load_identity

        try:
            identity = IdentityNetwork(load_identity(identity_of(dataset), device))
        except MissingWeightsError as error:
            missing["identity"] = str(error)
    legibility = _legibility(choices, device, missing) if READ in metrics else None
    return Networks(extractor, detectors, identity, legibility, missing)


def _legibility(choices: Choices, device: str, missing: dict[str, str]) -> Any | None:
    if choices.legibility is None:
        missing[READ] = "no vision-language model; name one with --legibility-model"
        return None
    from aubench.metrics.legibility import load_legibility

    try:
        return load_legibility(choices.legibility, device)
    except MissingWeightsError as error:
        missing[READ] = str(error)
        return None


def gather(
    folder: RunFolder,
    samples: SampleSet,
    images: ImageSource,
    protocol: Protocol,
    info: GeneratorInfo,
    metrics: Sequence[str],
    size: int,
    device: str,
    choices: Choices = USUAL,
) -> Measured:
    """Measure what the metrics need, each network once; features are cached.

    Raises:
        AubenchError: too few images.
    """
    frame = samples.frame
    ids = samples.ids
    kept = np.array([i for i, name in enumerate(ids) if name not in folder.failures], np.int64)
    if len(kept) < MINIMUM:
        raise AubenchError(f"only {len(kept)} images to measure", f"ask for at least {MINIMUM}")

    def load_made(names: Sequence[str]) -> npt.NDArray[np.uint8]:
        return np.stack([folder.read(name) for name in names])

    def load_real(keys: Sequence[str]) -> npt.NDArray[np.uint8]:
        return images.load_many(keys, size)

    networks = networks_of(protocol.dataset, metrics, device, choices)
    made = [ids[i] for i in kept]
    paths = {n.name: folder.path / "features" / f"{n.name}.safetensors" for n in networks.all()}
    pixels = folder.digest(made)
    generated = features(made, load_made, networks.all(), paths, pixels, "measure generated")
    keys = [str(key) for key in frame["target"]]
    content = content_of(images, size, samples)
    places = {n.name: reference_path(content, n) for n in networks.all()}
    targets = features(keys, load_real, networks.all(), places, content, "measure targets")
    wanted, source = _wanted(samples, protocol, info, metrics)
    recalled, unknown = memories(
        networks.eyes() if RECALLED in metrics else {}, protocol.dataset, images.fingerprint, size,
        folder.path / "features", (generated, pixels), (targets, content),
    )  # fmt: skip
    neutral = [str(key) for key in frame["reference"]]
    pairs = compare(
        Side(made, load_made),
        Side([keys[k] for k in kept], load_real),
        Side([neutral[k] for k in kept], load_real),
        samples.labels()[kept], metrics, folder.path / "features", pixels + content, size, device,
    )  # fmt: skip
    first, second = [n.name for n in networks.detectors] or (FIRST, SECOND)
    return Measured(
        first=first,
        second=second,
        generated=generated,
        targets=targets,
        kept=kept,
        labels=samples.labels(),
        wanted=wanted,
        subjects=samples.subjects(),
        thresholds={n.name: n.detector.thresholds for n in networks.detectors},
        pairs=pairs,
        ref=f"{protocol.dataset}-{protocol.version}/{protocol.name}",
        extractor=networks.extractor.id if networks.extractor else "",
        tags={n.name: f"{n.id} {n.sha256[:12]}" for n in networks.all()},
        source=source,
        strata=[str(s) for s in frame["strata"]],
        frozen=protocol.constants(),
        missing=networks.missing.get("extractor", ""),
        references=_references(samples, images, networks.identity, size, load_real)
        if IDENTIFIED in metrics
        else None,
        unidentified=networks.missing.get("identity", ""),
        attributes=images.attributes(samples.subjects()) if "groups" in metrics else {},
        memory=recalled,
        reasons=networks.missing | unknown,
        commanded=commanded(samples, protocol, [n.detector for n in networks.detectors], metrics),
    )


def _references(
    samples: SampleSet,
    images: ImageSource,
    network: IdentityNetwork | None,
    size: int,
    load: Callable[[Sequence[str]], npt.NDArray[np.uint8]],
) -> References | None:
    """Return the distinct reference faces as the identity network sees them."""
    if network is None:
        return None
    frame = samples.frame
    keys, first, rows = np.unique(
        frame["reference"].to_numpy(str), return_index=True, return_inverse=True
    )
    names = [str(key) for key in keys]
    content = f"{images.fingerprint}|{size}|references|{sha256_bytes(chr(10).join(names).encode())}"
    places = {network.name: reference_path(content, network)}
    found = features(names, load, [network], places, content, "measure references")
    subjects = [str(s) for s in frame["subject"].iloc[first]]
    return References(network.name, found[network.name]["embeddings"], subjects, rows)


def _wanted(
    samples: SampleSet, protocol: Protocol, info: GeneratorInfo, metrics: Sequence[str]
) -> tuple[npt.NDArray[np.float32], str]:
    """Return what AAAD compares with: the text's AUs, or the labels where no text is read."""
    reads_text = "text" in info.inputs or info.control
    definition = protocol.definition
    # The classifier has read no graded text: it would be scored, not the face.
    by_label = definition.input == "labels" or definition.graded
    if by_label or not reads_text or "aaad" not in metrics:
        return samples.labels().astype(np.float32), "labels"
    return _asked_by_text([str(text) for text in samples.frame["text"]])


def _asked_by_text(texts: list[str]) -> tuple[npt.NDArray[np.float32], str]:
    """Return the AUs that the classifier reads in texts [N, 12], by content, and its name."""
    from aubench.textau import load_text_au, text_au_identity

    id_, digest = text_au_identity()
    key = content_key("texts", digest, sha256_bytes("\0".join(texts).encode()))
    path = cache_path(key)
    found = read_arrays(path, key, len(texts))
    if found is None:
        found = {"probabilities": load_text_au().probabilities(texts)}
        write_arrays(path, key, found)
    return found["probabilities"], f"text-{id_}"
