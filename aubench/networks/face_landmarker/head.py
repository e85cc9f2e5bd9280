"""A small head from the change of a face's geometry to the twelve AUs: ridge, then logistic."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.networks.face_landmarker.change import Change
from aubench.networks.face_landmarker.names import BLENDSHAPES
from aubench.storage.files import atomic_path, read_card, sha256_file, write_text

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer[Any]]

UNKNOWN = -1
FOLDS = 5
PENALTIES = tuple(float(p) for p in 10.0 ** np.arange(-1, 5.5, 0.5))
"""Ridge penalties that are tried, for features of unit mean square."""

TENSORS = ("weight", "bias", "slope", "offset", "thresholds", "mask")
FEATURES = "points minus reference (similarity in space, 478 x 2) and 52 blendshape differences"


@dataclass(frozen=True)
class GeometryHead:
    """Linear scores of a change, and probabilities from them.

    Attributes:
        weight: float32 [12, F], of the features of ``Change.features``.
        bias: float32 [12]; a score is about the target it was fitted to, 0..1.
        slope: float32 [12], of the logit by the score.
        offset: float32 [12], of the logit.
        thresholds: float32 [12], the probability from which an AU counts as present.
        mask: bool [12], the AUs that could be fitted.
        card: what it was fitted on and how well it does.
    """

    weight: Floats
    bias: Floats
    slope: Floats
    offset: Floats
    thresholds: Floats
    mask: npt.NDArray[np.bool_]
    card: dict[str, Any] = field(default_factory=dict)

    def scores(self, moved: Change) -> Floats:
        """Return scores float32 [N, 12]; NaN where a face or an AU is unknown."""
        # One by one: a product's last bit depends on how many rows it has.
        rows = [(self.weight * row).sum(1, dtype=np.float64) for row in moved.features()]
        out = np.array(rows, np.float32).reshape(-1, len(AUS)) + self.bias
        known = self.mask & moved.found[:, None]
        return np.asarray(np.where(known, out, np.nan), np.float32)

    def probabilities(self, moved: Change) -> Floats:
        """Return probabilities float32 [N, 12]; NaN where a face or an AU is unknown."""
        logit = self.slope * self.scores(moved).astype(np.float64) + self.offset
        return np.asarray(1 / (1 + np.exp(-logit)), np.float32)

    @classmethod
    def fit(
        cls,
        moved: Change,
        labels: Labels,
        subjects: npt.NDArray[np.str_],
        intensities: npt.NDArray[np.floating[Any]] | None = None,
    ) -> GeometryHead:
        """Fit a head; penalty, logistic and thresholds by predictions for subjects held out.

        Pairs without a face are left out. An AU that lacks one of the two classes, or that the
        held-out predictions do not rank the right way, is masked.

        Args:
            moved: the change of N faces.
            labels: int [N, 12], 1, 0, or -1 for unknown.
            subjects: who is seen, [N].
            intensities: float [N, 12] in 0..5, to be fitted instead of labels where they are known.

        Raises:
            AubenchError: fewer than five subjects, or no AU with both classes.
        """
        rows = np.flatnonzero(moved.found)
        people = np.unique(np.asarray(subjects)[rows])
        if len(people) < FOLDS:
            what = f"a head needs faces of {FOLDS} subjects, {len(people)} have any"
            raise AubenchError(what, "give more subjects")
        fold = np.searchsorted(people, np.asarray(subjects)[rows]) % FOLDS
        z, known = moved.features()[rows].astype(np.float64), np.asarray(labels)[rows]
        targets = known.astype(np.float64)
        if intensities is not None:
            targets = np.where(known != UNKNOWN, np.asarray(intensities)[rows] / 5, np.nan)
        parts = [_fit_au(z, known[:, k], targets[:, k], fold) for k in range(len(AUS))]
        if not any(part.known for part in parts):
            raise AubenchError("no AU has both faces with it and faces without it")
        pairs = zip(AUS, parts, strict=True)
        penalties = {f"AU{au}": part.penalty for au, part in pairs if part.known}

        def every(name: str) -> Floats:
            return np.array([getattr(part, name) for part in parts], np.float32)

        return cls(
            every("weight"),
            every("bias"),
            every("slope"),
            every("offset"),
            every("threshold"),
            np.array([part.known for part in parts], np.bool_),
            {"penalties": penalties},
        )

    def save(self, path: Path, about: dict[str, Any]) -> GeometryHead:
        """Write ``path`` (safetensors) and the card beside it; return the head with that card.

        Args:
            path: ``<name>.safetensors``.
            about: command, seed, data, scores.

        Raises:
            AubenchError: it cannot be written.
        """
        from safetensors.numpy import save_file

        tensors = {name: np.ascontiguousarray(getattr(self, name)) for name in TENSORS}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary)
        card = {
            "name": path.stem,
            "sha256": sha256_file(path),
            "features": FEATURES,
            **self.card,
            **about,
        }
        write_text(path.with_suffix(".card.json"), json.dumps(card, indent=1) + "\n")
        return replace(self, card=card)

    @classmethod
    def load(cls, path: Path, remedy: str) -> tuple[GeometryHead, str]:
        """Return the head of a file and the file's digest.

        Args:
            path: ``<name>.safetensors``, with ``<name>.card.json`` beside it.
            remedy: where it is missing.

        Raises:
            AubenchError: missing, damaged or foreign weights, or another digest than the card's.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        card = path.with_suffix(".card.json")
        if not path.is_file() or not card.is_file():
            raise AubenchError(f"no weights of '{path.stem}' at {path}", remedy)
        digest = sha256_file(path)
        about = read_card(card, digest)
        try:
            found = load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise AubenchError(f"{path} cannot be read: {error}", remedy) from error
        width = len(AUS), 478 * 2 + len(BLENDSHAPES)
        shapes = {"weight": width, **{name: width[:1] for name in TENSORS[1:]}}
        if {name: value.shape for name, value in found.items()} != shapes:
            raise AubenchError(f"{path} is no head of face geometry", remedy)
        return cls(**{name: found[name] for name in TENSORS}, card=about), digest


