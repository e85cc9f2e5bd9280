"""Settings and steps of the Stable Diffusion baseline's training."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from aubench.datasets import DEFAULT_DATASET
from aubench.errors import AubenchError
from aubench.training.loop import (
    Losses,
    Stateful,
    TrainingLoop,
    copied,
    set_rate,
    update_average,
)
from aubench.training.settings import fast_precision, with_options

if TYPE_CHECKING:
    import numpy.typing as npt

Batch = tuple[Tensor, Losses]


@dataclass(frozen=True)
class Settings:
    """What one stage of a training is; a checkpoint of other settings is refused.

    Attributes:
        stage: 1 autoencoder, 2 base on neutral faces, 3 LoRA on AU texts.
        preset: ``nano`` or ``paper``.
        data: Data set by name, or a folder with ``metadata.csv`` (``file_name,text``).
        steps: Optimiser steps.
        batch: Images a step.
        rate: Learning rate at its highest.
        seed: Seed of initial weights and draws.
        limit: Only the first samples; 0 for all.
        base: Stage 3: diffusers folder, safetensors file or hub id; empty for stage 2's.
        rank: Rank of the LoRA matrices; their scale is 1 (alpha equals rank).
        targets: ``attention`` or ``all`` linear layers of the denoiser's transformer blocks.
        text_encoder: Whether the text encoder gets LoRA too.
        long_text: ``chunk`` or ``truncate``.
        drop_text: Share of samples trained without text, for guidance.
        kept: Whether latents are computed once and kept in memory.
        precision: ``bfloat16`` (autocast) or ``float32``.
    """

    stage: int
    preset: str = "nano"
    data: str = DEFAULT_DATASET
    fold: int | None = None
    steps: int = 1000
    batch: int = 16
    rate: float = 1e-3
    seed: int = 0
    limit: int = 0
    base: str = ""
    rank: int = 32
    targets: str = "attention"
    text_encoder: bool = True
    long_text: str = "chunk"
    drop_text: float = 0.1
    kept: bool = True
    precision: str = field(default_factory=fast_precision)


def changed(settings: Settings, options: Mapping[str, str]) -> Settings:
    """Return settings with ``--set`` options applied.

    Raises:
        AubenchError: An option is unknown or its value unreadable.
    """
    fixed = ("stage", "preset", "data", "fold", "seed")
    done = with_options(settings, options, "sd15-lora", fixed)
    _check(done)
    return done


def _check(s: Settings) -> None:
    from aubench_baselines.stable_diffusion.adapter import TARGETS
    from aubench_baselines.stable_diffusion.text import check_way

    check_way(s.long_text)
    if s.targets not in TARGETS:
        raise AubenchError(f"--set targets={s.targets} is unknown", f"{' or '.join(TARGETS)}")
    if s.precision not in ("bfloat16", "float32"):
        raise AubenchError(f"--set precision={s.precision} is unknown", "bfloat16 or float32")
    if min(s.steps, s.batch, s.rank) < 1 or s.rate <= 0 or not 0 <= s.drop_text < 1:
        raise AubenchError("steps, batch, rank and rate are positive, drop_text is in [0, 1)")


class Loop(TrainingLoop):
    """What the stages have in common; a stage fills in ``make``, ``count`` and ``loss``.

    ``modules`` are trained where their parameters require a gradient, and only those parameters
    are kept in the checkpoint. A step is drawn from seed and step number alone.
    """

    save_seconds = 60.0

    def __init__(self, settings: Settings, out: Path, device: str) -> None:
        self.s, self.out = settings, out
        stage = settings.stage
        super().__init__(
            settings,
            out / f"stage{stage}.checkpoint.pt",
            f"stage {stage}",
            device=device,
            precision=settings.precision,
        )
        torch.manual_seed(settings.seed)
        self.modules = self.make()
        for module in self.modules.values():
            module.to(device)
        self.trained = dict(self._trained())
        self.average = copied(self.trained)
        self.smoothed: dict[str, float] = {}
        self.optimiser = torch.optim.AdamW(
            list(self.trained.values()),
            lr=settings.rate,
            betas=(0.9, 0.99),
            weight_decay=1e-2,
        )

    @abstractmethod
    def make(self) -> dict[str, nn.Module]:
        """Return the networks by name, frozen parameters marked."""

    @abstractmethod
    def count(self) -> int:
        """Return the number of samples."""

    @abstractmethod
    def loss(self, rows: npt.NDArray[np.int64], draw: torch.Generator) -> Batch:
        """Return the loss of a batch and what to log."""

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield what is trained; slow on a large network, so asked once."""
        for name, module in self.modules.items():
            for key, value in module.named_parameters():
                if value.requires_grad:
                    yield f"{name}.{key}", value

    @property
    def total_steps(self) -> int:
        """Steps of the stage."""
        return self.s.steps

    def stateful(self) -> dict[str, Stateful]:
        """Return the optimiser."""
        return {"optimiser": self.optimiser}

    def extra_state(self) -> dict[str, Any]:
        """Return what is trained, its moving average and the smoothed losses."""
        trained = {key: value.detach() for key, value in self.trained.items()}
        return {"trained": trained, "average": self.average, "smoothed": self.smoothed}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Take back what is trained, its moving average and the smoothed losses."""
        with torch.no_grad():
            for key, value in self.trained.items():
                value.copy_(state["trained"][key])
        self.average = {k: v.to(self.device) for k, v in state["average"].items()}
        self.smoothed = state["smoothed"]

    def take_average(self) -> None:
        """Put the moving average into the networks."""
        with torch.no_grad():
            for key, value in self.trained.items():
                value.copy_(self.average[key])

    def _rate(self) -> float:
        share = self.step_number / self.s.steps
        warm = min(1.0, (self.step_number + 1) / min(100, max(1, self.s.steps // 10)))
        return self.s.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))

    def optimise(self) -> Losses:
        """Do one step; a loss that is not finite spoils no weights."""
        draw = torch.Generator().manual_seed(self.s.seed * 1_000_003 + self.step_number)
        rows = torch.randint(0, self.count(), (self.s.batch,), generator=draw).numpy()
        set_rate(self.optimiser, self._rate())
        with _attention(self.device):
            with self.autocast():
                loss, losses = self.loss(rows, draw)
            self.check_finite(losses)
            self.optimiser.zero_grad(set_to_none=True)
            self.add_gradient(loss)
        self.descend(self.optimiser, self.trained.values(), 1.0)
        return losses

    def update_averages(self) -> None:
        """Average what is trained."""
        update_average(self.average, self.trained, 0.995, self.step_number)

    def note(self, losses: Losses) -> Losses:
        """Smooth the losses; log them every 50 steps."""
        former = self.smoothed
        self.smoothed = {k: 0.98 * former.get(k, v) + 0.02 * v for k, v in losses.items()}
        if self.step_number % 50 == 0:
            self.log.append({"step": self.step_number, **self.smoothed})
        return self.smoothed


def _attention(device: torch.device) -> AbstractContextManager[None]:
    """Take plain attention on a processor: there the fused one's gradient costs more by far."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    kernel: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    return kernel if device.type == "cpu" else nullcontext()


def to_float(images: Any) -> Tensor:
    """Return float32 [B, 3, H, W] in -1..1 of uint8 [B, H, W, 3]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
