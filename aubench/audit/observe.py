"""The faces of an audit: chosen, corrupted, rendered, and seen by the detectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aubench.audit.corrupt import KINDS, corruptions
from aubench.datasets import image_source
from aubench.engine.features import content_key, features, read_arrays, reference_path
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.metrics.measure import DetectorNetwork
from aubench.protocol import Protocol, load_protocol
from aubench.synfacs.keys import format_key, parse_key

if TYPE_CHECKING:
    from aubench.datasets.samples import ImageSource, SampleSet

DATASET, PROTOCOL = "synfacs", "test2k"
DETECTORS = ("nano-a", "nano-b")
MINIMUM = 8
"""Fewer faces give neither constants nor intervals."""


@dataclass(frozen=True)
class Plan:
    """What an audit is asked to do.

    Attributes:
        samples: faces, spread over the numbers of active AUs.
        levels: corrupted levels of each kind.
        seed: which faces, and which AUs are corrupted in which order.
        detector: the first detector, whose AAAD is the headline; the other stands beside it.
    """

    samples: int = 200
    levels: int = 6
    seed: int = 0
    detector: str = DETECTORS[0]

    @property
    def second(self) -> str:
        """The other detector."""
        return next(name for name in DETECTORS if name != self.detector)

    @property
    def conditions(self) -> list[tuple[str, int]]:
        """Return (kind, level) of every condition; the first is the faithful one."""
        rest = [(kind, level) for kind in KINDS for level in range(1, self.levels + 1)]
        return [("faithful", 0), *rest]

    def rows(self, kind: str) -> list[int]:
        """Return the conditions of a kind, the faithful one first; all for ``pooled``."""
        return [
            i for i, (name, _) in enumerate(self.conditions) if kind in ("pooled", name) or i == 0
        ]


@dataclass(frozen=True)
class Observed:
    """What the detectors saw, C conditions of N faces.

    Attributes:
        plan: what was asked for.
        samples: the faces, in the order of the protocol.
        shown: intensities that were rendered, float32 [C, N, 12].
        seen: by detector, probabilities float32 [C, N, 12].
        wanted: AU probabilities of the texts float32 [N, 12].
        thresholds: by detector, float32 [12].
        ids: by detector its id, and ``text``.
        protocol: the protocol.
        renderer: id of the renderer.
    """

    plan: Plan
    samples: SampleSet
    shown: npt.NDArray[np.float32]
    seen: dict[str, npt.NDArray[np.float32]]
    wanted: npt.NDArray[np.float32]
    thresholds: dict[str, npt.NDArray[np.float32]]
    ids: dict[str, str]
    protocol: Protocol
    renderer: str


def choose(samples: SampleSet, count: int, seed: int) -> SampleSet:
    """Return ``count`` samples with an active and an inactive AU, spread over the AU counts.

    Raises:
        AubenchError: there are not so many.
    """
    active = samples.labels().sum(1)
    rows = np.nonzero((active > 0) & (active < len(AUS)))[0]
    if not MINIMUM <= count <= len(rows):
        raise AubenchError(
            f"--samples {count}: {PROTOCOL} has {len(rows)} faces with an active AU",
            f"ask for {MINIMUM} to {len(rows)}",
        )
    mixed = np.random.default_rng(seed).permutation(rows)
    ordered = mixed[np.argsort(active[mixed], kind="stable")]
    every = (np.arange(count) + 0.5) * len(rows) / count
    return samples.subset(np.sort(ordered[every.astype(int)]))


def corrupted(samples: SampleSet, plan: Plan) -> npt.NDArray[np.float32]:
    """Return the intensities of every condition, float32 [C, N, 12]."""
    values, ids = samples.intensities(), samples.ids
    parts = [corruptions(values, ids, kind, plan.levels, plan.seed)[1:] for kind in KINDS]
    return np.concatenate([values[None], *parts])


def keys_of(samples: SampleSet, shown: npt.NDArray[np.float32]) -> list[list[str]]:
    """Return the image keys of each condition: same subject, same scene, other AUs."""
    people = [parse_key(str(key)) for key in samples.frame["target"]]
    return [
        [format_key(who[0], row, who[2]) for who, row in zip(people, rows, strict=True)]
        for rows in shown
    ]


def observe(plan: Plan) -> Observed:
    """Render and measure every condition; what was done before is read from the cache.

    Raises:
        AubenchError: unknown detector, too few or too many samples.
    """
    from aubench.detectors import load_detector
    from aubench.textau import load_text_au

    protocol = load_protocol(PROTOCOL, DATASET)
    samples = choose(protocol.samples(), plan.samples, plan.seed)
    detectors = [load_detector(plan.detector), load_detector(plan.second)]
    shown = corrupted(samples, plan)
    source = image_source(DATASET)
    networks = [DetectorNetwork(detector) for detector in detectors]
    seen = _see(plan, keys_of(samples, shown), source, protocol.size, networks)
    text = load_text_au()
    return Observed(
        plan=plan,
        samples=samples,
        shown=shown,
        seen=seen,
        wanted=text.probabilities(list(samples.frame["text"])),
        thresholds={d.name: d.thresholds for d in detectors},
        ids={**{d.name: d.id for d in detectors}, "text": f"text-{text.id}"},
        protocol=protocol,
        renderer=source.fingerprint,
    )


def _see(
    plan: Plan, keys: list[list[str]], source: ImageSource, size: int, networks: list[Any]
) -> dict[str, npt.NDArray[np.float32]]:
    """Return the probabilities of each detector [C, N, 12], cached a condition at a time."""

    def load(names: Sequence[str]) -> npt.NDArray[np.uint8]:
        return source.load_many(names, size)

    contents = [content_key(source.fingerprint, str(size), *names) for names in keys]
    places = [{n.name: reference_path(content, n) for n in networks} for content in contents]
    missing = [
        names
        for names, content, place in zip(keys, contents, places, strict=True)
        if any(
            read_arrays(place[n.name], content_key(content, n.id, n.sha256), len(names)) is None
            for n in networks
        )
    ]
    source.prefetch([key for names in missing for key in names], size, "render corrupted faces")
    parts: dict[str, list[npt.NDArray[np.float32]]] = {n.name: [] for n in networks}
    for i, (names, content, place) in enumerate(zip(keys, contents, places, strict=True)):
        kind, level = plan.conditions[i]
        found = features(names, load, networks, place, content, f"measure {kind} {level}")
        for name, arrays in found.items():
            parts[name].append(arrays["probabilities"])
    return {name: np.stack(rows) for name, rows in parts.items()}
