"""Identity: cosine to the reference face, and verification at FAR 1 % against strangers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aubench.identity.verification import acceptance, equal_error_rate, threshold

__all__ = ["FAR", "Verification", "cosine", "equal_error_rate", "strangers", "verification"]

Vectors = npt.NDArray[np.floating]
Vector = npt.NDArray[np.float64]

FAR = 0.01
"""False acceptance rate of the verification rate."""


@dataclass(frozen=True)
class Verification:
    """Share of pairs that pass for one person.

    Attributes:
        rate: 0..1, or NaN.
        threshold: cosine above which a pair is accepted, or NaN.
        strangers: pairs of strangers that set it.
        reason: why ``rate`` is NaN, else None.
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
        ValueError: shapes differ or are not [N, D].
    """
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(f"want two arrays [N, D], got {first.shape} and {second.shape}")
    return np.asarray(np.clip((_unit(first) * _unit(second)).sum(1), -1, 1))


def strangers(references: Vectors, subjects: Sequence[str]) -> Vector:
    """Return cosines of all pairs of references whose subjects differ, [P].

    Args:
        references: embeddings [N, D], each reference once.
        subjects: of each.

    Raises:
        ValueError: lengths differ, or an embedding is zero or not finite.
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
        cosines: of generated images to their references, [N].
        others: of pairs of strangers, [P].
        far: share of strangers that may be accepted.

    Raises:
        ValueError: ``far`` is out of range or a cosine is not finite.
    """
    count, at = np.size(others), threshold(others, far)
    if np.isnan(at):
        reason = f"{count} pairs of strangers, FAR {far:.0%} needs {int(np.ceil(1 / far))}"
        return Verification(float("nan"), at, count, reason)
    if not np.size(cosines):
        return Verification(float("nan"), at, count, "no pairs")
    return Verification(acceptance(cosines, at), at, count)
