"""Scores of detected against commanded AUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from aubench.facs import AUS
from aubench.facs.f1 import f1_by_au
from aubench.metrics.metric import SHARE, Metric, Need, ScoreFacts
from aubench.metrics.statistics.groups import SubjectSums, f1_sums, mean_sums
from aubench.metrics.statistics.means import mean_of, row_means
from aubench.metrics.statistics.resampling import bootstrap, bootstrap_mean, interval, resamples

if TYPE_CHECKING:
    from aubench.metrics.evaluation_data import EvaluationData
    from aubench.records.record import ScoreRow

Probabilities = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.integer[Any]]
Vector = npt.NDArray[np.float64]


def auc(p: Probabilities, labels: Labels) -> Vector:
    """Return the area under the ROC curve of each AU [12]; NaN where one class is missing.

    By ranks (Mann and Whitney 1947), equal probabilities at the middle of theirs.

    >>> auc(np.array([[0.1], [0.8], [0.4]]), np.array([[0], [1], [1]], np.uint8)).tolist()
    [1.0]
    """
    return np.array([_rank_auc(p[:, k], labels[:, k] == 1) for k in range(labels.shape[1])])


def _rank_auc(p: npt.NDArray[np.floating[Any]], on: npt.NDArray[np.bool_]) -> float:
    yes = int(on.sum())
    if not 0 < yes < len(on):
        return float("nan")
    _, place, count = np.unique(p, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - (count - 1) / 2
    return float((rank[place[on]].sum() - yes * (yes + 1) / 2) / (yes * (len(on) - yes)))


def average_precision(p: Probabilities, labels: Labels) -> Vector:
    """Return the average precision of each AU [12]; NaN where one class is missing.

    >>> labels = np.array([[0], [1], [1]], np.uint8)
    >>> average_precision(np.array([[0.5], [0.8], [0.4]]), labels).round(4).tolist()
    [0.8333]
    """
    from sklearn.metrics import average_precision_score

    return np.array(
        [
            average_precision_score(labels[:, k], p[:, k])
            if 0 < (labels[:, k] == 1).sum() < len(labels)
            else np.nan
            for k in range(labels.shape[1])
        ]
    )


@dataclass(frozen=True)
class _Ranking:
    """Samples of an AU from the surest on: rows [N], commanded [N], last place of each tie [G]."""

    order: npt.NDArray[np.int64]
    on: npt.NDArray[np.bool_]
    ends: npt.NDArray[np.int64]

    @classmethod
    def of(cls, p: npt.NDArray[np.floating[Any]], on: npt.NDArray[np.bool_]) -> _Ranking:
        order = np.argsort(-p, kind="stable")
        return cls(order, on[order], np.flatnonzero(np.diff(p[order], append=np.nan) != 0))

    def swept(self, weight: Vector) -> tuple[Vector, Vector]:
        """Return the weight of commanded and of other samples down to each tie, [G] both."""
        weights = weight[self.order]
        yes, no = np.where(self.on, weights, 0), np.where(self.on, 0, weights)
        return np.cumsum(yes)[self.ends], np.cumsum(no)[self.ends]


def _replicates(
    p: Probabilities, labels: Labels, draws: Sequence[npt.NDArray[np.int64]]
) -> Iterator[tuple[int, int, Vector, Vector]]:
    """Yield resample, AU, and what ``_Ranking.swept`` gives where both classes were drawn."""
    ranked = [_Ranking.of(p[:, k], labels[:, k] == 1) for k in range(labels.shape[1])]
    for i, rows in enumerate(draws):
        weight = np.bincount(rows, minlength=len(p)).astype(np.float64)
        for k, ranking in enumerate(ranked):
            yes, no = ranking.swept(weight)
            if len(yes) and yes[-1] > 0 and no[-1] > 0:
                yield i, k, yes, no


def auc_replicates(
    p: Probabilities, labels: Labels, draws: Sequence[npt.NDArray[np.int64]]
) -> Vector:
    """Return ``auc`` of each resample of the rows, [R, 12]; a drawn row counts as a weight.

    Args:
        p: Probabilities [N, 12].
        labels: Commanded AUs [N, 12].
        draws: R arrays of row indices, from ``resampling.resamples``.
    """
    out = np.full((len(draws), labels.shape[1]), np.nan)
    for i, k, yes, no in _replicates(p, labels, draws):
        above = yes - np.diff(yes, prepend=0) / 2  # commanded samples above each tie, half inside
        out[i, k] = np.diff(no, prepend=0) @ above / (yes[-1] * no[-1])
    return out


def precision_replicates(
    p: Probabilities, labels: Labels, draws: Sequence[npt.NDArray[np.int64]]
) -> Vector:
    """Return ``average_precision`` of each resample, as ``auc_replicates`` does of ``auc``."""
    out = np.full((len(draws), labels.shape[1]), np.nan)
    for i, k, yes, no in _replicates(p, labels, draws):
        total = yes + no
        precision = np.divide(yes, total, out=np.zeros(len(yes)), where=total > 0)
        out[i, k] = np.diff(yes, prepend=0) @ precision / yes[-1]
    return out


def leakage_matrix(found: npt.NDArray[np.bool_], labels: Labels) -> npt.NDArray[np.float64]:
    """Return how often AU j is found where AU i is commanded and j is not: float64 [12, 12].

    The diagonal holds how often a commanded AU is found. NaN where no sample asks for it. Real
    faces leak too, through the detector and through what muscles do to each other: compare with
    the matrix of the targets.

    >>> found = np.array([[True, True], [False, True]])
    >>> leakage_matrix(found, np.array([[1, 0], [0, 1]], np.uint8)).tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """
    on, off = (labels == 1).astype(np.float64), (labels == 0).astype(np.float64)
    seen = found.astype(np.float64)
    asked, hit = on.T @ off, on.T @ (seen * off)
    diagonal = np.arange(labels.shape[1])
    asked[diagonal, diagonal], hit[diagonal, diagonal] = on.sum(0), (on * seen).sum(0)
    return np.asarray(np.divide(hit, asked, out=np.full(hit.shape, np.nan), where=asked > 0))


def off_target(found: npt.NDArray[np.bool_], labels: Labels) -> Vector:
    """Return for each sample [N] the share of AUs not commanded that were found all the same.

    >>> found = np.array([[True, True, False]])
    >>> off_target(found, np.array([[1, 0, 0]], np.uint8)).tolist()
    [0.5]
    """
    quiet = labels == 0
    return np.asarray((found & quiet).sum(1) / np.maximum(quiet.sum(1), 1), np.float64)


def icc(measured: Vector, target: Vector) -> float:
    """Return ICC(3,1), consistency of two raters [N]; NaN for fewer than two rows or no spread.

    >>> low = np.array([1.0, 2.0, 3.0])
    >>> round(icc(low, low + 1), 6)  # an offset costs nothing
    1.0
    """
    table = np.stack([np.asarray(measured, float), np.asarray(target, float)], 1)
    n, k = table.shape
    if n < 2 or not np.ptp(table, axis=0).any():  # rounding would look like a spread
        return float("nan")
    rows, columns, grand = table.mean(1), table.mean(0), table.mean()
    between = k * ((rows - grand) ** 2).sum() / (n - 1)
    rest = ((table - rows[:, None] - columns[None] + grand) ** 2).sum() / ((n - 1) * (k - 1))
    total = between + (k - 1) * rest
    return float((between - rest) / total) if total > 0 else float("nan")


PER_AU = "au_f1_"
"""Start of the names of the scores of single AUs."""


class AuScores(Metric):
    """F1 and AUC of commanded AUs and the share of others found, by the independent detector.

    F1 and AUC stand beside them by the witness, over the AUs that it knows.
    """

    name = "au"
    order = 60
    needs: ClassVar[frozenset[Need]] = frozenset({Need.DETECTORS})
    paper = True
    scores: ClassVar[Mapping[str, ScoreFacts]] = {
        "au_f1": ScoreFacts("AU F1", True, headline=True, bounds=SHARE),
        "au_auc": ScoreFacts("AU AUC", True, bounds=SHARE),
        "off_target": ScoreFacts("off-target AUs", False, failed_value=1.0, bounds=SHARE),
        "f1_witness": ScoreFacts("AU F1, witness", True, headline=True, bounds=SHARE),
        "auc_witness": ScoreFacts("AU AUC, witness", True, bounds=SHARE),
        **{f"{PER_AU}{au}": ScoreFacts(f"F1 of AU{au}", True, bounds=SHARE) for au in AUS},
    }

    def score(self, data: EvaluationData) -> list[ScoreRow]:
        """Return the means over AUs by both, and F1 of each AU by the independent detector."""
        reason = data.lacks_detector()
        if reason is not None:
            return self.without_value(data, reason, ("au_f1", "au_auc", "off_target"))
        judge = data.independent_detector
        n, id_ = len(data.judged(judge)), commanded_id(data, judge)
        leak, note = off_target_shares(data), data.detector_note(judge)
        rows = self._means(data, judge, ("au_f1", "au_auc"), note)
        rows.append(
            self.row(
                "off_target",
                f"off-target|{id_}",
                mean_of(leak),
                n,
                ci=bootstrap_mean(leak[np.isfinite(leak)], data.judged(judge).subjects),
            )
        )
        names = ("f1_witness", "auc_witness")
        if data.witness:
            rows += self._means(data, data.witness, names, data.detector_note(data.witness))
        elif "witness" in data.unavailable:
            rows += self.without_value(data, data.unavailable["witness"], names)
        per_au = f1_by_au(data.judged(judge).found, data.judged(judge).labels)
        return rows + [
            self.row(f"{PER_AU}{au}", f"f1-AU{au}|{id_}", float(value), n)
            for au, value in zip(AUS, per_au, strict=True)
        ]

    def _means(
        self, data: EvaluationData, judge: str, names: tuple[str, str], note: str
    ) -> list[ScoreRow]:
        """Return mean F1 and AUC over the AUs that a detector knows."""
        judged, id_ = data.judged(judge), commanded_id(data, judge)
        ceiling = mean_of(f1_by_au(judged.found_in_targets, judged.labels))

        def mean_f1(rows: npt.NDArray[np.int64]) -> float:
            return mean_of(f1_by_au(judged.found[rows], judged.labels[rows]))

        return [
            self.row(
                names[0],
                f"f1|{id_}",
                mean_f1(np.arange(len(judged))),
                len(judged),
                ci=bootstrap(mean_f1, judged.subjects, count=200),
                note="; ".join(filter(None, (f"targets reach {ceiling:.3f}", note))),
            ),
            self.row(
                names[1],
                f"auc|{id_}",
                mean_of(auc(judged.probabilities, judged.labels)),
                len(judged),
                ci=ranked_interval(data, judge, auc_replicates),
            ),
        ]

    def per_sample(self, data: EvaluationData) -> Mapping[str, Vector]:
        """Return the share of AUs found though not commanded."""
        return {} if data.lacks_detector() else {"off_target": off_target_shares(data)}

    def subject_sums(self, data: EvaluationData) -> Mapping[str, SubjectSums]:
        """Return F1, which is no mean over samples, beside the share."""
        if data.lacks_detector():
            return {}
        out = {}
        for name, judge in (("au_f1", data.independent_detector), ("f1_witness", data.witness)):
            if judge:
                judged = data.judged(judge)
                out[name] = f1_sums(judged.found, judged.labels, judged.subjects)
        judged, leak = data.judged(data.independent_detector), off_target_shares(data)
        return out | {"off_target": mean_sums(leak[judged.rows], judged.subjects)}

    def strata(self, data: EvaluationData) -> Mapping[str, list[ScoreRow]]:
        """Return F1 in each stratum; an AU that the stratum never asks for has none."""
        out: dict[str, list[ScoreRow]] = {}
        if data.lacks_detector():
            return out
        found, labels = (
            data.detected(data.independent_detector),
            data.labels_for(data.independent_detector),
        )
        for name, rows in strata_of(data).items():
            asked = (labels[rows] == 1).any(0)
            value = mean_of(f1_by_au(found[rows], labels[rows])[asked])
            id_ = f"f1-of-commanded/{name}|ref={data.reference_set}|n={len(rows)}"
            out[name] = [self.row("au_f1", id_, value, len(rows))]
        return out


def commanded_id(data: EvaluationData, judge: str) -> str:
    """Return the part of a metric id that names a detector and the samples."""
    return f"{data.network_id(judge)}|commanded|n={len(data.readable_rows(judge))}"


def strata_of(data: EvaluationData) -> dict[str, npt.NDArray[np.int64]]:
    """Return the rows of each stratum of the protocol; nothing where it has only one."""
    names = sorted(set(data.strata))
    if len(names) < 2:
        return {}
    strata = np.asarray(data.strata)
    return {name: np.flatnonzero(strata == name) for name in names}


def ranked_interval(
    data: EvaluationData, judge: str, replicates: Callable[..., Vector]
) -> tuple[float, float] | None:
    """Return the interval by subject of a mean over AUs of scores of a detector's order.

    None of one subject.
    """
    judged = data.judged(judge)
    if len(set(judged.subjects)) < 2:
        return None
    draws = resamples(judged.subjects, 200)
    return interval(row_means(replicates(judged.probabilities, judged.labels, draws)))


def off_target_shares(data: EvaluationData) -> Vector:
    """Return the share of AUs found though not commanded [N], of those that the detector knows.

    1 where the generator failed, NaN where the detector cannot judge.
    """
    judged = data.judged(data.independent_detector)
    leak = off_target(judged.found, judged.labels)
    leak[judged.failed] = 1  # a failed sample is no clean face
    out = np.full(len(data), np.nan)
    out[judged.rows] = leak
    return out
