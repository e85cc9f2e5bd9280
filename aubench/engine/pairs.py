"""Generated images beside their targets: what is measured on pairs, in one pass, cached."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.engine.features import Arrays, content_key, read_arrays, write_arrays
from aubench.files import sha256_file
from aubench.progress import bar
from aubench.weights import MissingWeightsError

Load = Callable[[Sequence[str]], npt.NDArray[np.uint8]]
LPIPS_ID = "lpips|alex-v0.1"
BATCH = 64


@dataclass(frozen=True)
class Side:
    """One image of each pair: keys [K], and a loader of uint8 [B, H, W, 3] for some of them."""

    keys: Sequence[str]
    load: Load


@dataclass(frozen=True)
class Batch:
    """Some pairs, decoded.

    Attributes:
        made: generated, uint8 [B, H, W, 3].
        target: of the same shape.
        reference: of the same shape; None where no step wants it.
        labels: commanded AUs uint8 [B, 12].
    """

    made: npt.NDArray[np.uint8]
    target: npt.NDArray[np.uint8]
    reference: npt.NDArray[np.uint8] | None
    labels: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pairs:
    """Values of the generated images [K].

    Attributes:
        values: float arrays by name: ``lpips``, ``rms``, ``ssim``, ``outside``, ``locality`` and
            the last two ``_of_target``; absent where not measured.
        notes: why a wanted one is absent.
    """

    values: Arrays
    notes: dict[str, str]


def compare(
    made: Side,
    target: Side,
    reference: Side,
    labels: npt.NDArray[np.uint8],
    metrics: Sequence[str],
    folder: Path,
    content: str,
    size: int,
    device: str,
) -> Pairs:
    """Measure each generated image against its target and reference; each is decoded once.

    Args:
        made: sample ids.
        target: image keys.
        reference: image keys, loaded only where wanted.
        labels: commanded AUs uint8 [K, 12].
        metrics: asked for; ``lpips``, ``pixels`` and ``change`` are answered here.
        folder: for the cache files.
        content: digest of the pixels of all sides.
        size: side of the images.
        device: torch device.
    """
    steps, notes = steps_of(metrics, size, device)
    values: Arrays = {}
    wanted = {}
    for name, (step, key) in steps.items():
        path, digest = folder / f"{name}.safetensors", content_key(content, key)
        cached = read_arrays(path, digest, len(made.keys))
        if cached is None:
            wanted[name] = (step, path, digest)
        else:
            values |= cached
    parts: dict[str, list[Arrays]] = {name: [] for name in wanted}
    if wanted:
        with bar(len(made.keys), f"{', '.join(wanted)} pairs", "pair") as progress:
            for batch in _batches(made, target, reference if "change" in wanted else None, labels):
                for name, (step, _, _) in wanted.items():
                    parts[name].append(step(batch))
                progress.update(len(batch.made))
    for name, (_, path, digest) in wanted.items():
        arrays = {k: np.concatenate([part[k] for part in parts[name]]) for k in parts[name][0]}
        write_arrays(path, digest, arrays)
        values |= arrays
    return Pairs(values, notes)


def _batches(
    made: Side, target: Side, reference: Side | None, labels: npt.NDArray[np.uint8]
) -> Iterator[Batch]:
    for i in range(0, len(made.keys), BATCH):
        here = slice(i, i + BATCH)
        yield Batch(
            made.load(made.keys[here]),
            target.load(target.keys[here]),
            reference.load(reference.keys[here]) if reference else None,
            labels[here],
        )


Step = Callable[[Batch], Arrays]


def _pixels(batch: Batch) -> Arrays:
    from aubench.metrics.pixels import rms, ssim

    a, b = batch.made, batch.target
    return {"rms": rms(a, b).astype(np.float32), "ssim": ssim(a, b).astype(np.float32)}


def _change(batch: Batch) -> Arrays:
    from aubench.metrics.change import cell_change, commanded_regions, locality, outside_change

    assert batch.reference is not None
    inside, out = commanded_regions(batch.labels), {}
    for tail, images in (("", batch.made), ("_of_target", batch.target)):
        change = cell_change(images, batch.reference)
        out[f"outside{tail}"] = outside_change(change, inside).astype(np.float32)
        out[f"locality{tail}"] = locality(change, inside).astype(np.float32)
    return out


def steps_of(
    metrics: Sequence[str], size: int, device: str
) -> tuple[dict[str, tuple[Step, str]], dict[str, str]]:
    """Return what to compute, by name with a key for the cache, and why something cannot be."""
    steps: dict[str, tuple[Step, str]] = {}
    notes = {}
    if "lpips" in metrics:
        from aubench.metrics.lpips import MINIMUM, load_lpips

        try:
            network: Any = load_lpips(device)
        except MissingWeightsError as error:
            notes["lpips"] = str(error)
        else:
            if size < MINIMUM:
                notes["lpips"] = f"images of {size} px are too small for LPIPS"
            else:
                steps["lpips"] = (
                    lambda batch: {"lpips": network(batch.made, batch.target)},
                    network.sha256,
                )
    if "pixels" in metrics:
        steps["pixels"] = (_pixels, "rms, ssim 11 px")
    if "change" in metrics:
        from aubench.metrics.change import REGIONS

        steps["change"] = (_change, f"cells, regions {sha256_file(REGIONS)}")
    return steps, notes