@dataclass(frozen=True)
class _Fitted:
    weight: Doubles
    bias: float = 0.0
    slope: float = 1.0
    offset: float = 0.0
    threshold: float = 0.5
    penalty: float = 0.0
    known: bool = False


@dataclass(frozen=True)
class _Ridge:
    """Ridge regression of one target, solved for every penalty at once."""

    mean: Doubles
    scale: Doubles
    centre: float
    powers: Doubles
    vectors: Doubles
    projected: Doubles

    @classmethod
    def of(cls, x: Doubles, y: Doubles) -> _Ridge:
        mean, scale = x.mean(0), x.std(0)
        scale = np.where(scale > 1e-9, scale, 1.0)
        z, centre = (x - mean) / scale, float(y.mean())
        if len(z) > z.shape[1]:
            powers, vectors = np.linalg.eigh(z.T @ z)
        else:
            _, values, right = np.linalg.svd(z, full_matrices=False)
            powers, vectors = values**2, right.T
        return cls(mean, scale, centre, powers, vectors, vectors.T @ (z.T @ (y - centre)))

    def solution(self, penalty: float) -> tuple[Doubles, float]:
        """Return weight [F] and bias for features as they are."""
        share = self.projected / (self.powers + penalty)
        weight = np.asarray(self.vectors @ share / self.scale, np.float64)
        return weight, self.centre - float(weight @ self.mean)


def _fit_au(
    x: Doubles, labels: Labels, targets: Doubles, fold: npt.NDArray[np.integer[Any]]
) -> _Fitted:
    nothing = _Fitted(np.zeros(x.shape[1]))
    use = labels != UNKNOWN
    x, labels, targets, fold = x[use], labels[use], targets[use], fold[use]
    sides = [np.unique(labels[fold != k]) for k in range(FOLDS)]
    if len(labels) == 0 or any(len(side) < 2 for side in sides):
        return nothing
    held_out = np.zeros((len(PENALTIES), len(x)))
    for k in range(FOLDS):
        ridge, here = _Ridge.of(x[fold != k], targets[fold != k]), fold == k
        for i, penalty in enumerate(PENALTIES):
            weight, bias = ridge.solution(penalty)
            held_out[i, here] = x[here] @ weight + bias
    best = int(((held_out - targets) ** 2).mean(1).argmin())
    slope, offset = logistic(held_out[best], labels)
    if slope <= 0:
        return nothing
    weight, bias = _Ridge.of(x, targets).solution(PENALTIES[best])
    p = 1 / (1 + np.exp(-(slope * held_out[best] + offset)))
    threshold = best_threshold(p, labels)
    return _Fitted(weight, bias, slope, offset, threshold, PENALTIES[best], True)


def logistic(scores: Doubles, labels: Labels) -> tuple[float, float]:
    """Return slope and offset of the logit of a label by its score (Platt 1999)."""
    from sklearn.linear_model import LogisticRegression

    spread = max(float(scores.std()), 1e-9)
    model = LogisticRegression(C=100.0).fit(scores[:, None] / spread, labels)
    return float(model.coef_[0, 0]) / spread, float(model.intercept_[0])


def best_threshold(p: Doubles, labels: Labels) -> float:
    """Return the probability, in steps of 0.025, from which F1 is best; nearest to 0.5 on a tie."""
    grid = np.arange(2, 39) / 40
    on = labels == 1
    found = p[:, None] >= grid
    f1 = 2 * (found & on[:, None]).sum(0) / np.maximum(found.sum(0) + on.sum(), 1)
    best = grid[np.isclose(f1, f1.max())]
    return float(best[np.abs(best - 0.5).argmin()])
