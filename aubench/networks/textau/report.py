"""How well a classifier does, by AU and by what training has not seen."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.facs.f1 import f1_by_au
from aubench.networks.textau.calibration import calibration_error
from aubench.networks.textau.corpus import UNKNOWN_AU, Labels, Part
from aubench.storage.files import write_text
from aubench.storage.text_files import read_json

Probabilities = Callable[[Sequence[str]], npt.NDArray[np.float32]]


def texts_f1(p: npt.NDArray[np.float32], labels: Labels) -> npt.NDArray[np.float64]:
    """Return F1 at threshold 0.5 of each AU, float64 [12], over texts whose label is known."""
    return f1_by_au(p >= 0.5, np.where(labels == UNKNOWN_AU, -1, labels.astype(np.int8)))


def f1(p: npt.NDArray[np.float32], labels: Labels) -> float:
    """Return the mean F1 at threshold 0.5 over the AUs that have one; NaN where none does."""
    scores = texts_f1(p, labels)
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")


def exact(p: npt.NDArray[np.float32], labels: Labels) -> float:
    """Return the share of texts whose known labels are all right at 0.5."""
    known = labels != UNKNOWN_AU
    return float((((p >= 0.5) == (labels == 1)) | ~known).all(1).mean())


def measure(
    probabilities: Probabilities,
    parts: dict[str, Part],
    beside: dict[str, Probabilities] | None = None,
) -> dict[str, Any]:
    """Return for each part its texts, AU sets and scores; null where undefined.

    Scores are F1 by AU and their mean, the share of texts whose AU set is right, and the expected
    calibration error.

    Args:
        probabilities: Of the classifier.
        parts: Texts and labels by name.
        beside: Other predictions by name, of which mean F1 and exact sets stand beside.
    """
    out: dict[str, Any] = {}
    for name, part in parts.items():
        row: dict[str, Any] = {"texts": len(part.texts), "AU sets": 0, "F1": None, "AUs": {}}
        if part.texts:
            p = probabilities(part.texts)
            row["AU sets"] = len(np.unique(part.labels, axis=0))
            row["F1"] = _number(f1(p, part.labels))
            row["AUs"] = {
                f"AU{au}": _number(value)
                for au, value in zip(AUS, texts_f1(p, part.labels), strict=True)
            }
            row["exact sets"] = _number(exact(p, part.labels))
            row["calibration error"] = _number(calibration_error(p, part.labels))
            for other, predict in (beside or {}).items():
                q = predict(part.texts)
                row[other] = {
                    "F1": _number(f1(q, part.labels)),
                    "exact sets": _number(exact(q, part.labels)),
                }
        out[name] = row
    return out


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def scores(report: dict[str, Any]) -> dict[str, float | None]:
    """Return the mean F1 of each part, as the card states them."""
    return {f"F1, {name}": row["F1"] for name, row in report.items()}


def write_report(path: Path, report: dict[str, Any], about: dict[str, Any]) -> None:
    """Write the report as JSON, with what it is about."""
    write_text(path, json.dumps({**about, "parts": report}, indent=1) + "\n")


def read_report(path: Path) -> dict[str, Any]:
    """Return the parts of a written report.

    Raises:
        AubenchError: The file is missing or no report.
    """
    try:
        parts: dict[str, Any] = read_json(path)["parts"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AubenchError(f"{path} is not a report of a text classifier: {error}") from error
    return parts


HEADS = {
    "seen wordings": "seen",
    "held-out wordings": "held-out wordings",
    "seen wordings of unseen AU sets": "unseen AU sets",
    "held-out wordings of unseen AU sets": "both",
}
"""Shorter heads of a table."""

ROWS = ("exact sets", "calibration error")


def table(report: dict[str, Any]) -> str:
    """Return F1 by AU, exact sets and calibration error, a column a part, in plain text."""
    names = list(report)
    lines = [["F1", *(HEADS.get(name, name) for name in names)]]
    for au in [f"AU{au}" for au in AUS]:
        lines.append([au, *(_cell(report[name]["AUs"].get(au)) for name in names)])
    lines.append(["mean", *(_cell(report[name]["F1"]) for name in names)])
    others = sorted({key for row in report.values() for key, v in row.items() if _beside(key, v)})
    lines += [[f"{other}, mean", *(_other(report[n], other) for n in names)] for other in others]
    lines += [
        [row, *(_cell(report[name].get(row)) for name in names)]
        for row in ROWS
        if any(row in report[name] for name in names)
    ]
    lines.append(["texts", *(f"{report[name]['texts']:,}" for name in names)])
    lines.append(["AU sets", *(f"{report[name]['AU sets']:,}" for name in names)])
    wide = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return "\n".join(
        "  ".join([first.ljust(wide[0]), *map(str.rjust, rest, wide[1:])]) for first, *rest in lines
    )


def _beside(key: str, value: Any) -> bool:
    return key != "AUs" and isinstance(value, dict)


def _other(row: dict[str, Any], name: str) -> str:
    return _cell(row.get(name, {}).get("F1"))


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
