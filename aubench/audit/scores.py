"""The metrics of an audit, each by face and by condition, also in resamples of subjects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.audit.agreement import Matrix
from aubench.audit.observe import Observed
from aubench.metrics.aaad import constants, cosines

Values = npt.NDArray[np.float64]
EXACT = 10
"""Decimals that are kept, so that equal conditions tie whatever the order of a sum."""


@dataclass(frozen=True)
class Mean:
    """A metric that is the mean of one value a face.

    Attributes:
        name: short.
        id: what exactly is measured.
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
        name: short.
        id: what exactly is measured.
        found: bool [C, N, 12].
        labels: commanded, uint8 [N, 12].
    """

    name: str
    id: str
    found: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.uint8]

    @property
    def faces(self) -> Values:
        """F1 over the twelve AUs of each face, [C, N]."""
        hit = (self.found & (self.labels == 1)).sum(2)
        return np.asarray(2 * hit / (self.found.sum(2) + self.labels.sum(1)))

    def conditions(self, weights: Matrix) -> Matrix:
        """Return the value of each condition [B, C] in resamples with weights [B, N]."""
        found = self.found.astype(float)
        hit = np.einsum("bn,cnk->bck", weights, found * self.labels, optimize=True)
        total = np.einsum("bn,cnk->bck", weights, found, optimize=True)
        total += (weights @ self.labels)[:, None]
        each = np.divide(2 * hit, total, out=np.full(hit.shape, np.nan), where=total > 0)
        return np.asarray(np.nanmean(each, 2).round(EXACT))


Metric = Mean | F1


def _cosines(shown: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> Values:
    return np.stack([cosines(rows, wanted) for rows in shown])


def metrics_of(o: Observed) -> list[Metric]:
    """Return the audited metrics, then those that tell where a failure comes from.

    ``closeness`` is 1 minus the mean absolute difference of the same probabilities that AAAD takes
    the cosine of: what is lost by forgetting their size.
    ``cosine-labels`` replaces the text classifier by the commanded labels, ``cosine-perfect`` the
    detector as well, ``f1-perfect`` the detector of F1: what no better network could mend.
    """
    labels = o.samples.labels()
    n = len(labels)
    ref = f"ref={o.protocol.dataset}-{o.protocol.version}/{o.protocol.name}|n={n}"
    out: list[Metric] = []
    for name, tail in ((o.plan.detector, ""), (o.plan.second, "-second")):
        p = o.seen[name]
        about = f"{o.ids[name]}|target={o.ids['text']}|{ref}"
        cosine = _cosines(p, o.wanted)
        scale = constants(p[0], o.wanted)
        relative = (cosine - scale.low) / (scale.high - scale.low)
        out += [
            Mean(f"aaad{tail}", f"aaad|{about}", relative),
            Mean(f"cosine{tail}", f"cosine|{about}", cosine),
            F1(f"f1{tail}", f"f1|{o.ids[name]}|commanded|{ref}", p >= o.thresholds[name], labels),
            Mean(f"closeness{tail}", f"closeness|{about}", 1 - np.abs(p - o.wanted).mean(2)),
        ]
    truth = o.shown > 0
    seen = o.seen[o.plan.detector]
    out += [
        Mean("cosine-labels", f"cosine|{o.ids[o.plan.detector]}|target=labels|{ref}",
             _cosines(seen, labels)),
        Mean("cosine-perfect", f"cosine|rendered-labels|target=labels|{ref}",
             _cosines(truth.astype(float), labels)),
        F1("f1-perfect", f"f1|rendered-labels|commanded|{ref}", truth, labels),
    ]  # fmt: skip
    return out


def symptoms(o: Observed) -> dict[str, Values]:
    """Return, by detector, the share of commanded AUs found and of others found, each [C]."""
    labels = o.samples.labels() == 1
    out = {}
    for name in (o.plan.detector, o.plan.second):
        found = o.seen[name] >= o.thresholds[name]
        out[f"recall {name}"] = (found & labels).sum((1, 2)) / labels.sum()
        out[f"leak {name}"] = (found & ~labels).sum((1, 2)) / (~labels).sum()
    return out
