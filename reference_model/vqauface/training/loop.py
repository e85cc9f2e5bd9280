"""The loop of a stage: what its steps have in common, log and sample sheets.

Processes that ``accelerate launch`` starts take a part of every batch each; the first writes.
"""

from __future__ import annotations

import json
import math
import sys
from abc import abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from aubench.errors import AubenchError
from aubench.storage.files import atomic_path, write_text
from aubench.training.loop import (
    Losses,
    Stateful,
    TrainingLoop,
    copied,
    set_rate,
    update_average,
)
from vqauface.presets import Preset
from vqauface.settings import UNCHECKED, Settings
from vqauface.training.memory import estimate, free_memory

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

Rows = npt.NDArray[np.int64]


class Loop(TrainingLoop):
    """One stage's training; a stage says what a batch is and what it costs.

    Args:
        settings: Settings of the stage.
        shape: Shape of both stages.
        out: Folder of checkpoints, logs and sheets.
        count: Images to draw from.
        device: Torch device.
        facts: What else a checkpoint must agree on, such as the data's fingerprint.
    """

    unchecked = UNCHECKED

    def __init__(
        self,
        settings: Settings,
        shape: Preset,
        out: Path,
        count: int,
        device: str,
        facts: dict[str, str],
    ) -> None:
        from accelerate import Accelerator

        self.s, self.p, self.out, self.count = settings.counted(count), shape, out, count
        self._facts: dict[str, Any] = {"shape": asdict(shape), **facts}
        super().__init__(
            self.s,
            out / f"stage{settings.stage}.checkpoint.pt",
            f"stage {settings.stage}",
            accelerator=Accelerator(cpu=device == "cpu"),
            precision=settings.precision,
        )
        self.save_every = settings.save_every
        self.plan_memory()
        self.check_batch(settings.batch, self.parts)
        torch.manual_seed(settings.seed)
        self.model: nn.Module = self.make().to(self.device)
        self.average = copied(self.model.state_dict())
        self.optimiser = self._optimiser(self.model, self.s.rate)
        self._writer: SummaryWriter | None = None

    def plan_memory(self) -> None:
        """Estimate the memory of the stage, and cut the batch by it where no setting says how."""
        images = -(-self.s.batch // self.processes)
        self.memory = estimate(self.s, self.p, images)
        self.free = free_memory(self.device)
        stated = self.s.accumulate
        self.parts = stated or (self.memory.parts(self.free) if self.memory else 1)

    def run(self, *, stop: int | None = None) -> None:
        """Tell the estimate of memory, then train; see `TrainingLoop.run`."""
        if self.memory is not None and self.is_first and not self.finished:
            stated = self.s.accumulate is not None
            sys.stderr.write(self.memory.line(self.parts, self.free, stated) + "\n")
        try:
            super().run(stop=stop)
        finally:
            if self._writer is not None:
                self._writer.close()  # its thread would outlive the training
                self._writer = None

    def _optimiser(self, model: nn.Module, rate: float) -> torch.optim.Optimizer:
        kind = torch.optim.AdamW if self.s.adamw else torch.optim.Adam
        wanted = [p for p in model.parameters() if p.requires_grad]
        beta1, beta2 = self.s.betas
        return kind(wanted, lr=rate, betas=(beta1, beta2), weight_decay=self.s.decay)

    @abstractmethod
    def make(self) -> nn.Module:
        """Return the network to train."""

    @abstractmethod
    def advance(self, rows: Rows, draw: torch.Generator) -> Losses:
        """Take a step on the images of ``rows``; return what to log."""

    def sheet(self) -> npt.NDArray[np.uint8] | None:
        """Return a picture of samples uint8 [H, W, 3], or None."""
        return None

    def logged(self) -> Losses:
        """Return what to add to a line of the log."""
        return {}

    @property
    def total_steps(self) -> int:
        """Steps of the stage."""
        return self.s.total

    def facts(self) -> dict[str, Any]:
        """Return shape, data and frozen networks."""
        return self._facts

    def stateful(self) -> dict[str, Stateful]:
        """Return network and optimiser."""
        return {"model": self.model, "optimiser": self.optimiser}

    def extra_state(self) -> dict[str, Any]:
        """Return the moving average."""
        return {"average": self.average}

    def load_extra_state(self, state: Any) -> None:
        """Take back the moving average."""
        self.average = {k: v.to(self.device) for k, v in state["average"].items()}

    def save(self) -> None:
        """Write log and checkpoint."""
        if self.is_first:
            lines = "".join(json.dumps(line) + "\n" for line in self.log)
            write_text(self.out / f"stage{self.s.stage}.log.jsonl", lines)
        super().save()
        if self._writer is not None:
            self._writer.flush()

    def rate(self) -> float:
        """Return the learning rate of the next step."""
        warm = min(1.0, (self.step_number + 1) / self.s.warm) if self.s.warm else 1.0
        if not self.s.cosine:
            return self.s.rate * warm
        share = self.step_number / self.s.total
        return self.s.rate * warm * (0.5 * (1 + math.cos(math.pi * share)) * 0.98 + 0.02)

    def update_averages(self) -> None:
        """Average all but the codebooks, which are moving averages themselves."""
        update_average(
            self.average,
            self.model.state_dict(),
            self.s.ema,
            self.step_number,
            lambda name: "_codebook" in name,
        )

    def pieces(self) -> list[slice]:
        """Return the parts of a batch that this process computes."""
        return self.batch_parts(self.s.batch, self.parts)

    def share(self, piece: slice) -> float:
        """Return the weight of a part's mean in that of the batch, for this process's gradient."""
        return (piece.stop - piece.start) / self.s.batch * self.processes

    def optimise(self) -> Losses:
        """Do one step on images drawn by seed and step number alone."""
        draw = torch.Generator().manual_seed(self.s.seed * 1_000_003 + self.step_number)
        torch.manual_seed(self.s.seed * 7_000_003 + self.step_number + self.rank * 97_001)
        rows = torch.randint(0, self.count, (self.s.batch,), generator=draw).numpy()
        set_rate(self.optimiser, self.rate())
        self.model.train()
        try:
            losses = self.advance(rows, draw)
        except torch.OutOfMemoryError as error:
            raise self._out_of_memory() from error
        values = torch.tensor(list(losses.values()), device=self.device, dtype=torch.float64)
        return dict(zip(losses, self.mean_over_processes(values).tolist(), strict=True))

    def _out_of_memory(self) -> AubenchError:
        """Return the error of a batch whose parts do not fit, with the setting that mends it."""
        each = -(-self.s.batch // (self.processes * self.parts))
        place = "the card" if self.device.type == "cuda" else "this machine"
        fault = f"stage {self.s.stage}, step {self.step_number + 1}: out of memory on {place} with "
        fault += f"accumulate={self.parts}, {each} images at a time"
        if each == 1:
            return AubenchError(fault, "a card with more memory, or --set precision=bfloat16")
        parts = min(2 * self.parts, -(-self.s.batch // self.processes))
        return AubenchError(fault, f"--set accumulate={parts}; the same command then goes on")

    def note(self, losses: Losses) -> Losses:
        """Add a line to the log and a sheet to the sheets where they are due."""
        if self.step_number % self.s.log_every == 0:
            line = {"step": self.step_number, **losses, **self.logged(), "rate": self.rate()}
            self.log.append(line)
            if self.is_first:
                for key, value in line.items():
                    tag = f"stage{self.s.stage}/{key.replace(' ', '_')}"
                    self.writer.add_scalar(tag, value, self.step_number)
        due = self.s.sheet_every and self.step_number % self.s.sheet_every == 0
        if due and self.is_first:
            picture = self.sheet()
            if picture is not None:
                self._keep_sheet(picture)
        return losses

    def _keep_sheet(self, picture: npt.NDArray[np.uint8]) -> None:
        from PIL import Image

        path = self.out / "sheets" / f"stage{self.s.stage}-{self.step_number:06d}.png"
        with atomic_path(path) as temporary:
            Image.fromarray(picture).save(temporary, format="PNG")
        self.writer.add_image(
            f"stage{self.s.stage}/sheet", picture, self.step_number, dataformats="HWC"
        )

    @property
    def writer(self) -> SummaryWriter:
        """Logs that TensorBoard reads, below ``logs``; what a kill lost is written again."""
        if self._writer is None:
            from torch.utils.tensorboard.writer import SummaryWriter

            self._writer = SummaryWriter(
                str(self.out / "logs" / f"stage{self.s.stage}"), purge_step=self.step_number
            )
        return self._writer


def tiled(rows: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """Return one picture of rows of images, each uint8 [B, S, S, 3]."""
    return np.concatenate([np.concatenate(list(row), 1) for row in rows], 0)


def to_pixels(x: Tensor) -> npt.NDArray[np.uint8]:
    """Return uint8 [B, H, W, 3] of float [B, 3, H, W] in -1..1, rounded.

    Raises:
        ValueError: A value is no number; as a pixel it would look like black.
    """
    if not torch.isfinite(x).all():
        raise ValueError("the network made pixels that are no numbers")
    pixels = ((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).cpu().numpy())
