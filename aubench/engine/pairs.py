"""Generated images beside their targets: what is measured on pairs, in one pass, cached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.engine.features import Arrays, content_key, read_arrays, write_arrays
from aubench.progress import bar
from aubench.weights import MissingWeightsError

Load = Callable[[Sequence[str]], npt.NDArray[np.uint8]]
LPIPS_ID = "lpips|alex-v0.1"
BATCH = 64


@dataclass(frozen=True)
class Pairs:
    """Values of the generated images [K].

    Attributes:
        values: float arrays by name: ``lpips``, ``rms``, ``ssim``; absent where not measured.
        notes: why a wanted one is absent.
    """

    values: Arrays
    notes: dict[str, str]


def compare(
    made: Sequence[str],
    load_made: Load,
    targets: Sequence[str],
    load_target: Load,
    metrics: Sequence[str],
    folder: Path,
    content: str,
    size: int,
    device: str,
) -> Pairs:
    """Measure each generated image against its target; each pair is decoded once.

    Args:
        made: sample ids [K].
        load_made: returns uint8 [B, H, W, 3] for some of them.
        targets: image keys [K].
        load_target: returns uint8 [B, H, W, 3] for some of them.
        metrics: asked for; ``lpips`` and ``pixels`` are answered here.
        folder: for the cache files.
        content: digest of the pixels of both sides.
        size: side of the images.
        device: torch device.
    """
    steps, notes = _steps(metrics, size, device)
    values: Arrays = {}
    wanted = {}
    for name, (step, key) in steps.items():
        path, digest = folder / f"{name}.safetensors", content_key(content, key)
        cached = read_arrays(path, digest, len(made))
        if cached is None:
            wanted[name] = (step, path, digest)
        else:
            values |= cached
    parts: dict[str, list[Arrays]] = {name: [] for name in wanted}
    if wanted:
        with bar(len(made), f"{', '.join(wanted)} pairs", "pair") as progress:
            for i in range(0, len(made), BATCH):
                a, b = load_made(made[i : i + BATCH]), load_target(targets[i : i + BATCH])
                for name, (step, _, _) in wanted.items():
                    parts[name].append(step(a, b))
                progress.update(len(a))
    for name, (_, path, digest) in wanted.items():
        arrays = {k: np.concatenate([part[k] for part in parts[name]]) for k in parts[name][0]}
        write_arrays(path, digest, arrays)
        values |= arrays
    return Pairs(values, notes)


Step = Callable[[npt.NDArray[np.uint8], npt.NDArray[np.uint8]], Arrays]


def _steps(
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
                steps["lpips"] = (lambda a, b: {"lpips": network(a, b)}, network.sha256)
    if "pixels" in metrics:
        from aubench.metrics.pixels import rms, ssim

        steps["pixels"] = (
            lambda a, b: {
                "rms": rms(a, b).astype(np.float32),
                "ssim": ssim(a, b).astype(np.float32),
            },
            "rms, ssim 11 px",
        )
    return steps, notes
