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
from aubench.files import write_text
from aubench.textau.corpus import PARTS, UNKNOWN_AU, Labels, Part

Probabilities = Callable[[Sequence[str]], npt.NDArray[np.float32]]


def f1_by_au(p: npt.NDArray[np.float32], labels: Labels) -> npt.NDArray[np.float64]:
    """Return F1 at threshold 0.5 of each AU, float64 [12], over texts whose label is known.

    NaN where no text has the AU, since F1 would say nothing.
    """
    known, found, on = labels != UNKNOWN_AU, p >= 0.5, labels == 1
    hit = (found & on).sum(0)
    total = (found & known).sum(0) + on.sum(0)
    scores = 2 * hit / np.maximum(total, 1)
    return np.where(on.any(0), scores, np.nan).astype(np.float64)


def f1(p: npt.NDArray[np.float32], labels: Labels) -> float:
    """Return the mean F1 over the AUs that occur; NaN where none does."""
    scores = f1_by_au(p, labels)
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")


def measure(probabilities: Probabilities, parts: dict[str, Part]) -> dict[str, Any]:
    """Return for each part its texts, AU sets, F1 by AU and mean F1; null where undefined."""
    out: dict[str, Any] = {}
    for name, part in parts.items():
        row: dict[str, Any] = {"texts": len(part.texts), "AU sets": 0, "F1": None, "AUs": {}}
        if part.texts:
            p = probabilities(part.texts)
            row["AU sets"] = len(np.unique(part.labels, axis=0))
            row["F1"] = _number(f1(p, part.labels))
            row["AUs"] = {
                f"AU{au}": _number(value)
                for au, value in zip(AUS, f1_by_au(p, part.labels), strict=True)
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
        AubenchError: the file is missing or no report.
    """
    try:
        parts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["parts"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AubenchError(f"{path} is not a report of a text classifier: {error}") from error
    return parts


def table(report: dict[str, Any]) -> str:
    """Return F1 by AU, a column a part, in plain text."""
    heads = ("seen", "held-out wordings", "unseen AU sets", "both")
    names = [name for name in PARTS if name in report]
    lines = [["F1", *heads[: len(names)]]]
    for au in [f"AU{au}" for au in AUS]:
        lines.append([au, *(_cell(report[name]["AUs"].get(au)) for name in names)])
    lines.append(["mean", *(_cell(report[name]["F1"]) for name in names)])
    lines.append(["texts", *(f"{report[name]['texts']:,}" for name in names)])
    lines.append(["AU sets", *(f"{report[name]['AU sets']:,}" for name in names)])
    wide = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return "\n".join(
        "  ".join([first.ljust(wide[0]), *map(str.rjust, rest, wide[1:])]) for first, *rest in lines
    )


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
