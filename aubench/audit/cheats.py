"""Faces that are drawn on, mixed or attacked in place of moved, and what each metric gives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aubench.audit.agreement import subject_weights
from aubench.audit.observe import Observed, witnessed
from aubench.audit.scores import metrics_of
from aubench.audit.witness.controls import as_pixels, attacked, blurred, decals, detail
from aubench.audit.witness.pictures import Samples
from aubench.metrics.statistics.resampling import interval

if TYPE_CHECKING:
    from aubench.networks.detectors.detector import Detector, NetworkDetector, PairedDetector

Images = npt.NDArray[np.uint8]
ALLOWED = 0.25
"""Share of the renderer's range above a copy of the reference that a cheat may reach."""
TARGET, COPY = "target", "copy"
RESAMPLES = 300
MOST = 24
"""Faces of a control at most: an attack takes seconds a face."""


def edges(samples: Samples, strength: float = 2.0) -> Images:
    """Return references with the edges that targets have beyond theirs drawn in as dark lines."""
    from scipy.ndimage import gaussian_gradient_magnitude

    def lines(images: Images) -> npt.NDArray[np.float32]:
        grey = images.astype(np.float32).mean(3)
        return np.asarray(np.stack([gaussian_gradient_magnitude(one, 0.7) for one in grey]))

    more = np.clip(lines(samples.targets) - lines(samples.references), 0, None)
    return as_pixels(samples.references - strength * more[..., None])


def blend(samples: Samples) -> Images:
    """Return the mean of each target and its reference."""
    return as_pixels((samples.targets.astype(np.float32) + samples.references) / 2)


def cheats(
    samples: Samples, victims: Sequence[NetworkDetector], seed: int
) -> dict[str, Callable[[], Images]]:
    """Return how the images of each control are made, target and copy first."""
    return {
        TARGET: lambda: samples.targets,
        COPY: lambda: samples.references,
        "decals": lambda: decals(samples),
        "texture": lambda: detail(samples, 2),
        "blend": lambda: blend(samples),
        "attack": lambda: attacked(samples, victims, seed),
        "edges": lambda: edges(samples),
        "blur": lambda: as_pixels(blurred(blend(samples), 1)),
    }


def judge_cheats(o: Observed) -> list[dict[str, Any]]:
    """Return a row a metric and control: value, and share of the way from copy to target.

    Of the audit's faces, evenly spread where they are many, at their commanded AUs.
    """
    from aubench.datasets import default_networks, image_source
    from aubench.networks.detectors import load_detectors
    from aubench.networks.detectors.detector import NetworkDetector

    o = _fewer(o)
    source, size = image_source(o.protocol.dataset), o.protocol.size
    target, reference = (
        source.load_many([str(key) for key in o.samples.frame[column]], size)
        for column in ("target", "reference")
    )
    samples = Samples(target, reference, o.samples.labels(), o.samples.subjects())
    readers = load_detectors(o.plan.detectors or default_networks(o.protocol.dataset).detectors)
    victims = [one for one in readers if isinstance(one, NetworkDetector)]
    makers = cheats(samples, victims, o.plan.seed)
    images = [make() for make in makers.values()]

    def repeated(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.broadcast_to(values[:1], (len(images), *values.shape[1:]))

    drawn = replace(
        o,
        seen={
            one.name: np.stack([_read(one, part, reference) for part in images]) for one in readers
        },
        shown=repeated(o.shown),
        asked=repeated(o.asked),
        wanted=repeated(o.wanted),
        witness=None,
    )
    if o.witness is not None:
        from aubench.networks.face_landmarker.readers import load_reader

        reader = load_reader(o.witness.name)
        arrays = [reader.network(part) for part in images]
        drawn = replace(drawn, witness=witnessed(reader, arrays[1], arrays, samples.labels))
    return _rows(drawn, list(makers))


def _read(
    one: Detector | PairedDetector, images: Images, references: Images
) -> npt.NDArray[np.float32]:
    from aubench.networks.detectors.detector import PairedDetector
    from aubench.networks.inference import readings

    if isinstance(one, PairedDetector):
        found = readings(one, one.network(images), one.network(references))
        return np.asarray(found["probabilities"], np.float32)
    return one.probabilities(images)


def _fewer(o: Observed) -> Observed:
    """Return what was observed of some faces; seen by nobody yet."""
    count = len(o.samples)
    if count <= MOST:
        return o
    rows = np.unique(np.linspace(0, count - 1, MOST).astype(int))
    return replace(
        o,
        samples=o.samples.subset(rows.tolist()),
        shown=o.shown[:, rows],
        asked=o.asked[:, rows],
        wanted=o.wanted[:, rows],
    )


def _rows(o: Observed, names: list[str]) -> list[dict[str, Any]]:
    ones, out = np.ones((1, len(o.samples))), []
    weights = subject_weights(o.samples.subjects(), RESAMPLES)
    for metric in metrics_of(o):
        if metric.name.endswith("-perfect"):
            continue  # of what was commanded, not of what is seen
        at, redrawn = metric.conditions(ones), metric.conditions(weights)
        for i, name in enumerate(names):
            share, ends = _share(at, i)[0], interval(_share(redrawn, i))
            out.append(
                {
                    "metric": metric.name,
                    "control": name,
                    "value": float(at[0, i]) if np.isfinite(at[0, i]) else None,
                    "share": float(share) if np.isfinite(share) else None,
                    "ci": None if ends is None else [round(x, 4) for x in ends],
                    "allowed": name in (TARGET, COPY) or bool(share <= ALLOWED),
                }
            )
    return out


def _share(values: npt.NDArray[np.float64], i: int) -> npt.NDArray[np.float64]:
    """Return the share of the way from copy to target of each resample [B]."""
    way = values[:, 0] - values[:, 1]
    out = np.full(len(values), np.nan)
    return np.asarray(np.divide(values[:, i] - values[:, 1], way, out=out, where=way > 1e-9))
