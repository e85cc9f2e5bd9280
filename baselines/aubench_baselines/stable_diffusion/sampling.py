"""What every Stable Diffusion generator here does alike: solver, seeded noise, pixels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError, suggest

if TYPE_CHECKING:
    import torch


def prepare(pipe: Any, device: str) -> None:
    """Freeze a pipeline, move it, and give it DPM-Solver++ (2M) on the schedule of its base."""
    from diffusers import DPMSolverMultistepScheduler

    pipe.scheduler = DPMSolverMultistepScheduler.from_config(
        pipe.scheduler.config, algorithm_type="dpmsolver++", solver_order=2
    )
    pipe.set_progress_bar_config(disable=True)
    pipe.to(device)
    for part in (pipe.unet, pipe.vae, pipe.text_encoder):
        part.eval().requires_grad_(False)


@contextmanager
def sampling() -> Iterator[None]:
    """Sample without gradients.

    diffusers hands tensors to numpy in a way that numpy will drop: nothing that a user can mend.
    """
    import torch

    with torch.inference_mode(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="diffusers")
        yield


def noise(unet: Any, seeds: Sequence[int]) -> torch.Tensor:
    """Return starting latents [B, C, h, w], each drawn on the CPU from its own seed."""
    import torch

    side, channels = unet.config.sample_size, unet.config.out_channels
    drawn = [
        torch.randn(channels, side, side, generator=torch.Generator().manual_seed(seed))
        for seed in seeds
    ]
    return torch.stack(drawn).to(unet.device, unet.dtype)


def pixels(images: torch.Tensor) -> npt.NDArray[np.uint8]:
    """Return uint8 [B, H, W, 3] of float [B, 3, H, W] in 0..1, rounded.

    Raises:
        ValueError: A value is no number; as a pixel it would look like black.
    """
    import torch

    if not torch.isfinite(images).all():
        raise ValueError("the network made pixels that are no numbers")
    rounded = (images.float() * 255).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(rounded.permute(0, 2, 3, 1).cpu().numpy())


def fitted(image: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """Return uint8 [size, size, 3], scaled where it must be (bicubic, antialiased)."""
    from PIL import Image

    if image.shape[0] == size:
        return image
    scaled = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(scaled, dtype=np.uint8)


def read_options(name: str, given: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return a model's options, those given in place of the defaults, of the same types.

    Raises:
        AubenchError: One is unknown or its value unreadable.
    """
    found = dict(defaults)
    for key, word in given.items():
        if key not in defaults:
            raise AubenchError(
                f"{name} has no option '{key}'{suggest(key, defaults)}",
                f"choose from {', '.join(defaults)}",
            )
        try:
            found[key] = type(defaults[key])(word)
        except ValueError as error:
            raise AubenchError(f"option {key}={word} is not a number") from error
    return found


def filled(rows: Sequence[int], size: int) -> list[tuple[list[int], list[int]]]:
    """Return (rows, rows padded to ``size`` by repeating the last) for each micro batch.

    One size, since the last bits of a matrix product may depend on its shape.
    """
    parts = [list(rows[k : k + size]) for k in range(0, len(rows), size)]
    return [(part, part + part[-1:] * (size - len(part))) for part in parts]
