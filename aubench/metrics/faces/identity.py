"""Identity: cosine to the reference face, and verification at FAR 1 % against strangers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from aubench.metrics.metric import CORRELATION, SHARE, Metric, Need, ScoreFacts, Tolerance
from aubench.metrics.statistics.resampling import bootstrap_mean
from aubench.networks.identity.verification import acceptance, equal_error_rate, threshold

if TYPE_CHECKING:
    from aubench.metrics.evaluation_data import EvaluationData
    from aubench.records.record import ScoreRow

__all__ = [
    "FAR",
    "Identity",
    "Verification",
    "cosine",
    "equal_error_rate",
    "strangers",
    "verification",
]

Vectors = npt.NDArray[np.floating]
Vector = npt.NDArray[np.float64]

FAR = 0.01
"""False acceptance rate of the verification rate."""


@dataclass(frozen=True)
class Verification:
    """Share of pairs that pass for one person.

    Attributes:
        rate: 0..1, or NaN.
        threshold: Cosine above which a pair is accepted, or NaN.
        strangers: Pairs of strangers that set it.
        reason: Why ``rate`` is NaN, else None.
    """

    rate: float
    threshold: float
    strangers: int
    reason: str | None = None


def _unit(vectors: Vectors) -> Vector:
    wide = np.asarray(vectors, np.float64)
    length = np.linalg.norm(wide, axis=-1, keepdims=True)
    return np.asarray(np.divide(wide, length, out=np.full_like(wide, np.nan), where=length > 0))


def cosine(first: Vectors, second: Vectors) -> Vector:
    """Return the cosine of each pair of embeddings, [N], -1..1; NaN where a vector is zero.

    Args:
        first: [N, D].
        second: [N, D].

    Raises:
        ValueError: Shapes differ or are not [N, D].

    >>> cosine(np.array([[1.0, 0.0]]), np.array([[1.0, 1.0]])).round(4).tolist()
    [0.7071]
    """
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(f"want two arrays [N, D], got {first.shape} and {second.shape}")
    return np.asarray(np.clip((_unit(first) * _unit(second)).sum(1), -1, 1))


def strangers(references: Vectors, subjects: Sequence[str]) -> Vector:
    """Return cosines of all pairs of references whose subjects differ, [P].

    Args:
        references: Embeddings [N, D], each reference once.
        subjects: Subjects of each.

    Raises:
        ValueError: Lengths differ, or an embedding is zero or not finite.

    >>> strangers(np.eye(3), ["A", "A", "B"]).tolist()
    [0.0, 0.0]
    """
    if references.ndim != 2 or len(references) != len(subjects):
        raise ValueError(f"{len(subjects)} subjects for references {references.shape}")
    unit, (_, who) = _unit(references), np.unique(np.asarray(subjects), return_inverse=True)
    if not np.isfinite(unit).all():
        raise ValueError("an embedding of a reference is zero or not finite")
    i, j = np.triu_indices(len(unit), 1)
    apart = who[i] != who[j]
    return np.asarray((unit @ unit.T)[i[apart], j[apart]])


def verification(cosines: npt.ArrayLike, others: npt.ArrayLike, far: float = FAR) -> Verification:
    """Return the share of pairs whose cosine is above the threshold that strangers set.

    Args:
        cosines: Cosines of generated images to their references, [N].
        others: Others of pairs of strangers, [P].
        far: Share of strangers that may be accepted.

    Raises:
        ValueError: ``far`` is out of range or a cosine is not finite.

    >>> found = verification([0.9, 0.1], np.linspace(-0.5, 0.5, 200))
    >>> found.rate, found.strangers
    (0.5, 200)
    """
    count, at = np.size(others), threshold(others, far)
    if np.isnan(at):
        reason = f"{count} pairs of strangers, FAR {far:.0%} needs {int(np.ceil(1 / far))}"
        return Verification(float("nan"), at, count, reason)
    if not np.size(cosines):
        return Verification(float("nan"), at, count, "no pairs")
    return Verification(acceptance(cosines, at), at, count)


class Identity(Metric):
    """Is it still the person of the reference face?"""

    name = "identity"
    quick = True
    order = 110
    needs: ClassVar[frozenset[Need]] = frozenset({Need.IDENTITY, Need.REFERENCE_FACES})
    scores: ClassVar[Mapping[str, ScoreFacts]] = {
        "identity": ScoreFacts("identity cosine", True, failed_value=0.0, bounds=CORRELATION),
        "verification": ScoreFacts(
            "verification at FAR 1 %",
            True,
            tolerance=Tolerance(0, 2e-3, counted=True),
            bounds=SHARE,
        ),
    }

    def score(self, data: EvaluationData) -> list[ScoreRow]:
        """Return the mean cosine to the reference, and the verification rate at FAR 1 %."""
        found, n = data.references, len(data)
        if found is None:
            return self.without_value(data, data.unavailable.get("identity", ""))
        id_ = f"{data.network_id(found.network)}|to=reference|n={n}"
        likeness = identity_cosines(data)
        truth = cosine(data.targets[found.network]["embeddings"], found.embeddings[found.rows])
        others = strangers(found.embeddings, found.subjects)
        passed = verification(likeness, others)
        accepted = (likeness > passed.threshold).astype(np.float64)
        reached = [f"targets reach {truth.mean():.3f}", self.failed_note(data, "identity")]
        note = passed.reason or (
            f"threshold {passed.threshold:.3f} of {passed.strangers} strangers, "
            f"targets reach {verification(truth, others).rate:.3f}"
        )
        return [
            self.row(
                "identity",
                f"cosine|{id_}",
                float(likeness.mean()),
                n,
                ci=bootstrap_mean(likeness, data.subjects),
                note=", ".join(word for word in reached if word),
            ),
            self.row(
                "verification",
                f"verification|far=0.01|{id_}",
                passed.rate,
                n,
                note=note,
                ci=None if passed.reason else bootstrap_mean(accepted, data.subjects),
            ),
        ]

    def per_sample(self, data: EvaluationData) -> Mapping[str, Vector]:
        """Return the cosine of each sample to its reference."""
        return {} if data.references is None else {"identity": identity_cosines(data)}


def identity_cosines(data: EvaluationData) -> Vector:
    """Return the cosine of each sample to its reference [N]; 0 where the generator failed."""
    found = data.references
    assert found is not None
    rows = found.rows[data.generated_rows]
    values = cosine(data.generated[found.network]["embeddings"], found.embeddings[rows])
    return data.spread(values, 0.0)
