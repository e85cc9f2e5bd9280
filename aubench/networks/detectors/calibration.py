"""How well a detector finds AUs, and how far its probabilities can be taken at their word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.facs.f1 import f1_by_au
from aubench.networks.detectors.faces import Labels
from aubench.storage.files import atomic_path, write_text
from aubench.storage.text_files import read_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Probabilities = npt.NDArray[np.float32]
Found = npt.NDArray[np.bool_]
Vector = npt.NDArray[np.float64]

GRID = np.arange(0.05, 0.96, 0.025, dtype=np.float32)
BINS = 10
MEASURES = ("F1", "F1 at 0.5", "AUC", "average precision", "Brier", "calibration error")

# Okabe and Ito's colours, told apart by every kind of colour vision; shapes tell them too.
STYLES = (("#0072B2", "o", "-"), ("#D55E00", "s", "--"))


def mean_of(scores: Vector) -> float:
    """Return the mean over the AUs that have a score, NaN where none has."""
    kept = scores[np.isfinite(scores)]
    return float(kept.mean()) if len(kept) else float("nan")


def best_thresholds(p: Probabilities, labels: Labels) -> Probabilities:
    """Return the threshold in 0.05..0.95 of the highest F1 of each AU; 0.5 if it never occurs."""
    scores = np.stack([f1_by_au(p >= t, labels) for t in GRID])
    occurs = (labels == 1).any(0)
    best = GRID[np.where(np.isnan(scores), -1.0, scores).argmax(0)]
    return np.asarray(np.where(occurs, best, 0.5), np.float32)


def logit_scale(p: Probabilities, labels: Labels) -> npt.NDArray[np.float32]:
    """Return slope and offset [2, 12] of each AU's logit that fit the labels best (Platt 1999).

    An AU whose label never changes keeps 1 and 0.

    Args:
        p: Probabilities float [N, 12].
        labels: 0, 1, or -1 for unknown, [N, 12].
    """
    from sklearn.linear_model import LogisticRegression

    out = np.stack([np.ones(p.shape[1]), np.zeros(p.shape[1])])
    clipped = np.clip(p.astype(np.float64), 1e-6, 1 - 1e-6)
    logit = np.log(clipped / (1 - clipped))
    for k in range(p.shape[1]):
        known = labels[:, k] >= 0
        if len(np.unique(labels[known, k])) < 2:
            continue
        fit = LogisticRegression(C=1e4).fit(logit[known, k : k + 1], labels[known, k])
        out[:, k] = fit.coef_[0, 0], fit.intercept_[0]
    return np.asarray(out, np.float32)


def reliability(p: Vector, on: Found) -> list[dict[str, float | int]]:
    """Return bins of equal width that hold a prediction: count, mean of p [N], share of on [N]."""
    at = np.minimum((p * BINS).astype(int), BINS - 1)
    return [
        {
            "from": k / BINS,
            "to": (k + 1) / BINS,
            "count": int((at == k).sum()),
            "mean probability": round(float(p[at == k].mean()), 6),
            "rate": round(float(on[at == k].mean()), 6),
        }
        for k in range(BINS)
        if (at == k).any()
    ]


def calibration_error(bins: list[dict[str, float | int]]) -> float:
    """Return the expected calibration error: |rate - mean probability|, weighed by count."""
    total = sum(row["count"] for row in bins)
    gaps = (row["count"] * abs(row["rate"] - row["mean probability"]) for row in bins)
    return float(sum(gaps) / total)


def measure_au(p: Vector, on: Found, threshold: float) -> dict[str, Any]:
    """Return the scores of an AU.

    Args:
        p: Probabilities [N] where its label is known.
        on: Whether it is active [N].
        threshold: Threshold from which on it counts as found.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    both, bins = 0 < on.sum() < len(on), reliability(p, on)
    found = {
        key: float(f1_by_au((p >= t)[:, None], on[:, None].astype(np.int8))[0])
        for key, t in (("F1", threshold), ("F1 at 0.5", 0.5))
    }
    scores = {
        **found,
        "AUC": float(roc_auc_score(on, p)) if both else np.nan,
        "average precision": float(average_precision_score(on, p)) if both else np.nan,
        "Brier": float(((p - on) ** 2).mean()) if len(p) else np.nan,
        "calibration error": calibration_error(bins) if bins else np.nan,
    }
    return {
        "known": len(on),
        "active": int(on.sum()),
        "threshold": round(float(threshold), 4),
        **{key: _number(value) for key, value in scores.items()},
        "reliability": bins,
    }


