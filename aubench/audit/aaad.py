"""The audit of AAAD: how it, the raw cosine and F1 follow an error that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from aubench.audit.agreement import (
    Matrix,
    concordance,
    spearman,
    spearman_resampled,
    spearman_rows,
    subject_weights,
)
from aubench.audit.corrupt import KINDS, intensity_error, label_error
from aubench.audit.observe import Observed, Plan, observe
from aubench.audit.scores import Mean, Metric, metrics_of, symptoms
from aubench.engine.provenance import hardware, package_versions, revision
from aubench.metrics.aaad import constants
from aubench.metrics.bootstrap import bootstrap_mean, interval
from aubench.progress import bar

GROUPS = (*KINDS, "pooled")
RESAMPLES = 500
TARGET = 0.9
"""Rank agreement over the pooled levels from which AAAD is said to follow the true error."""


@dataclass(frozen=True)
class Audit:
    """An audit's figures as plain rows, and where they come from.

    Attributes:
        levels: a row a metric and condition.
        agreement: a row a metric, group, error and unit.
        limits: a row a metric and kind.
        provenance: ids, seeds, counts, versions.
    """

    levels: list[dict[str, Any]]
    agreement: list[dict[str, Any]]
    limits: list[dict[str, Any]]
    provenance: dict[str, Any]

    def agreed(self, metric: str, group: str, error: str, over: str) -> dict[str, Any]:
        """Return one row of ``agreement``."""
        return next(
            row
            for row in self.agreement
            if (row["metric"], row["group"], row["error"], row["over"])
            == (metric, group, error, over)
        )

    def level(self, metric: str, kind: str) -> list[dict[str, Any]]:
        """Return the rows of a metric and kind by level, the faithful one first."""
        return [
            row
            for row in self.levels
            if row["metric"] == metric and row["kind"] in ("faithful", kind)
        ]


def audit_aaad(plan: Plan) -> Audit:
    """Corrupt, render, measure and compare.

    Raises:
        AubenchError: a bad plan.
    """
    return judge(observe(plan))


def judge(o: Observed) -> Audit:
    """Return the figures of what was observed."""
    asked = o.samples.intensities()
    errors = {
        "intensity": Mean("intensity", "", intensity_error(o.shown, asked)),
        "labels": Mean("labels", "", label_error(o.shown, asked)),
    }
    metrics = metrics_of(o)
    weights = subject_weights(o.samples.subjects(), RESAMPLES)
    agreement: list[dict[str, Any]] = []
    with bar(len(metrics) * len(GROUPS), "bootstrap", "interval") as progress:
        for metric in metrics:
            for group in GROUPS:
                agreement += _agreement(o, metric, group, errors, weights)
                progress.update(1)
    return Audit(
        levels=_levels(o, metrics, errors, weights),
        agreement=agreement,
        limits=[row for metric in metrics for row in _limits(o.plan, metric, errors, weights)],
        provenance=_provenance(o, metrics),
    )


def _pair(values: Sequence[float] | Any) -> list[float] | None:
    found = interval(values)
    return None if found is None else [round(x, 6) for x in found]


def _number(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def _agreement(
    o: Observed, metric: Metric, group: str, errors: dict[str, Mean], weights: Matrix
) -> list[dict[str, Any]]:
    """Return the Spearman correlations of a metric with minus the error, 1 being perfect.

    ``levels``: of the means of conditions, each a simulated generator. ``faces``: of single faces
    under every condition. ``within``: along the levels of a face, mean over faces.
    """
    rows, n = o.plan.rows(group), len(o.samples)
    subjects = o.samples.subjects()
    clustered = len(set(subjects)) > 1
    ones, out = np.ones((1, n)), []
    for name, error in errors.items():
        about = {"metric": metric.name, "group": group, "error": name}
        at, wrong = metric.conditions(ones)[:, rows], error.conditions(ones)[:, rows]
        redrawn = metric.conditions(weights)[:, rows], error.conditions(weights)[:, rows]
        ci = _pair(spearman_rows(redrawn[0], -redrawn[1])) if clustered else None
        out.append({**about, "over": "levels", "n": len(rows),
                    "spearman": _number(spearman_rows(at, -wrong)[0]), "ci": ci,
                    "concordance": _number(concordance(at[0], wrong[0]))})  # fmt: skip
        x, y = metric.faces[rows].ravel().round(9), -error.faces[rows].ravel()
        drawn = np.tile(weights, (1, len(rows)))
        ci = _pair(spearman_resampled(x, y, drawn)) if clustered else None
        out.append({**about, "over": "faces", "n": len(x), "spearman": _number(spearman(x, y)),
                    "ci": ci})  # fmt: skip
        inside = spearman_rows(metric.faces[rows].T.round(9), -error.faces[rows].T)
        told = np.isfinite(inside)
        found = bootstrap_mean(inside[told], [s for s, ok in zip(subjects, told, strict=True)
                                              if ok])  # fmt: skip
        out.append({**about, "over": "within", "n": int(told.sum()),
                    "spearman": _number(inside[told].mean()) if told.any() else None,
                    "ci": None if found is None else [round(x, 6) for x in found]})  # fmt: skip
    return out


def _levels(
    o: Observed, metrics: Sequence[Metric], errors: dict[str, Mean], weights: Matrix
) -> list[dict[str, Any]]:
    ones, signs, out = np.ones((1, len(o.samples))), symptoms(o), []
    truth = {name: error.conditions(ones)[0] for name, error in errors.items()}
    for metric in metrics:
        at, redrawn = metric.conditions(ones)[0], metric.conditions(weights)
        for i, (kind, level) in enumerate(o.plan.conditions):
            out.append({
                "kind": kind, "level": level, "metric": metric.name, "value": _number(at[i]),
                "ci": _pair(redrawn[:, i]), "n": len(o.samples),
                "intensity_error": _number(truth["intensity"][i]),
                "label_error": _number(truth["labels"][i]),
                **{name: _number(values[i]) for name, values in signs.items()},
            })  # fmt: skip
    return out


def _limits(
    plan: Plan, metric: Metric, errors: dict[str, Mean], weights: Matrix
) -> list[dict[str, Any]]:
    """Return for each kind from which level on a metric tells, and how much it loses an AU.

    A level is told from the faithful one if the interval of the paired difference lies below 0.
    """
    ones = np.ones((1, weights.shape[1]))
    at, redrawn = metric.conditions(ones)[0], metric.conditions(weights)
    wrong = {name: error.conditions(ones)[0] for name, error in errors.items()}
    out = []
    for kind in KINDS:
        rows = plan.rows(kind)
        ends = [interval(redrawn[:, i] - redrawn[:, 0]) for i in rows[1:]]
        told = [end is not None and end[1] < 0 for end in ends]
        first = next((k for k in range(len(told)) if all(told[k:])), None)
        last, loss = rows[-1], at[0] - at[rows[-1]]
        out.append({
            "metric": metric.name, "kind": kind,
            "told_from_level": None if first is None else first + 1,
            "told_from_error": None if first is None
            else _number(wrong["intensity"][rows[first + 1]]),
            "loss_at_last": _number(loss),
            "loss_per_error": _number(loss / wrong["intensity"][last]),
            "loss_per_wrong_au": _number(loss / wrong["labels"][last]),
        })  # fmt: skip
    return out


def worst_misorder(audit: Audit, metric: str) -> dict[str, Any] | None:
    """Return the two conditions with the widest gap of true error that a metric orders wrongly.

    ``better`` has the smaller intensity error and yet the lower value; None if there is none.
    ``largest_lead`` is by how much any condition outscores one with a smaller error.
    """
    rows = [row for row in audit.levels if row["metric"] == metric]
    wrong = [
        (worse["intensity_error"] - better["intensity_error"], better, worse)
        for better in rows
        for worse in rows
        if better["intensity_error"] < worse["intensity_error"] and better["value"] < worse["value"]
    ]
    if not wrong:
        return None
    gap, better, worse = max(wrong, key=lambda found: float(found[0]))
    keep = ("kind", "level", "value", "intensity_error", "label_error")
    return {
        "pairs": len(wrong),
        "gap": round(gap, 6),
        "largest_lead": round(max(w["value"] - b["value"] for _, b, w in wrong), 6),
        "better": {key: better[key] for key in keep},
        "worse": {key: worse[key] for key in keep},
    }


def without(audit: Audit, metric: str) -> dict[str, float | None]:
    """Return the pooled Spearman over levels with each kind left out in turn."""
    out = {}
    for kind in KINDS:
        rows = [r for r in audit.levels if r["metric"] == metric and r["kind"] != kind]
        value = np.array([np.nan if r["value"] is None else r["value"] for r in rows])
        error = np.array([r["intensity_error"] for r in rows])
        out[kind] = _number(spearman(value, -error)) if np.isfinite(value).all() else None
    return out


def _provenance(o: Observed, metrics: Sequence[Metric]) -> dict[str, Any]:
    labels, read = o.samples.labels() == 1, o.wanted >= 0.5
    return {
        "protocol": f"{o.protocol.dataset}/{o.protocol.name} {o.protocol.version}",
        "protocol_sha256": o.protocol.sha256,
        "renderer": o.renderer,
        "size": o.protocol.size,
        "samples": len(o.samples),
        "subjects": len(set(o.samples.subjects())),
        "samples_sha256": o.samples.sha256,
        "kinds": list(KINDS),
        "levels": o.plan.levels,
        "seed": o.plan.seed,
        "resamples": RESAMPLES,
        "bootstrap_seed": 2020,
        "first_detector": o.plan.detector,
        "networks": o.ids,
        "metrics": {metric.name: metric.id for metric in metrics},
        "constants": {
            name: asdict(constants(o.seen[name][0], o.wanted))
            for name in (o.plan.detector, o.plan.second)
        },
        "texts_read_wrongly": _number((labels != read).any(1).mean()),
        "packages": package_versions(),
        "hardware": hardware(),
        "revision": revision(),
    }
