"""The report of a detector that is there already."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aubench.networks.detectors.calibration import measure, write_report
from aubench.networks.detectors.detector import Detector
from aubench.networks.detectors.faces import Faces, Images
from aubench.networks.detectors.training.folds import test_faces
from aubench.progress import bar

CHUNK = 256


def predict(detector: Detector, faces: Faces) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return probabilities float32 [N, 12]; images of one size are passed on together."""
    out = np.empty((len(faces), faces.labels.shape[1]), np.float32)
    with bar(len(faces), f"scoring {detector.name}", "img") as progress:
        for start in range(0, len(faces), CHUNK):
            rows = range(start, min(start + CHUNK, len(faces)))
            sizes: dict[tuple[int, ...], list[tuple[int, Images]]] = {}
            for row in rows:
                image = faces.image(row)
                sizes.setdefault(image.shape, []).append((row, image))
            for group in sizes.values():
                at = [row for row, _ in group]
                out[at] = detector.probabilities(np.stack([image for _, image in group]))
            progress.update(len(rows))
    return out


def assess(
    detector: Detector, folder: Path, *, data: str, fold: int | None, limit: int | None
) -> list[Path]:
    """Write ``report.json`` and ``calibration.svg`` of a detector on a test part.

    Args:
        detector: Any; AUs that it does not know have no scores.
        folder: Folder to write to.
        data: ``synfacs`` or a folder with list files.
        fold: Fold whose test part is taken; None takes the test split.
        limit: Images, spread evenly.

    Raises:
        AubenchError: Bad data.
    """
    faces, about = test_faces(data, fold, limit, packed=detector.name.startswith("nano"))
    p = predict(detector, faces)
    parts = {"test": measure(p, faces.labels, detector.thresholds, faces.subjects)}
    return write_report(folder, parts, {"detector": detector.id, "data": about})