def measure(
    p: Probabilities, labels: Labels, thresholds: Probabilities, subjects: npt.NDArray[np.str_]
) -> dict[str, Any]:
    """Return all scores of a part, as `report.json` states them.

    An AU's scores are null where they are not defined: no known label, or only one class. F1 of
    an AU that never occurs is 0 where it is found all the same (``aubench.facs.f1``).

    Args:
        p: Probabilities [N, 12], NaN where the detector does not know the AU.
        labels: 0/1 [N, 12], negative is unknown.
        thresholds: [12].
        subjects: [N].
    """
    aus = {}
    for k, au in enumerate(AUS):
        rows = (labels[:, k] >= 0) & np.isfinite(p[:, k])
        values = np.clip(p[rows, k].astype(np.float64), 0, 1)  # a cosine may pass 1 by rounding
        # the threshold is float32 as the probabilities are: what equals it is found
        aus[f"AU{au}"] = measure_au(values, labels[rows, k] == 1, float(thresholds[k]))
    means = {
        key: _number(mean_of(np.array([row[key] for row in aus.values()], np.float64)))
        for key in MEASURES
    }
    return {
        "images": len(labels),
        "subjects": len(np.unique(subjects)),
        "mean": means,
        "AUs": aus,
    }


def _number(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def write_report(folder: Path, parts: dict[str, Any], about: dict[str, Any]) -> list[Path]:
    """Write ``report.json`` and ``calibration.svg``; return their paths."""
    paths = [folder / "report.json", folder / "calibration.svg"]
    write_text(paths[0], json.dumps({**about, "parts": parts}, indent=1) + "\n")
    plot(paths[1], parts, str(about.get("detector", "")))
    return paths


def read_report(path: Path) -> dict[str, Any]:
    """Return the parts of a written report.

    Raises:
        AubenchError: The file is missing or no report.
    """
    try:
        parts: dict[str, Any] = read_json(path)["parts"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AubenchError(f"{path} is not a report of a detector: {error}") from error
    return parts


def table(part: dict[str, Any]) -> str:
    """Return the scores of a part, a row an AU, in plain text."""
    lines = [["", "active", "threshold", *MEASURES]]
    for name, row in part["AUs"].items():
        lines.append([name, f"{row['active']:,}", f"{row['threshold']:.3f}"])
        lines[-1] += [_cell(row[key]) for key in MEASURES]
    lines.append(["mean", "", "", *(_cell(part["mean"][key]) for key in MEASURES)])
    wide = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return "\n".join(
        "  ".join([first.ljust(wide[0]), *map(str.rjust, rest, wide[1:])]) for first, *rest in lines
    )


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def plot(path: Path, parts: dict[str, Any], title: str) -> None:
    """Draw the reliability curve of each AU, a line a part, with the diagonal of perfect ones."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "aubench", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(9, 7), layout="constrained")
        FigureCanvasSVG(figure)
        panels: Any = figure.subplots(3, 4, sharex=True, sharey=True)
        for panel, au in zip(panels.ravel(), AUS, strict=True):
            _panel(panel, f"AU{au}", parts)
        panels[0, 0].legend(fontsize=7, frameon=False, loc="upper left")
        figure.supxlabel("mean probability in a tenth of the range; larger marks: more images")
        figure.supylabel("share of these images in which the AU is active")
        figure.suptitle(title)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})


def _panel(panel: Axes, name: str, parts: dict[str, Any]) -> None:
    panel.plot([0, 1], [0, 1], color="#999999", lw=0.8)
    notes = []
    for (part, scores), (colour, marker, line) in zip(parts.items(), STYLES, strict=False):
        row = scores["AUs"][name]
        bins = row["reliability"]
        x, y = ([one[key] for one in bins] for key in ("mean probability", "rate"))
        panel.plot(x, y, line, color=colour, lw=1.2, label=part)
        total = max(1, sum(one["count"] for one in bins))
        sizes = [6 + 60 * one["count"] / total for one in bins]
        panel.scatter(x, y, sizes, color=colour, marker=marker, zorder=3)
        notes.append(_cell(row["calibration error"]))
    panel.set_title(f"{name}, error {' / '.join(notes)}", fontsize=8)
    panel.set_xlim(-0.03, 1.03)
    panel.set_ylim(-0.03, 1.03)
