"""Generated images beside their targets: what metrics compute on pairs, in one pass, cached."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aubench.metrics.evaluation_data import Arrays
from aubench.metrics.metric import Metric, PairBatch, PairStep, UnavailableError
from aubench.metrics.registry import pair_step_of
from aubench.networks.external_weights import MissingWeightsError
from aubench.progress import bar
from aubench.storage.array_files import content_key, read_arrays, write_arrays

Load = Callable[[Sequence[str]], npt.NDArray[np.uint8]]
BATCH = 64


@dataclass(frozen=True)
class Side:
    """One image of each pair: keys [K], and a loader of uint8 [B, H, W, 3] for some of them."""

    keys: Sequence[str]
    load: Load


@dataclass(frozen=True)
class ImagePairs:
    """Generated images with what they are compared with.

    Attributes:
        generated: Sample ids.
        target: Image keys.
        reference: Image keys, loaded only where a step wants them.
        labels: Commanded AUs, uint8 [K, 12].
        content: Digest of the pixels of all sides.
    """

    generated: Side
    target: Side
    reference: Side
    labels: npt.NDArray[np.uint8]
    content: str

    def batches(self, *, reference: bool) -> Iterator[PairBatch]:
        """Yield the pairs, decoded, some at a time."""
        for i in range(0, len(self.generated.keys), BATCH):
            here = slice(i, i + BATCH)
            yield PairBatch(
                self.generated.load(self.generated.keys[here]),
                self.target.load(self.target.keys[here]),
                self.reference.load(self.reference.keys[here]) if reference else None,
                self.labels[here],
            )


def measure_pairs(pairs: ImagePairs, steps: dict[str, PairStep], folder: Path) -> Arrays:
    """Return values of the generated images [K] by name; each image is decoded once.

    Args:
        pairs: The images.
        steps: What to compute, by metric.
        folder: For the cache files, one a metric.
    """
    values: Arrays = {}
    lacking: dict[str, tuple[PairStep, Path, str]] = {}
    for name, step in steps.items():
        path, digest = folder / f"{name}.safetensors", content_key(pairs.content, step.key)
        cached = read_arrays(path, digest, len(pairs.generated.keys))
        if cached is None:
            lacking[name] = (step, path, digest)
        else:
            values |= cached
    if not lacking:
        return values
    parts: dict[str, list[Arrays]] = {name: [] for name in lacking}
    reference = any(step.reference for step, _, _ in lacking.values())
    with bar(len(pairs.generated.keys), f"{', '.join(lacking)} pairs", "pair") as progress:
        for batch in pairs.batches(reference=reference):
            for name, (step, _, _) in lacking.items():
                found = step.compute(batch)  # a plug-in may return one buffer again and again
                parts[name].append({key: np.array(value) for key, value in found.items()})
            progress.update(len(batch.generated))
    for name, (_, path, digest) in lacking.items():
        arrays = {k: np.concatenate([part[k] for part in parts[name]]) for k in parts[name][0]}
        write_arrays(path, digest, arrays)
        values |= arrays
    return values


def steps_of(
    metrics: Sequence[Metric], size: int, device: str
) -> tuple[dict[str, PairStep], dict[str, str]]:
    """Return what metrics compute on pairs, by metric, and why something cannot be computed."""
    steps: dict[str, PairStep] = {}
    unavailable = {}
    for metric in metrics:
        try:
            step = pair_step_of(metric, size, device)
        except (MissingWeightsError, UnavailableError) as error:
            unavailable[metric.name] = str(error)
            continue
        if step is not None:
            steps[metric.name] = step
    return steps, unavailable
