"""Images in batches of one size, so that no result depends on the company of an image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]


def check_images(images: Images) -> None:
    """Raise TypeError unless images are uint8 [N, H, W, 3]."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise TypeError(f"want uint8 [N, H, W, 3], got {images.dtype} {images.shape}")


def padded(images: Images, size: int) -> Images:
    """Return ``size`` images, the last one repeated, for at most as many [N, H, W, 3]."""
    short = size - len(images)
    return np.concatenate([images, np.repeat(images[-1:], short, 0)]) if short else images


@contextmanager
def strict_float32(device: str) -> Iterator[None]:
    """Let networks measure in float32 that is float32, whatever a process was set to before.

    No gradients, no autocast, no TF32 or bfloat16 inside products (torch's default for convolutions
    on GPUs is TF32, ten bits), and no choice of kernels by a race. Settings are put back.

    Args:
        device: Torch device.
    """
    import torch

    cudnn = torch.backends.cudnn
    with (
        torch.inference_mode(),
        torch.autocast(device.split(":")[0], enabled=False),
        cudnn.flags(enabled=cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False),
        _products(torch),
    ):
        yield


@contextmanager
def _products(torch: Any) -> Iterator[None]:
    """Take products and convolutions of float32 as they are; releases of torch differ in how."""
    backends = torch.backends
    owners = (
        (backends.cuda, "matmul"),
        (backends.cudnn, "conv"),
        (backends.mkldnn, "matmul"),
        (backends.mkldnn, "conv"),
    )
    found: list[Any] = [getattr(owner, name, None) for owner, name in owners]
    parts = [part for part in found if hasattr(part, "fp32_precision")]
    before = [part.fp32_precision for part in parts]
    general = None if parts else torch.get_float32_matmul_precision()  # before torch 2.9
    try:
        for part in parts:
            part.fp32_precision = "ieee"
        if general:
            torch.set_float32_matmul_precision("highest")
        yield
    finally:
        for part, value in zip(parts, before, strict=True):
            part.fp32_precision = value
        if general:
            torch.set_float32_matmul_precision(general)
