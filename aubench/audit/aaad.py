"""The audit of AAAD: how it, the raw cosine and F1 follow an error that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
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
from aubench.audit.corrupt import balanced_error, intensity_error, label_error
from aubench.audit.observe import AuditPlan, Observed, observe
from aubench.audit.scores import Mean, Metric, metrics_of, symptoms
from aubench.metrics.action_units.aaad import constants
from aubench.metrics.statistics.resampling import bootstrap_mean, interval
from aubench.progress import bar
from aubench.run.provenance import hardware, package_versions, revision

RESAMPLES = 500
TARGET = 0.9
"""Rank agreement over the pooled levels from which AAAD is said to follow the true error."""


@dataclass(frozen=True)
class Audit:
    """An audit's figures as plain rows, and where they come from.

    Attributes:
        levels: A row a metric and condition.
        agreement: A row a metric, group, error and unit.
        limits: A row a metric and kind.
        cheats: A row a metric and face that is drawn on, mixed or attacked.
        provenance: Ids, seeds, counts, versions.
    """

    levels: list[dict[str, Any]]
    agreement: list[dict[str, Any]]
    limits: list[dict[str, Any]]
    cheats: list[dict[str, Any]]
    provenance: dict[str, Any]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of corruption."""
        return tuple(self.provenance["kinds"])

    @property
    def groups(self) -> tuple[str, ...]:
        """The kinds, and all of them together."""
        return (*self.kinds, "pooled")

    def audited(self, names: Sequence[str]) -> list[str]:
        """Return those of some metrics that were audited; there may be one detector."""
        return [name for name in names if name in self.provenance["metrics"]]

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


def audit_aaad(plan: AuditPlan) -> Audit:
    """Corrupt, render, measure and compare.

    Raises:
        AubenchError: A bad plan.
    """
    from aubench.audit.cheats import judge_cheats

    seen = observe(plan)
    return replace(judge(seen), cheats=judge_cheats(seen))


