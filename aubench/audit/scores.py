"""The metrics of an audit, each by face and by condition, also in resamples of subjects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.audit.agreement import Matrix
from aubench.audit.observe import Observed
from aubench.metrics.action_units.aaad import constants, cosines
from aubench.metrics.action_units.au_skill import CorrelationSums

Values = npt.NDArray[np.float64]
EXACT = 10
"""Decimals that are kept, so that equal conditions tie whatever the order of a sum."""


@dataclass(frozen=True)
class Mean:
    """A metric that is the mean of one value a face.

    Attributes:
        name: Short.
        id: What exactly is measured.
        faces: [C, N].
    """

    name: str
    id: str
    faces: Values

    def conditions(self, weights: Matrix) -> Matrix:
        """Return the value of each condition [B, C] in resamples with weights [B, N]."""
        means = weights @ self.faces.T / weights.sum(1, keepdims=True)
        return np.asarray(means.round(EXACT))


@dataclass(frozen=True)
class F1:
    """Mean over AUs of F1 against the commanded AUs.

    Attributes:
        name: Short.
        id: What exactly is measured.
        found: bool [C, N, K], of the K AUs that the detector knows.
        labels: Commanded, uint8 [C, N, K].
    """

    name: str
    id: str
    found: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.uint8]

    @property
    def faces(self) -> Values:
        """F1 over the AUs of each face, [C, N]; 1 where there is none and none was found."""
        hit = (self.found & (self.labels == 1)).sum(2)
        both = self.found.sum(2) + self.labels.sum(2)
        out: Values = np.divide(2 * hit, both, out=np.ones(both.shape), where=both > 0)
        return out

    def conditions(self, weights: Matrix) -> Matrix:
        """Return the value of each condition [B, C] in resamples with weights [B, N]."""
        found, labels = self.found.astype(float), self.labels.astype(float)
        hit = np.einsum("bn,cnk->bck", weights, found * labels, optimize=True)
        total = np.einsum("bn,cnk->bck", weights, found, optimize=True)
        total += np.einsum("bn,cnk->bck", weights, labels, optimize=True)
        each = np.divide(2 * hit, total, out=np.full(hit.shape, np.nan), where=total > 0)
        none = np.isnan(each).all(2)
        each[none] = 0.0  # nothing commanded and nothing found of any AU: no AU has an F1
        return np.asarray(np.nanmean(each, 2).round(EXACT))


@dataclass(frozen=True)
class Ratio:
    """A ratio of sums over faces, such as AU skill or the gain of motion.

    Attributes:
        name: Short.
        id: What exactly is measured.
        top: float64 [C, N].
        bottom: float64 [C, N].
    """

    name: str
    id: str
    top: Values
    bottom: Values

    @property
    def faces(self) -> Values:
        """The ratio of each face [C, N], NaN where it has none."""
        out = np.full(self.top.shape, np.nan)
        return np.asarray(np.divide(self.top, self.bottom, out=out, where=self.bottom > 0))

    def conditions(self, weights: Matrix) -> Matrix:
        """Return the value of each condition [B, C] in resamples with weights [B, N].

        NaN where nothing is commanded.
        """
        top, bottom = weights @ self.top.T, weights @ self.bottom.T
        out = np.full(top.shape, np.nan)
        return np.asarray(np.divide(top, bottom, out=out, where=bottom > 0).round(EXACT))


@dataclass(frozen=True)
class Smallest:
    """The smallest share of the faithful faces' skill over readers.

    Attributes:
        name: Short.
        id: What exactly is measured.
        parts: AU skill by each reader.
    """

    name: str
    id: str
    parts: tuple[Ratio, ...]

    @property
    def faces(self) -> Values:
        """The smallest share of each face, where all readers have one [C, N]."""
        shares = [one.faces / np.maximum(one.faces[:1], 0.05) for one in self.parts]
        out: Values = np.min(shares, 0)
        return out

    def conditions(self, weights: Matrix) -> Matrix:
        """Return the value of each condition [B, C] in resamples with weights [B, N]."""
        found = [one.conditions(weights) for one in self.parts]
        return np.asarray(np.min([v / v[:, :1] for v in found], 0).round(EXACT))


@dataclass(frozen=True)
class Correlation:
    """The mean over AUs of Pearson's r of probabilities with labels.

    Attributes:
        name: Short.
        id: What exactly is measured.
        p: Probabilities [C, N, 12].
        labels: Commanded, int [C, N, 12], -1 where a reader does not know the AU.
    """

    name: str
    id: str
    p: Values
    labels: npt.NDArray[np.int64]

    @property
    def faces(self) -> Values:
        """The correlation over the AUs of each face, 0 where they are all alike [C, N]."""
        known = self.labels >= 0
        x, t = np.where(known, self.p, np.nan), np.where(known, self.labels, np.nan)
        x, t = (v - np.nanmean(v, -1, keepdims=True) for v in (x, t))
        root = np.sqrt(np.nansum(x * x, -1) * np.nansum(t * t, -1))
        top = np.nansum(x * t, -1)
        return np.asarray(np.divide(top, root, out=np.zeros(top.shape), where=root > 1e-12))

    def conditions(self, weights: Matrix) -> Matrix:
        """Return the value of each condition [B, C] in resamples with weights [B, N]."""
        faces = [f"{i:06d}" for i in range(self.labels.shape[1])]
        pairs = zip(self.p, self.labels, strict=True)
        found = [CorrelationSums.of(p, labels, faces)(weights) for p, labels in pairs]
        return np.stack(found, 1).round(EXACT)


Metric = Mean | F1 | Ratio | Smallest | Correlation


def skills_of(o: Observed) -> list[Metric]:
    """Return AU skill, correlation and motion by each reader, and the number that ranks."""
    labels, ref = o.labels.astype(np.int64), f"ref={o.protocol.reference_set}"
    n = len(o.samples)
    about = f"commanded|{ref}|n={n}"
    read = [
        (name, tail, o.seen[name].astype(float), o.mask(name))
        for name, tail in zip(o.detectors, ("", "-second"), strict=False)
    ]
    if o.witness is not None:
        read.append((o.witness.name, "-witness", o.witness.probabilities, o.witness.known))
    skills, out = [], []
    for name, tail, p, known in read:
        asked = np.where(known, labels, -1)
        t, count = np.maximum(asked, 0), asked >= 0
        top = ((t**2 - (p - t) ** 2) * count).sum(-1)
        bottom = (t**2).sum(-1).astype(float)
        skills.append(Ratio(f"skill{tail}", f"au-skill|{o.ids[name]}|{about}", top, bottom))
        out.append(Correlation(f"pearson{tail}", f"au-correlation|{o.ids[name]}|{about}", p, asked))
    which = ",".join(o.ids[name] for name, *_ in read)
    smallest = Smallest("skill-smallest", f"au-skill-share|{which}|{about}", tuple(skills))
    found: list[Metric] = [smallest, *skills, *out]
    if o.witness is not None and np.ptp(o.shown, 0).any():  # a face that stays has one motion
        id_ = f"{o.ids[o.witness.name]}|to=reference|{ref}|n={n}"
        gain = o.witness.gain
        found.append(Ratio("motion-gain", f"motion-gain|{id_}", gain[0], gain[1]))
        found.append(Mean("motion", f"minus motion-distance|{id_}", -o.witness.distance))
    return found


def _cosines(shown: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> Values:
    return np.stack([cosines(*rows) for rows in zip(shown, wanted, strict=True)])


def metrics_of(o: Observed) -> list[Metric]:
    """Return the audited metrics, then those that tell where a failure comes from.

    ``closeness`` is 1 minus the mean absolute difference of the same probabilities that AAAD takes
    the cosine of: what is lost by forgetting their size.
    ``cosine-labels`` replaces the text classifier by the commanded labels, ``cosine-perfect`` the
    detector as well, ``f1-perfect`` the detector of F1: what no better network could mend.
    """
    labels = o.labels
    n = len(o.samples)
    ref = f"ref={o.protocol.reference_set}|n={n}"
    out: list[Metric] = []
    for name, tail in zip(o.detectors, ("", "-second"), strict=False):
        p, mask = o.seen[name], o.mask(name)
        wanted = np.where(mask, o.wanted, np.float32(0))
        about = f"{o.ids[name]}|target={o.ids['text']}|{ref}"
        cosine = _cosines(p, wanted)
        scale = constants(p[0], wanted[0])
        relative = (cosine - scale.low) / (scale.high - scale.low)
        found = (p >= o.thresholds[name])[..., mask]
        out += [
            Mean(f"aaad{tail}", f"aaad|{about}", relative),
            Mean(f"cosine{tail}", f"cosine|{about}", cosine),
            F1(f"f1{tail}", f"f1|{o.ids[name]}|commanded|{ref}", found, labels[..., mask]),
            Mean(
                f"closeness{tail}",
                f"closeness|{about}",
                1 - np.abs(p - wanted)[..., mask].mean(2),
            ),
        ]
    truth, first = o.shown > 0, o.detectors[0]
    out += [
        Mean(
            "cosine-labels",
            f"cosine|{o.ids[first]}|target=labels|{ref}",
            _cosines(o.seen[first], np.where(o.mask(first), labels, 0)),
        ),
        Mean(
            "cosine-perfect",
            f"cosine|shown-labels|target=labels|{ref}",
            _cosines(truth.astype(float), labels),
        ),
        F1("f1-perfect", f"f1|shown-labels|commanded|{ref}", truth, labels),
    ]
    return [*skills_of(o), *out]


def symptoms(o: Observed) -> dict[str, Values]:
    """Return, by detector, the share of commanded AUs found and of others found, each [C]."""
    out = {}
    for name in o.detectors:
        mask = o.mask(name)
        labels = o.labels[..., mask] == 1
        found = (o.seen[name] >= o.thresholds[name])[..., mask]
        for what, those in (("recall", labels), ("leak", ~labels)):
            count = those.sum((1, 2))
            hit = (found & those).sum((1, 2))
            out[f"{what} {name}"] = np.divide(
                hit, count, out=np.full(len(hit), np.nan), where=count > 0
            )
    return out
