"""What readers say of ramps, of controls and of run folders, with intervals by subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.audit.witness.controls import ATTACK, COPY, TARGET, attacked, conditions
from aubench.audit.witness.pictures import LEVELS, Plan, Ramps, Samples, draw_ramps, draw_samples
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.facs.f1 import f1_by_au
from aubench.metrics.action_units.au_scores import auc, auc_replicates
from aubench.metrics.statistics.means import mean_of, row_means
from aubench.metrics.statistics.resampling import bootstrap, interval, resamples
from aubench.networks.detectors import load_detector, load_detectors
from aubench.networks.detectors.detector import Detector, NetworkDetector, PairedDetector
from aubench.networks.network import Arrays
from aubench.progress import bar

Images = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float64]
Number = dict[str, Any]

READERS = "mp-zero,nano-a,nano-b"
ATTACKED = ("nano-a", "nano-b")
CHUNK = 64
PRESENT = 2
"""Level from which a face of a ramp counts as one that shows the AU: B."""


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        plan: What was asked for.
        readers: Id of each reader by name.
        unknown: AUs that each reader does not know.
        ramps: By reader and AU, ``rho``, ``auc`` and ``seen from``; ``curve`` of mean
            probabilities at neutral and A to E.
        controls: By condition and reader, ``gain``, ``auc``, ``f1``.
        transfer: By run folder and reader, ``auc``, ``f1``.
        lost: By reader, pictures in which it found no face, of how many.
        renderer: Id of the renderer.
    """

    plan: Plan
    readers: dict[str, str]
    unknown: dict[str, list[int]]
    ramps: dict[str, dict[str, Number]]
    controls: dict[str, dict[str, Number]]
    transfer: dict[str, dict[str, Number]]
    lost: dict[str, tuple[int, int]]
    renderer: str


