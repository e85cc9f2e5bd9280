"""What the detectors that were trained on a bed read of it: motion, wrinkles, paste, memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.audit.synfacs.beds import Bed, Face, active, render_all
from aubench.facs import AUS
from aubench.facs.f1 import f1_by_au
from aubench.networks.detectors import load_detector
from aubench.networks.detectors.detector import Detector, NetworkDetector

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Drawn:
    """Faces as they occur, their references of the same scene, and what is in them."""

    targets: Images
    references: Images
    values: npt.NDArray[np.float32]

    @property
    def labels(self) -> Labels:
        """Whether each AU is active, int64 [N, 12]."""
        return (self.values > 0).astype(np.int64)


def occurring(bed: Bed, count: int, condition: str, seed: int) -> Drawn:
    """Return faces of fresh subjects with AU sets and intensities as they occur in the bed.

    Four faces a subject; references of the same scene, so that differences are the AUs' alone.
    """
    draw = np.random.default_rng([seed, len(condition)])
    first = not bed.layered
    occurrence = f"aubench.datasets.{'synfacs.synfacs_dataset' if first else 'synfacs2.occurrence'}"
    module: Any = import_module(occurrence)
    values = module.draw_intensities(draw, module.draw_labels(draw, count))
    people = draw.choice(len(bed.fresh), -(-count // 4), replace=False)
    faces = [
        Face(bed.fresh[people[i // 4]], tuple(map(float, row)), 90_000 + i, condition)
        for i, row in enumerate(values)
    ]
    rest = [replace(face, values=active((), 0)) for face in faces]
    return Drawn(
        render_all(bed, faces, f"{condition} faces"),
        render_all(bed, rest, f"{condition} references"),
        values,
    )


def detectors(bed: Bed) -> list[Detector]:
    """Return the bed's own two detectors.

    Raises:
        AubenchError: Their weights are missing.
    """
    return [load_detector(name) for name in bed.detectors]


def f1(detector: Detector, images: Images, labels: Labels) -> float:
    """Return the macro F1 of a detector on images."""
    found = detector.probabilities(images) >= detector.thresholds
    return float(np.nanmean(f1_by_au(found, labels)))


def witness_f1(drawn: Drawn, images: Images) -> float:
    """Return the macro F1 of the witness ``mp-geo``, which holds images against the references.

    Raises:
        AubenchError: The weights of ``mp-face`` are missing.
    """
    from aubench.networks.detectors.detector import PairedDetector
    from aubench.networks.detectors.registry import load_any

    witness = load_any("mp-geo", "cpu")
    assert isinstance(witness, PairedDetector)
    found = witness.probabilities_of(images, drawn.references) >= witness.thresholds
    return float(np.nanmean(f1_by_au(found, drawn.labels)))


def attack_transfer(bed: Bed, drawn: Drawn) -> dict[str, dict[str, float]]:
    """Return each detector's F1 on references that were attacked, by ±4/255, through another.

    Returns:
        By detector: F1 on the plain references, where it is attacked itself, and for each other
        detector where that one is attacked.
    """
    from aubench.audit.witness.controls import attacked_references

    own = [one for one in detectors(bed) if isinstance(one, NetworkDetector)]
    pictures = {one.name: attacked_references(drawn.references, drawn.labels, [one]) for one in own}
    return {
        one.name: {
            "references": f1(one, drawn.references, drawn.labels),
            **{f"attack on {n}": f1(one, x, drawn.labels) for n, x in pictures.items()},
        }
        for one in own
    }


def pasted(bed: Bed, drawn: Drawn, level: float = 4.0, donors: int = 12) -> Images:
    """Return references with mean differences of single AUs pasted on, as ``decals`` does."""
    people = [bed.train[i] for i in np.linspace(0, len(bed.train) - 1, donors).astype(int)]
    rows = [()] + [(au,) for au in AUS]
    faces = [Face(s, active(aus, level), 60_000 + s) for s in people for aus in rows]
    images = render_all(bed, faces, "decals").astype(np.float32)
    images = images.reshape(donors, len(rows), *images.shape[1:])
    change = (images[:, 1:] - images[:, :1]).mean(0)
    weights = drawn.values / level
    whole = drawn.references + np.einsum("nk,khwc->nhwc", weights, change, optimize=True)
    return np.asarray(np.clip(np.round(whole), 0, 255), np.uint8)


def layer_probabilities(bed: Bed, subjects: list[int], layers: str) -> dict[str, list[float]]:
    """Return by detector the mean probability of each single AU at D, the AU being commanded."""
    faces = [Face(s, active((au,), 4.0), 40_000 + s, layers=layers) for s in subjects for au in AUS]
    images = render_all(bed, faces, layers)
    out = {}
    for detector in detectors(bed):
        p = detector.probabilities(images).reshape(len(subjects), len(AUS), len(AUS))
        out[detector.name] = [float(p[:, k, k].mean()) for k in range(len(AUS))]
    return out


def memory_gap(bed: Bed, count: int) -> tuple[float, float, str]:
    """Return the F1 of the bed's first detector on targets of ``unseen`` and on nearest faces.

    Returns:
        F1 of the targets, F1 of the training faces whose AU sets are nearest, the detector's name.
    """
    from aubench.datasets.registry import find_dataset
    from aubench.metrics.distributions.memorisation import nearest
    from aubench.protocols.protocol import load_protocol

    samples = load_protocol("unseen", bed.name).samples()
    train = find_dataset(bed.name).faces("train")
    images = find_dataset(bed.name).images()
    rows = np.linspace(0, len(samples) - 1, count).astype(int)
    asked = samples.intensities()[rows].astype(np.float64)
    labels = samples.labels()[rows].astype(np.int64)
    near = nearest(asked, np.asarray(train.intensities, np.float64)).index
    targets = [str(samples.frame["target"].iloc[row]) for row in rows]
    remembered = [train.keys[row] for row in near]
    detector = load_detector(bed.detectors[0])
    scores = []
    for keys, label in ((targets, "unseen targets"), (remembered, "nearest training faces")):
        images.prefetch(keys, 128, label)
        scores.append(f1(detector, images.load_many(keys, 128), labels))
    return scores[0], scores[1], detector.name