def judge(o: Observed) -> Audit:
    """Return the figures of what was observed."""
    groups = (*o.plan.kinds, "pooled")
    errors = {
        "intensity": Mean("intensity", "", intensity_error(o.shown, o.asked)),
        "labels": Mean("labels", "", label_error(o.shown, o.asked)),
        "balanced": Mean("balanced", "", balanced_error(o.shown, o.asked)),
    }
    metrics = metrics_of(o)
    weights = subject_weights(o.samples.subjects(), RESAMPLES)
    agreement: list[dict[str, Any]] = []
    with bar(len(metrics) * len(groups), "bootstrap", "interval") as progress:
        for metric in metrics:
            for group in groups:
                agreement += _agreement(o, metric, group, errors, weights)
                progress.update(1)
    return Audit(
        levels=_levels(o, metrics, errors, weights),
        agreement=agreement,
        limits=[row for metric in metrics for row in _limits(o.plan, metric, errors, weights)],
        cheats=[],
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
    every, redrawn_every = metric.conditions(ones), metric.conditions(weights)
    known = [i for i in rows if np.isfinite(every[0, i])]
    for name, error in errors.items():
        about = {"metric": metric.name, "group": group, "error": name}
        at, wrong = every[:, known], error.conditions(ones)[:, known]
        redrawn = redrawn_every[:, known], error.conditions(weights)[:, known]
        ci = _pair(spearman_rows(redrawn[0], -redrawn[1])) if clustered else None
        out.append(
            {
                **about,
                "over": "levels",
                "n": len(known),
                "spearman": _number(spearman_rows(at, -wrong)[0]),
                "ci": ci,
                "concordance": _number(concordance(at[0], wrong[0])),
            }
        )
        x, y = metric.faces[rows].ravel().round(9), -error.faces[rows].ravel()
        drawn, kept = np.tile(weights, (1, len(rows))), np.isfinite(x)
        x, y, drawn = x[kept], y[kept], drawn[:, kept]
        ci = _pair(spearman_resampled(x, y, drawn)) if clustered else None
        out.append(
            {**about, "over": "faces", "n": len(x), "spearman": _number(spearman(x, y)), "ci": ci}
        )
        inside = spearman_rows(metric.faces[rows].T.round(9), -error.faces[rows].T)
        finite = np.isfinite(inside)
        found = bootstrap_mean(
            inside[finite], [s for s, ok in zip(subjects, finite, strict=True) if ok]
        )
        out.append(
            {
                **about,
                "over": "within",
                "n": int(finite.sum()),
                "spearman": _number(inside[finite].mean()) if finite.any() else None,
                "ci": None if found is None else [round(x, 6) for x in found],
            }
        )
    return out


def _levels(
    o: Observed, metrics: Sequence[Metric], errors: dict[str, Mean], weights: Matrix
) -> list[dict[str, Any]]:
    ones, signs, out = np.ones((1, len(o.samples))), symptoms(o), []
    truth = {name: error.conditions(ones)[0] for name, error in errors.items()}
    for metric in metrics:
        at, redrawn = metric.conditions(ones)[0], metric.conditions(weights)
        for i, (kind, level) in enumerate(o.plan.conditions):
            out.append(
                {
                    "kind": kind,
                    "level": level,
                    "metric": metric.name,
                    "value": _number(at[i]),
                    "ci": _pair(redrawn[:, i]),
                    "n": len(o.samples),
                    "intensity_error": _number(truth["intensity"][i]),
                    "label_error": _number(truth["labels"][i]),
                    **{name: _number(values[i]) for name, values in signs.items()},
                }
            )
    return out


def _limits(
    plan: AuditPlan, metric: Metric, errors: dict[str, Mean], weights: Matrix
) -> list[dict[str, Any]]:
    """Return for each kind from which level on a metric tells, and how much it loses an AU.

    A level is told from the faithful one if the interval of the paired difference lies below 0.
    """
    ones = np.ones((1, weights.shape[1]))
    at, redrawn = metric.conditions(ones)[0], metric.conditions(weights)
    wrong = {name: error.conditions(ones)[0] for name, error in errors.items()}
    out = []
    for kind in plan.kinds:
        rows = plan.rows(kind)
        ends = [interval(redrawn[:, i] - redrawn[:, 0]) for i in rows[1:]]
        below = [end is not None and end[1] < 0 for end in ends]
        first = next((k for k in range(len(below)) if all(below[k:])), None)
        last, loss = rows[-1], at[0] - at[rows[-1]]
        out.append(
            {
                "metric": metric.name,
                "kind": kind,
                "told_from_level": None if first is None else first + 1,
                "told_from_error": None
                if first is None
                else _number(wrong["intensity"][rows[first + 1]]),
                "loss_at_last": _number(loss),
                "loss_per_error": _number(loss / wrong["intensity"][last]),
                "loss_per_wrong_au": _number(loss / wrong["labels"][last]),
            }
        )
    return out


def worst_misorder(audit: Audit, metric: str) -> dict[str, Any] | None:
    """Return the two conditions with the widest gap of true error that a metric orders wrongly.

    ``better`` has the smaller intensity error and yet the lower value; None if there is none.
    ``largest_lead`` is by how much any condition outscores one with a smaller error.
    """
    rows = [r for r in audit.levels if r["metric"] == metric and r["value"] is not None]
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
    for kind in audit.kinds:
        rows = [r for r in audit.levels if r["metric"] == metric and r["kind"] != kind]
        value = np.array([np.nan if r["value"] is None else r["value"] for r in rows])
        error = np.array([r["intensity_error"] for r in rows])
        out[kind] = _number(spearman(value, -error)) if np.isfinite(value).all() else None
    return out


def _provenance(o: Observed, metrics: Sequence[Metric]) -> dict[str, Any]:
    labels, read = o.labels[0] == 1, o.wanted[0] >= 0.5
    return {
        "protocol": f"{o.protocol.dataset}/{o.protocol.name} {o.protocol.version}",
        "protocol_sha256": o.protocol.sha256,
        "images": o.images,
        "corrupted": "faces" if np.ptp(o.shown, 0).any() else "commands",
        "faces not found": o.lost,
        "size": o.protocol.size,
        "samples": len(o.samples),
        "subjects": len(set(o.samples.subjects())),
        "samples_sha256": o.samples.sha256,
        "kinds": list(o.plan.kinds),
        "levels": o.plan.levels,
        "seed": o.plan.seed,
        "resamples": RESAMPLES,
        "bootstrap_seed": 2020,
        "detectors": o.detectors,
        "networks": o.ids,
        "metrics": {metric.name: metric.id for metric in metrics},
        "constants": {
            name: asdict(
                constants(o.seen[name][0], np.where(o.mask(name), o.wanted[0], np.float32(0)))
            )
            for name in o.detectors
        },
        "texts_read_wrongly": _number((labels != read).any(1).mean()),
        "packages": package_versions(),
        "hardware": hardware(),
        "revision": revision(),
    }
