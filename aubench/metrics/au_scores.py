"""Scores of detected against commanded AUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Probabilities = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float64]


def f1(found: npt.NDArray[np.bool_], labels: Labels) -> Vector:
    """Return F1 of each AU [12]; NaN where the AU was neither commanded nor found."""
    hit = (found & (labels == 1)).sum(0).astype(float)
    total = found.sum(0) + labels.sum(0).astype(float)
    return np.asarray(np.divide(2 * hit, total, out=np.full(len(hit), np.nan), where=total > 0))


def auc(p: Probabilities, labels: Labels) -> Vector:
    """Return the area under the ROC curve of each AU [12]; NaN where one class is missing.

    By ranks (Mann and Whitney 1947), equal probabilities at the middle of theirs.
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
    """Return the average precision of each AU [12]; NaN where one class is missing."""
    from sklearn.metrics import average_precision_score

    return np.array([
        average_precision_score(labels[:, k], p[:, k])
        if 0 < labels[:, k].sum() < len(labels) else np.nan
        for k in range(labels.shape[1])
    ])  # fmt: skip


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
        p: probabilities [N, 12].
        labels: commanded AUs [N, 12].
        draws: R arrays of row indices, from ``bootstrap.resamples``.
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
    """
    on, off = (labels == 1).astype(np.float64), (labels == 0).astype(np.float64)
    seen = found.astype(np.float64)
    asked, hit = on.T @ off, on.T @ (seen * off)
    diagonal = np.arange(labels.shape[1])
    asked[diagonal, diagonal], hit[diagonal, diagonal] = on.sum(0), (on * seen).sum(0)
    return np.asarray(np.divide(hit, asked, out=np.full(hit.shape, np.nan), where=asked > 0))


def mean_of(values: Vector) -> float:
    """Return the mean over the AUs that could be scored, NaN if none could."""
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if len(kept) else float("nan")


def row_means(values: Vector) -> Vector:
    """Return the mean of each row [R, K] over what could be scored, NaN where nothing could."""
    known = np.isfinite(values)
    count = known.sum(1)
    out = np.full(len(count), np.nan)
    total = np.where(known, values, 0).sum(1)
    return np.asarray(np.divide(total, count, out=out, where=count > 0))


def off_target(found: npt.NDArray[np.bool_], labels: Labels) -> Vector:
    """Return for each sample [N] the share of AUs not commanded that were found all the same."""
    quiet = labels == 0
    return np.asarray((found & quiet).sum(1) / np.maximum(quiet.sum(1), 1), np.float64)


def icc(measured: Vector, target: Vector) -> float:
    """Return ICC(3,1), consistency of two raters [N]; NaN for fewer than two rows or no spread."""
    table = np.stack([np.asarray(measured, float), np.asarray(target, float)], 1)
    n, k = table.shape
    if n < 2 or not np.ptp(table, axis=0).any():  # rounding would look like a spread
        return float("nan")
    rows, columns, grand = table.mean(1), table.mean(0), table.mean()
    between = k * ((rows - grand) ** 2).sum() / (n - 1)
    rest = ((table - rows[:, None] - columns[None] + grand) ** 2).sum() / ((n - 1) * (k - 1))
    total = between + (k - 1) * rest
    return float((between - rest) / total) if total > 0 else float("nan")
