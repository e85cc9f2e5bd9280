"""From a detector's evidence of an AU to an intensity: a monotone scale, fitted and shipped.

A detector that learned whether an AU is there says, by how sure it is, how strong it is. The logit
of its probability is kept, since the probability itself is 1 from a slight action on. The scale
maps the logit to the expected intensity, were all intensities from 0 to E equally likely
(isotonic regression; Zadrozny and Elkan, KDD 2002, do so for probabilities).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.networks.detectors.detector import WEIGHTS, Detector
from aubench.storage.files import sha256_file, write_text
from aubench.storage.text_files import read_json

Floats = npt.NDArray[np.floating[Any]]
Vector = npt.NDArray[np.float64]

FINEST = 1e-7
"""Probabilities are cut to FINEST..1 - FINEST, about a step of float32 below 1: logits to 16.1."""
KNOTS = 30


def evidence(p: Floats) -> Vector:
    """Return the logit float64 of probabilities of any shape, -16.1 to 16.1; NaN stays NaN."""
    cut = np.clip(np.asarray(p, np.float64), FINEST, 1 - FINEST)
    return np.asarray(np.log(cut / (1 - cut)), np.float64)


@dataclass(frozen=True)
class IntensityScale:
    """Intensities by evidence.

    Attributes:
        id: Digits of the digest of its file, after the detector's name; part of metric ids.
        knots: Logits and intensities of each of the twelve AUs, both rising; linear between
            them and level outside.
        card: What it was fitted on and how well it does.
    """

    id: str
    knots: tuple[tuple[Vector, Vector], ...]
    card: dict[str, Any]

    def __call__(self, p: Floats) -> Vector:
        """Return intensities float64 [N, 12] in 0..5 for probabilities [N, 12]."""
        x = evidence(p)
        columns = [np.interp(x[:, k], *self.knots[k]) for k in range(len(AUS))]
        return np.asarray(np.stack(columns, 1), np.float64)


def level_weights(intensities: Floats) -> Vector:
    """Return weights [N] that give 0 and each of 0 to A, A to B, ..., D to E the same sum."""
    level = np.ceil(np.asarray(intensities, np.float64)).astype(int)
    count = np.bincount(level, minlength=6)
    return np.asarray(1 / count[level], np.float64)


def fit_au(x: Vector, intensities: Floats) -> tuple[Vector, Vector]:
    """Return the knots of an AU from evidence [N] and true intensities [N].

    Raises:
        AubenchError: The evidence tells nothing: the fit is flat.
    """
    from sklearn.isotonic import IsotonicRegression

    y = IsotonicRegression(y_min=0, y_max=5).fit_transform(
        x, np.asarray(intensities, np.float64), sample_weight=level_weights(intensities)
    )
    values, block = np.unique(y, return_inverse=True)
    centre = np.bincount(block, x) / np.bincount(block)
    if len(values) < 2:
        raise AubenchError("evidence that does not rise with intensity gives no scale")
    even = np.linspace(values[0], values[-1], KNOTS)
    chosen = np.unique(np.searchsorted(values, even).clip(0, len(values) - 1))
    return centre[chosen], values[chosen]


def fit(p: Floats, intensities: Floats) -> tuple[tuple[Vector, Vector], ...]:
    """Return the knots of the twelve AUs from probabilities and true intensities, both [N, 12]."""
    x = evidence(p)
    return tuple(fit_au(x[:, k], intensities[:, k]) for k in range(len(AUS)))


def scale_path(name: str, folder: Path = WEIGHTS) -> Path:
    """Return where the scale of a detector lies, beside its card."""
    return folder / f"{name}.intensity.json"


def write_scale(
    path: Path, detector: Detector, knots: tuple[tuple[Vector, Vector], ...], about: dict[str, Any]
) -> None:
    """Write a scale with the digest of the detector's weights."""
    table = {
        f"AU{au}": [[round(float(v), 4) for v in side] for side in pair]
        for au, pair in zip(AUS, knots, strict=True)
    }
    data = {"detector": detector.name, "sha256": detector.sha256, **about, "knots": table}
    text = json.dumps(data, indent=1)
    rows = re.sub(r"\[[^\[\]]+\]", lambda found: " ".join(found.group().split()), text)
    write_text(path, rows + "\n")


def load_scale(detector: Detector, folder: Path = WEIGHTS) -> IntensityScale | None:
    """Return the scale of a detector, None if none was fitted for its very weights.

    Raises:
        AubenchError: The file is damaged.
    """
    path = scale_path(detector.name, folder)
    if not path.is_file():
        return None
    try:
        data = read_json(path)
        if data["sha256"] != detector.sha256:
            return None
        knots = tuple(
            (np.array(data["knots"][f"AU{au}"][0], float), np.array(data["knots"][f"AU{au}"][1]))
            for au in AUS
        )
        rising = all((np.diff(side) > 0).all() for pair in knots for side in pair)
        alike = all(len(x) == len(y) >= 2 for x, y in knots)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise AubenchError(f"{path} is no scale of intensities", "restore the file") from error
    if not rising or not alike:
        raise AubenchError(f"{path} has knots that do not rise", "restore the file")
    return IntensityScale(f"{detector.name}@{sha256_file(path)[:12]}", knots, data)
