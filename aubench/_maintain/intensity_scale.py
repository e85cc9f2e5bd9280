"""Fits a detector's scale of intensities: ``python -m aubench._maintain.intensity_scale nano-b``.

Run it when the detector or the renderer changes. Faces of validation subjects of the data set that
the detector was trained on, at all intensities, fit the scale; those of test subjects say how good
it is.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.facs import AUS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from aubench.datasets.dataset import Dataset

    Floats = npt.NDArray[np.floating[Any]]

FACES = {"validation": (4000, 301), "test": (2000, 302)}
"""Number of faces and seed of each part."""
SIZE = 128


def draw(
    dataset: Dataset, split: str, count: int, seed: int
) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Return image keys and intensities [N, 12]: AU sets as they occur, 0.1 to 5.0 evenly."""
    import numpy as np

    faces = dataset.split_faces(split)
    rows = np.arange(count) % len(faces.keys)
    labels = np.asarray(faces.labels)[rows] > 0
    drawn = np.random.default_rng(seed).integers(1, 51, labels.shape) / 10
    values = np.where(labels, drawn, 0).astype(np.float32)
    keys = [str(dataset.key_with(faces.keys[i], row)) for i, row in zip(rows, values, strict=True)]
    return keys, values


def quality(found: Floats, intensities: Floats) -> dict[str, Any]:
    """Return ICC(3,1) and mean absolute error by AU, over all faces and over those with the AU."""
    import numpy as np

    from aubench.metrics.action_units.au_scores import icc

    rows = {}
    for k, au in enumerate(AUS):
        x, y = np.asarray(found[:, k], float), np.asarray(intensities[:, k], float)
        on = y > 0
        rows[f"AU{au}"] = {
            "ICC": round(icc(x, y), 3),
            "MAE": round(float(abs(x - y).mean()), 3),
            "ICC where active": round(icc(x[on], y[on]), 3),
            "MAE where active": round(float(abs(x - y)[on].mean()), 3),
        }
    mean = {
        key: round(float(np.mean([row[key] for row in rows.values()])), 3)
        for key in next(iter(rows.values()))
    }
    return {"mean": mean, **rows}


def calibrate(name: str, folder: Path) -> Path:
    """Fit the scale of a detector and write it beside its card; return the file."""
    from aubench.datasets.registry import find_dataset
    from aubench.networks.detectors import load_detector
    from aubench.networks.detectors.intensity import IntensityScale, fit, scale_path, write_scale

    detector = load_detector(name)
    dataset = find_dataset(detector.card["data"].get("source", "synfacs"))
    drawn = {split: draw(dataset, split, *how) for split, how in FACES.items()}
    found = {
        split: detector.probabilities(
            dataset.pictures_of(keys, SIZE, f"{split} faces").take(range(len(keys)))
        )
        for split, (keys, _) in drawn.items()
    }
    knots = fit(found["validation"], drawn["validation"][1])
    about: dict[str, Any] = {
        "command": f"python -m aubench._maintain.intensity_scale {name}",
        "renderer": dataset.images().fingerprint,
        "faces": {split: {"count": n, "seed": seed} for split, (n, seed) in FACES.items()},
    }
    scale = IntensityScale("", knots, {})
    about["test"] = quality(scale(found["test"]), drawn["test"][1])
    path = scale_path(name, folder)
    write_scale(path, detector, knots, about)
    return path


if __name__ == "__main__":
    from aubench.networks.detectors.detector import WEIGHTS

    for _word in sys.argv[1:]:
        sys.stderr.write(f"{calibrate(_word, WEIGHTS)}\n")
