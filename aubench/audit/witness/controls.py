"""What is done to faces to learn what a reader reads: softened, pasted onto, mirrored, attacked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.audit.witness.pictures import Samples
from aubench.networks.detectors.detector import NetworkDetector

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

COPY, TARGET = "copy of the reference", "target"
ATTACK = "attack on nano-a and nano-b, ±4/255"
ATTACK_STEPS, ATTACK_BATCH = 20, 16
ATTACK_SIZE = 4 / 255
"""Largest change of a pixel by the attack, of 1."""


def blurred(images: npt.NDArray[Any], sigma: float) -> Floats:
    """Return images float32 [N, H, W, 3] blurred by a Gaussian of ``sigma`` pixels."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(images.astype(np.float32), (0, sigma, sigma, 0)), np.float32)


def as_pixels(values: npt.NDArray[Any]) -> Images:
    """Return values rounded to uint8."""
    return np.asarray(np.clip(np.round(values), 0, 255), np.uint8)


def detail(samples: Samples, sigma: float) -> Images:
    """Return references with the target's detail that is finer than ``sigma`` pixels pasted on."""
    targets = samples.targets.astype(np.float32)
    return as_pixels(samples.references + targets - blurred(samples.targets, sigma))


def decals(samples: Samples, sigma: float = 8.0, strength: float = 1.0) -> Images:
    """Return references with what each commanded AU does to other people's pixels pasted on.

    For each AU the mean change of the samples of other people that command it, without what is
    coarser than ``sigma`` pixels: a picture of the AU that moves nothing.
    """
    gone = samples.targets.astype(np.float32) - samples.references
    subjects, out = np.asarray(samples.subjects), samples.references.astype(np.float32)
    fine = np.asarray(gone - blurred(gone, sigma), np.float32)
    for i, person in enumerate(subjects):
        for k in np.flatnonzero(samples.labels[i]):
            others = np.flatnonzero((samples.labels[:, k] == 1) & (subjects != person))
            if len(others):
                out[i] += strength * fine[others].mean(0)
    return as_pixels(out)


def attacked(samples: Samples, detectors: Sequence[NetworkDetector], seed: int = 0) -> Images:
    """Return the samples' references, attacked; see `attacked_references`."""
    return attacked_references(samples.references, samples.labels, detectors, seed)


def attacked_references(
    references: Images,
    labels: npt.NDArray[Any],
    detectors: Sequence[NetworkDetector],
    seed: int = 0,
) -> Images:
    """Return references that differ by at most 4 grey levels and read as the commanded AUs.

    Projected gradient steps on the mean cross entropy of the detectors (Madry et al. 2018).

    Args:
        references: uint8 [N, H, W, 3].
        labels: 0/1 [N, 12], the commanded AUs.
        detectors: Those that are attacked together.
        seed: Seed of the first noise.
    """
    import torch

    size, device = ATTACK_SIZE, detectors[0].device
    draw = torch.Generator().manual_seed(seed)
    parts = []
    for start in range(0, len(references), ATTACK_BATCH):
        part = references[start : start + ATTACK_BATCH]
        pixels = torch.from_numpy(np.ascontiguousarray(part)).permute(0, 3, 1, 2)
        x = pixels.float().to(device) / 255
        wanted = torch.from_numpy(labels[start : start + ATTACK_BATCH]).float().to(device)
        noise = (torch.rand(x.shape, generator=draw).to(device) * 2 - 1) * size
        for _ in range(ATTACK_STEPS):
            noise = noise.detach().requires_grad_(True)
            seen = (x + noise).clamp(0, 1)
            loss = torch.zeros((), device=device)
            for one in detectors:
                p = one.network(one.preparation.tensor(seen)).float().clamp(1e-6, 1 - 1e-6)
                loss = loss + torch.nn.functional.binary_cross_entropy(p, wanted)
            (slope,) = torch.autograd.grad(loss, noise)
            noise = (noise - size / 4 * slope.sign()).clamp(-size, size)
        made = ((x + noise.detach()).clamp(0, 1) * 255).round()
        parts.append(made.permute(0, 2, 3, 1).byte().cpu().numpy())
    return np.concatenate(parts)


def conditions(samples: Samples) -> dict[str, Callable[[], Images]]:
    """Return how the pictures of each condition are made, by its name; the attack aside."""
    order = np.roll(np.arange(len(samples.targets)), 1)
    return {
        TARGET: lambda: samples.targets,
        COPY: lambda: samples.references,
        "another sample's target": lambda: samples.targets[order],
        "target mirrored": lambda: samples.targets[:, :, ::-1].copy(),
        "target blurred 1 px": lambda: as_pixels(blurred(samples.targets, 1)),
        "target blurred 2 px": lambda: as_pixels(blurred(samples.targets, 2)),
        "pasted detail finer than 1 px": lambda: detail(samples, 1),
        "pasted detail finer than 2 px": lambda: detail(samples, 2),
        "pasted decals": lambda: decals(samples),
        "pasted decals, twice": lambda: decals(samples, strength=2),
    }