@dataclass(frozen=True)
class Reader:
    """A detector of either kind, asked the same way.

    Attributes:
        detector: The detector.
        counts: Pictures without a face, and all; counted on.
        seen: What its network saw in references, by the array they came in.
    """

    detector: Detector | PairedDetector
    counts: list[int] = field(default_factory=lambda: [0, 0])
    seen: dict[int, tuple[Images, Arrays]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the detector."""
        return self.detector.name

    def __call__(
        self, images: Images, references: Images, rows: npt.NDArray[np.integer[Any]] | None = None
    ) -> Probabilities:
        """Return float32 [N, 12]; 0 where there is no face, NaN for AUs that it does not know.

        Args:
            images: uint8 [N, H, W, 3].
            references: uint8 [R, H, W, 3], looked at once for each array.
            rows: Row of each face's reference, int [N]; 0 to N - 1 if None.
        """
        at = np.arange(len(images)) if rows is None else rows
        parts = []
        with bar(len(images), f"read by {self.name}", "img") as progress:
            for start in range(0, len(images), CHUNK):
                here = slice(start, start + CHUNK)
                parts.append(self._read(images[here], references, at[here]))
                progress.update(len(parts[-1]))
        p, known = np.concatenate(parts), self.detector.mask
        found = np.asarray(np.isfinite(p[:, known]).all(1))
        self.counts[0] += int((~found).sum())
        self.counts[1] += len(p)
        p[~found] = 0
        return np.asarray(np.where(known, p, np.nan), np.float32)

    def _read(
        self, images: Images, references: Images, rows: npt.NDArray[np.integer[Any]]
    ) -> Probabilities:
        one = self.detector
        if not isinstance(one, PairedDetector):
            return one.probabilities(images)
        if id(references) not in self.seen:  # the array is kept, so that no other takes its id
            self.seen[id(references)] = references, one.network(references)
        own = {name: array[rows] for name, array in self.seen[id(references)][1].items()}
        return one.compare(one.network(images), own)


def audit_witness(plan: Plan, words: str = READERS, runs: Sequence[Path] = ()) -> Audit:
    """Measure ramps, controls and run folders by every reader.

    Args:
        plan: What is asked for.
        words: Readers, as ``--detectors`` names them; any number.
        runs: Run folders of models, whose images every reader reads.

    Raises:
        MissingWeightsError: Weights of a reader were not fetched.
        AubenchError: An unknown reader, too few people or samples, or a folder that is no run.
    """
    from aubench.synfacs import renderer_id

    plan.check()
    readers = [Reader(one) for one in load_detectors(words)]
    opened = [(path, _run_images(path)) for path in runs]
    ramps, samples = draw_ramps(plan), draw_samples(plan)
    return Audit(
        plan,
        {one.name: one.detector.id for one in readers},
        {one.name: list(one.detector.unknown()) for one in readers},
        {one.name: _ramps(one, ramps) for one in readers},
        _controls(readers, samples, plan.seed),
        {
            str(path): {one.name: _scored(one, *images) for one in readers}
            for path, images in opened
        },
        {one.name: (one.counts[0], one.counts[1]) for one in readers},
        renderer_id(),
    )


def _ramps(reader: Reader, ramps: Ramps) -> dict[str, Number]:
    """Return what a reader sees of each AU alone."""
    people, aus, levels = ramps.faces.shape[:3]
    faces = ramps.faces.reshape(-1, *ramps.faces.shape[3:])
    p = reader(faces, ramps.neutral, np.repeat(np.arange(people), aus * levels))
    p = p.reshape(people, aus, levels, aus)
    return {
        f"AU{au}": _ramp(p, k, float(reader.detector.thresholds[k]))
        for k, au in enumerate(AUS)
        if reader.detector.mask[k]
    }


def _ramp(p: Probabilities, k: int, threshold: float) -> Number:
    """Return the numbers of one AU from probabilities [P, 12, 6, 12] of all ramps."""
    own = p[:, k, :, k].astype(np.float64)
    order = np.array([_rank_correlation(row) for row in own])
    others = np.delete(np.arange(len(AUS)), k)
    # One row a person: the AU from B on, against their other AUs and their neutral face.
    areas = np.array([_area(own[i], p[i, others, :, k]) for i in range(len(p))])
    curve = own.mean(0)
    reached = np.flatnonzero(np.median(own, 0) >= threshold)
    return {
        "rho": _mean(order),
        "auc": _mean(areas),
        "seen from": " ABCDE"[reached[0]].strip() or "neutral" if len(reached) else None,
        "curve": [round(float(v), 4) for v in curve],
    }


def _rank_correlation(values: Vector) -> float:
    from scipy.stats import spearmanr

    if np.ptp(values) < 1e-9:
        return 0.0
    return float(spearmanr(np.arange(len(LEVELS)), values).statistic)


def _area(own: Vector, others: Probabilities) -> float:
    on = own[PRESENT:]
    off = np.concatenate([own[:1], others.reshape(-1).astype(np.float64)])
    above = (on[:, None] > off).mean() + (on[:, None] == off).mean() / 2
    return float(above)


def _mean(values: Vector) -> Number:
    """Return a mean over people and its interval."""
    people = list(range(len(values)))
    ci = bootstrap(lambda rows: float(values[rows].mean()), people, count=1000)
    return {"value": float(values.mean()), "ci": ci}


def _controls(
    readers: Sequence[Reader], samples: Samples, seed: int
) -> dict[str, dict[str, Number]]:
    """Return what readers make of every condition."""
    makers = conditions(samples)
    victims = [one for one in map(load_detector, ATTACKED) if isinstance(one, NetworkDetector)]
    makers[ATTACK] = lambda: attacked(samples, victims, seed)
    read: dict[str, dict[str, Probabilities]] = {}
    for name, make in makers.items():
        images = make()
        read[name] = {one.name: one(images, samples.references) for one in readers}
    return {
        name: {
            one.name: _numbers(p[one.name], samples.labels, samples.subjects, one)
            | {"gain": _gain(p[one.name], read, one.name, samples)}
            for one in readers
        }
        for name, p in read.items()
    }


def _gain(
    p: Probabilities, read: dict[str, dict[str, Probabilities]], reader: str, samples: Samples
) -> Number:
    """Return the gain of commanded AUs over a copy, as a share of what the target gains."""
    low, high = read[COPY][reader], read[TARGET][reader]
    asked = (samples.labels == 1) & np.isfinite(p)

    def share(rows: npt.NDArray[np.int64]) -> float:
        here = asked[rows]
        all_ = float((high[rows] - low[rows])[here].sum())
        return float((p[rows] - low[rows])[here].sum()) / all_ if all_ > 0 else float("nan")

    value = share(np.arange(len(p)))
    return {"value": value, "ci": bootstrap(share, samples.subjects, count=500)}


def _numbers(
    p: Probabilities, labels: npt.NDArray[np.uint8], subjects: Sequence[str], reader: Reader
) -> Number:
    """Return AUC and F1 over the AUs that a reader knows."""
    known = np.where(reader.detector.mask, labels, -1)
    filled = np.nan_to_num(p, nan=0.0)
    found = filled >= reader.detector.thresholds
    draws = resamples(list(subjects), 500)

    def f1(rows: npt.NDArray[np.int64]) -> float:
        return mean_of(f1_by_au(found[rows], known[rows]))

    return {
        "auc": {
            "value": mean_of(auc(filled, known)),
            "ci": interval(row_means(auc_replicates(filled, known, draws))),
        },
        "f1": {"value": f1(np.arange(len(p))), "ci": bootstrap(f1, list(subjects), count=500)},
    }


Run = tuple[Images, Images, npt.NDArray[np.uint8], list[str]]


def _run_images(path: Path) -> Run:
    """Return generated images, references, commanded AUs and subjects of a run folder."""
    from aubench.comparison.runs import open_run

    run = open_run(path)
    rows = [i for i, name in enumerate(run.ids) if name not in run.folder.failures]
    if len(rows) < 2:
        raise AubenchError(f"{path} holds {len(rows)} images", "name a run with more")
    size, images = run.record.protocol.size, run.images()
    keys = [str(run.samples.frame["reference"].iloc[i]) for i in rows]
    made = np.stack([run.folder.read(run.ids[i]) for i in rows])
    subjects = run.samples.subjects()
    return (
        made,
        images.load_many(keys, size),
        run.samples.labels()[rows],
        [subjects[i] for i in rows],
    )


def _scored(
    reader: Reader,
    made: Images,
    references: Images,
    labels: npt.NDArray[np.uint8],
    subjects: list[str],
) -> Number:
    return _numbers(reader(made, references), labels, subjects, reader)
