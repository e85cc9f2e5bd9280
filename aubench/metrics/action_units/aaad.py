"""AAAD: how well the AUs seen in a face match those its description asks for (paper, F.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from aubench.metrics.action_units.au_scores import strata_of
from aubench.metrics.metric import SHARE, Metric, Need, ScoreFacts
from aubench.metrics.statistics.groups import SubjectSums, mean_sums
from aubench.metrics.statistics.resampling import bootstrap_mean

if TYPE_CHECKING:
    from aubench.metrics.evaluation_data import EvaluationData
    from aubench.records.record import ScoreRow

Probabilities = npt.NDArray[np.floating[Any]]
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Constants:
    """Smallest cosine of shuffled pairs and largest of true pairs of a reference set."""

    low: float
    high: float

    @property
    def coincide(self) -> bool:
        """Whether all pairs are alike, so that nothing can be scaled by them."""
        return self.high <= self.low


def cosines(image: Probabilities, target: Probabilities) -> Vector:
    """Return the cosine of each pair of rows [N, 12], 0..1; zero where a row is all zero.

    NaN where a value is.

    Raises:
        ValueError: Other shapes.

    >>> cosines(np.array([[1.0, 1.0]]), np.array([[1.0, 0.0]])).round(4).tolist()
    [0.7071]
    """
    a, b = np.asarray(image, np.float64), np.asarray(target, np.float64)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"want two arrays of one shape [N, 12], got {a.shape} and {b.shape}")
    norm = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray(np.divide((a * b).sum(1), norm, out=np.zeros(len(a)), where=norm != 0))


def shuffled(count: int, seed: int) -> npt.NDArray[np.int64]:
    """Return a permutation without fixed points, the partners of shuffled pairs."""
    order = np.random.default_rng(seed).permutation(count)
    out = np.empty(count, np.int64)
    out[order] = np.roll(order, 1)
    return out


def comparable(target: Probabilities) -> npt.NDArray[np.int64]:
    """Return the rows of targets [N, 12] that ask for something: a zero vector has no cosine."""
    return np.flatnonzero(np.asarray(target).any(axis=1))


def constants(image: Probabilities, target: Probabilities, *, seed: int = 2020) -> Constants:
    """Return the normaliser of a reference set: ground-truth images and their target AUs.

    Targets that are all zero are left out; NaN where fewer than two are left.

    >>> aus = np.eye(4)
    >>> constants(aus, aus)
    Constants(low=0.0, high=1.0)
    """
    rows = comparable(target)
    if len(rows) < 2:
        return Constants(float("nan"), float("nan"))
    image, target = np.asarray(image)[rows], np.asarray(target)[rows]
    partners = shuffled(len(image), seed)
    low = float(cosines(image, target[partners]).min())
    return Constants(low, float(cosines(image, target).max()))


def aaad(cosine: Vector, scale: Constants) -> float:
    """Return (mean cosine - low) / (high - low); not clipped. NaN of no cosine.

    Raises:
        ValueError: The constants coincide.

    >>> round(aaad(np.array([0.5, 0.9]), Constants(low=0.2, high=1.0)), 6)
    0.625
    """
    if not len(cosine):
        return float("nan")
    if scale.coincide:
        raise ValueError("the reference set gives no range: largest and smallest cosine coincide")
    return float((np.mean(cosine) - scale.low) / (scale.high - scale.low))


ALIKE = "true and shuffled pairs of the reference set have the same cosines"


class AAAD(Metric):
    """AAAD by both detectors and the witness, its ceiling and floor, and raw cosines.

    A detector that does not know all AUs is compared over those that it knows.
    """

    name = "aaad"
    order = 50
    needs: ClassVar[frozenset[Need]] = frozenset({Need.DETECTORS, Need.TEXT_AUS})
    paper = True
    scores: ClassVar[Mapping[str, ScoreFacts]] = {
        "aaad": ScoreFacts("AAAD", True, headline=True, in_paper=True),
        "cosine": ScoreFacts("mean cosine", True, failed_value=0.0, bounds=SHARE),
        "aaad_ceiling": ScoreFacts("AAAD of targets", True),
        "aaad_floor": ScoreFacts("AAAD shuffled", True),
        "aaad_second": ScoreFacts("AAAD, 2nd detector", True, headline=True, in_paper=True),
        "cosine_second": ScoreFacts("mean cosine, 2nd", True, failed_value=0.0, bounds=SHARE),
        "aaad_witness": ScoreFacts("AAAD, witness", True, headline=True),
        "cosine_witness": ScoreFacts("mean cosine, witness", True, failed_value=0.0, bounds=SHARE),
    }

    def score(self, data: EvaluationData) -> list[ScoreRow]:
        """Return the scores by the primary detector, by the independent one, by the witness."""
        out = []
        reason = data.lacks_detector()
        if reason is not None:
            own = [name for name in self.scores if not name.endswith("_witness")]
            out += self.without_value(data, reason, own)
        else:
            out += self._by(data, data.primary_detector, "")
            if data.independent_detector == data.primary_detector:
                out += self.without_value(data, ONE, ("aaad_second",))
            else:
                out += self._by(data, data.independent_detector, "_second")
        if data.witness:
            return out + self._by(data, data.witness, "_witness")
        if "witness" in data.unavailable:
            names = ("aaad_witness", "cosine_witness")
            out += self.without_value(data, data.unavailable["witness"], names)
        return out

    def _by(self, data: EvaluationData, network: str, tail: str) -> list[ScoreRow]:
        """Return the scores by one detector; of the primary one also ceiling and floor."""
        wanted, readable = wanted_of(data, network), data.readable_rows(network)
        rows = np.intersect1d(comparable(wanted), readable)
        n, quiet = len(rows), len(readable) - len(rows)
        wanted, subjects = wanted[rows], [data.subjects[i] for i in rows]
        truth = data.targets[network]["probabilities"][rows]
        scale, origin = normaliser(data, network)
        about = (
            f"{data.network_id(network)}|target={data.target_source}|ref={data.reference_set}|n={n}"
        )
        if n < 2 or scale.coincide:
            note = _quiet(quiet) if n < 2 else ALIKE
            return [self.row(f"aaad{tail}", f"aaad|{about}", None, n, note=note)]
        cosine = cosines(data.probabilities(network)[rows], wanted)
        note = f"low {scale.low:.4f}, high {scale.high:.4f}, {origin}"
        if quiet:
            note += f"; {_quiet(quiet)}"
        about_detector = data.detector_note(network)
        if about_detector:
            note += f"; {about_detector}"
        out = [
            self.row(
                f"aaad{tail}",
                f"aaad|{about}",
                aaad(cosine, scale),
                n,
                note=note,
                ci=bootstrap_mean(scaled_cosines(data, network)[rows], subjects),
            ),
            self.row(
                f"cosine{tail}",
                f"cosine|{about}",
                float(cosine.mean()),
                n,
                ci=bootstrap_mean(cosine, subjects),
            ),
        ]
        if not tail:
            ceiling = aaad(cosines(truth, wanted), scale)
            floor = aaad(cosines(truth, wanted[shuffled(n, 2020)]), scale)
            out += [
                self.row("aaad_ceiling", f"aaad-of-targets|{about}", ceiling, n),
                self.row("aaad_floor", f"aaad-of-shuffled-targets|{about}", floor, n),
            ]
        return out

    def per_sample(self, data: EvaluationData) -> Mapping[str, Vector]:
        """Return AAAD of each sample by both detectors and the witness."""
        return {name: scaled_cosines(data, judge) for name, judge in _judges(data).items()}

    def subject_sums(self, data: EvaluationData) -> Mapping[str, SubjectSums]:
        """Return the same of the samples that ask for an AU, also where none has a value."""
        out = {}
        for name, judge in _judges(data).items():
            asking = comparable(wanted_of(data, judge))
            rows = np.intersect1d(asking, data.readable_rows(judge))
            subjects = [data.subjects[i] for i in rows]
            out[name] = mean_sums(scaled_cosines(data, judge)[rows], subjects)
        return out

    def strata(self, data: EvaluationData) -> Mapping[str, list[ScoreRow]]:
        """Return AAAD by the primary detector in each stratum."""
        out: dict[str, list[ScoreRow]] = {}
        if data.lacks_detector():
            return out
        judge = data.primary_detector
        scale, _ = normaliser(data, judge)
        wanted = wanted_of(data, judge)
        cosine = cosines(data.probabilities(judge), wanted)
        for name, every in strata_of(data).items():
            rows = np.intersect1d(every, data.readable_rows(judge))
            asking = rows[wanted[rows].any(1)]  # a sample that asks for no AU has no cosine
            value = None if scale.coincide else aaad(cosine[asking], scale)
            id_ = f"aaad/{name}|ref={data.reference_set}|n={len(rows)}"
            note = ALIKE if scale.coincide else ""
            out[name] = [self.row("aaad", id_, value, len(asking), note=note)]
        return out


ONE = "one detector; a second of another kind is recommended: --detectors A,B"


SCORES = {"first": "aaad", "second": "aaad_second", "witness": "aaad_witness"}
"""AAAD by each reader."""


def _judges(data: EvaluationData) -> dict[str, str]:
    """Return the detector behind each AAAD that can be computed."""
    return {SCORES[tail]: reader for tail, reader in data.readers().items()}


def wanted_of(data: EvaluationData, network: str) -> npt.NDArray[np.float32]:
    """Return what AAAD compares with [N, 12], 0 for AUs that a detector does not know."""
    known = data.knows(network)
    wanted = data.target_au_probabilities
    return wanted if known.all() else np.where(known, wanted, np.float32(0))


def normaliser(data: EvaluationData, network: str) -> tuple[Constants, str]:
    """Return AAAD's constants for a detector, and where they come from."""
    frozen = data.aaad_constants.get(f"{data.network_id(network)}|{data.target_source}")
    if frozen is not None:
        return Constants(*frozen), "frozen"
    rows = data.readable_rows(network)
    truth, wanted = data.targets[network]["probabilities"][rows], wanted_of(data, network)[rows]
    return constants(truth, wanted), "of these samples"


def scaled_cosines(data: EvaluationData, network: str) -> Vector:
    """Return AAAD of each sample [N], whose mean is the run's; NaN where no AU is asked for.

    All NaN where the constants coincide.
    """
    wanted = wanted_of(data, network)
    scale, _ = normaliser(data, network)
    out = np.full(len(wanted), np.nan)
    if scale.coincide:
        return out
    rows = np.intersect1d(comparable(wanted), data.readable_rows(network))
    cosine = cosines(data.probabilities(network)[rows], wanted[rows])
    out[rows] = (cosine - scale.low) / (scale.high - scale.low)
    return out


def _quiet(count: int) -> str:
    return f"{count} samples that ask for no AU have no cosine and are left out"
