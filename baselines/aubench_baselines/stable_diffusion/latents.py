"""The latents of a whole data set, computed once, and their scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from aubench.progress import bar
from aubench.training.settings import fast_precision
from aubench_baselines.sd15_lora.loop import to_float

if TYPE_CHECKING:
    import numpy.typing as npt

    from aubench_baselines.sd15_lora.data import Pictures

    Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Latents:
    """Mean and deviation float16 [N, C, h, w] of every image, already scaled."""

    mean: Tensor
    deviation: Tensor

    def draw(self, rows: Rows, draw: torch.Generator) -> Tensor:
        """Return float32 latents [B, C, h, w] drawn from the autoencoder's posterior."""
        mean = self.mean[rows].float()
        return mean + self.deviation[rows].float() * torch.randn(mean.shape, generator=draw)


def latent_scale(vae: Any, data: Pictures, count: int = 1024) -> float:
    """Return the factor that gives latents a deviation of 1, measured on some images."""
    rows = np.linspace(0, len(data) - 1, min(count, len(data))).astype(np.int64)
    vae.register_to_config(scaling_factor=1.0)
    some = encode_all(vae, data, rows=rows)
    variance = some.mean.float().var() + some.deviation.float().square().mean()
    return round(float(variance.rsqrt()), 5)


def encode_all(vae: Any, data: Pictures, *, rows: Rows | None = None, batch: int = 64) -> Latents:
    """Return the latents of images, of all if no rows are given."""
    means, deviations = [], []
    scale = vae.config.scaling_factor
    every = np.arange(len(data)) if rows is None else rows
    with torch.no_grad(), bar(len(every), "latents", "img") as progress:
        for i in range(0, len(every), batch):
            part = every[i : i + batch]
            fast = fast_precision() == "bfloat16"
            with torch.autocast("cpu", torch.bfloat16, enabled=fast):
                latent = vae.encode(to_float(data.images(part))).latent_dist
            means.append((latent.mean.float() * scale).half())
            deviations.append((latent.std.float() * scale).half())
            progress.update(len(part))
    return Latents(torch.cat(means), torch.cat(deviations))
