"""The loop of a stage: steps, schedule, moving average, checkpoints, log, sample sheets.

Everything random follows from seed and step number, so that a training that was killed goes on
with the same numbers. Processes that ``accelerate launch`` starts take a part of every batch each;
the first writes.
"""

from __future__ import annotations

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from aubench.errors import AubenchError
from aubench.files import atomic_path, write_text
from aubench.progress import bar
from vqauface.presets import Preset
from vqauface.settings import Settings, differing

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

Rows = npt.NDArray[np.int64]
Shown = dict[str, float]
FORMAT = 2
"""Of the checkpoint."""


class Loop(ABC):
    """One stage's training; a stage says what a batch is and what it costs.

    Args:
        settings: of the stage.
        shape: of both stages.
        out: folder of checkpoints, logs and sheets.
        count: images to draw from.
        device: torch device.
        facts: what else a checkpoint must agree on, such as the data's fingerprint.
    """

    def __init__(
        self, settings: Settings, shape: Preset, out: Path, count: int, device: str,
        facts: dict[str, str],
    ) -> None:  # fmt: skip
        from accelerate import Accelerator

        self.s, self.p, self.out, self.count = settings.counted(count), shape, out, count
        self.facts = facts
        self.accelerator = Accelerator(cpu=device == "cpu")
        self.device = self.accelerator.device
        self._check()
        torch.manual_seed(settings.seed)
        self.step_number, self.seconds = 0, 0.0
        self.log: list[Shown] = []
        self.model: nn.Module = self.make().to(self.device)
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.optimiser = self._optimiser(self.model, self.s.rate)
        scaled = settings.precision == "float16"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=scaled)
        self._writer: SummaryWriter | None = None

    def _check(self) -> None:
        pieces = self.accelerator.num_processes * self.s.accumulate
        if self.s.batch < pieces:
            raise AubenchError(
                f"a batch of {self.s.batch} cannot be cut into {pieces} parts", "a larger batch"
            )
        if self.s.precision == "float16" and self.device.type != "cuda":
            raise AubenchError(
                "precision float16 needs a GPU", "--set precision=bfloat16, or float32"
            )

    def _optimiser(self, model: nn.Module, rate: float) -> torch.optim.Optimizer:
        kind = torch.optim.AdamW if self.s.adamw else torch.optim.Adam
        wanted = [p for p in model.parameters() if p.requires_grad]
        beta1, beta2 = self.s.betas
        return kind(wanted, lr=rate, betas=(beta1, beta2), weight_decay=self.s.decay)

    @abstractmethod
    def make(self) -> nn.Module:
        """Return the network to train."""

    @abstractmethod
    def advance(self, rows: Rows, draw: torch.Generator) -> Shown:
        """Take a step on the images of ``rows``; return what to log."""

    def sheet(self) -> npt.NDArray[np.uint8] | None:
        """Return a picture of samples uint8 [H, W, 3], or None."""
        return None

    def extra_state(self) -> dict[str, Any]:
        """Return what else the checkpoint holds."""
        return {}

    def load_extra(self, state: dict[str, Any]) -> None:  # noqa: B027  (most have nothing)
        """Take back what ``extra_state`` gave."""

    def logged(self) -> Shown:
        """Return what to add to a line of the log."""
        return {}

    @property
    def checkpoint(self) -> Path:
        """Where the state is kept."""
        return self.out / f"stage{self.s.stage}.checkpoint.pt"

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.step_number >= self.s.total

    def save(self) -> None:
        """Write the checkpoint atomically."""
        if self.accelerator.is_main_process:
            state = {
                "format": FORMAT, "settings": asdict(self.s), "preset": asdict(self.p),
                "facts": self.facts, "step": self.step_number, "seconds": self.seconds,
                "model": self.model.state_dict(), "average": self.average, "log": self.log,
                "optimiser": self.optimiser.state_dict(), "scaler": self.scaler.state_dict(),
                "extra": self.extra_state(),
            }  # fmt: skip
            with atomic_path(self.checkpoint) as temporary:
                torch.save(state, temporary)
            lines = "".join(json.dumps(line) + "\n" for line in self.log)
            write_text(self.out / f"stage{self.s.stage}.log.jsonl", lines)
        self.accelerator.wait_for_everyone()

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one.

        Raises:
            AubenchError: it is damaged or belongs to other settings or data.
        """
        if not self.checkpoint.is_file():
            return
        state = read_checkpoint(self.checkpoint)
        other = differing(state["settings"], self.s)
        if state.get("preset") != asdict(self.p):
            other.append("preset")
        other += [k for k, v in self.facts.items() if state.get("facts", {}).get(k) != v]
        if other:
            raise AubenchError(
                f"{self.checkpoint} has other settings ({', '.join(other)})", "use another --out"
            )
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.average = {k: v.to(self.device) for k, v in state["average"].items()}
        self.step_number, self.seconds = state["step"], state["seconds"]
        self.log = state["log"]
        self.load_extra(state["extra"])

    def rate(self) -> float:
        """Return the learning rate of the next step."""
        warm = min(1.0, (self.step_number + 1) / self.s.warm) if self.s.warm else 1.0
        if not self.s.cosine:
            return self.s.rate * warm
        share = self.step_number / self.s.total
        return self.s.rate * warm * (0.5 * (1 + math.cos(math.pi * share)) * 0.98 + 0.02)

    def _average(self) -> None:
        decay = min(self.s.ema, (1 + self.step_number) / (10 + self.step_number))
        for key, value in self.model.state_dict().items():
            kept = self.average[key]
            if value.is_floating_point() and "_codebook" not in key:
                kept.lerp_(value.detach(), 1 - decay)
            else:
                kept.copy_(value)

    def pieces(self) -> Iterator[slice]:
        """Yield the parts of a batch that this process computes."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        ends = np.linspace(0, self.s.batch, world * self.s.accumulate + 1).astype(int)
        yield from [slice(int(a), int(b)) for a, b in pairwise(ends)][rank::world]

    def share(self, piece: slice) -> float:
        """Return the weight of a part's mean in that of the batch, for this process's gradient."""
        return (piece.stop - piece.start) / self.s.batch * self.accelerator.num_processes

    def autocast(self) -> Any:
        """Return the context of computations in the precision wanted."""
        kind = self.s.dtype
        return torch.autocast(self.device.type, dtype=kind, enabled=kind != torch.float32)

    def apply(self, optimiser: torch.optim.Optimizer, model: nn.Module) -> None:
        """Take the optimiser's step with the gradients there are, clipped."""
        if self.s.clip:
            self.scaler.unscale_(optimiser)
            nn.utils.clip_grad_norm_(model.parameters(), self.s.clip)
        self.scaler.step(optimiser)

    def apart(self, model: nn.Module, last: bool) -> Any:
        """Return a context in which gradients stay with this process, but for the last part."""
        return nullcontext() if last else self.accelerator.no_sync(model)

    def step(self) -> Shown:
        """Do one step on images drawn by seed and step number alone."""
        draw = torch.Generator().manual_seed(self.s.seed * 1_000_003 + self.step_number)
        rank = self.accelerator.process_index
        torch.manual_seed(self.s.seed * 7_000_003 + self.step_number + rank * 97_001)
        rows = torch.randint(0, self.count, (self.s.batch,), generator=draw).numpy()
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.model.train()
        shown = self.advance(rows, draw)
        self.scaler.update()
        self.step_number += 1
        if self.accelerator.num_processes > 1:
            values = torch.tensor(list(shown.values()), device=self.device, dtype=torch.float64)
            mean = self.accelerator.reduce(values, "mean").tolist()
            shown = dict(zip(shown, mean, strict=True))
        for name, value in shown.items():
            if not math.isfinite(value):
                raise AubenchError(
                    f"{name} is {value} at step {self.step_number}", "--set rate=… smaller"
                )
        self._average()
        return shown

    def run(self, *, stop: int | None = None) -> None:
        """Train to the last step, or to ``stop``."""
        last = min(self.s.total, stop or self.s.total)
        start = time.perf_counter()
        first = self.accelerator.is_main_process
        label = f"stage {self.s.stage}"
        shows = bar(self.s.total, label, "step", self.step_number) if first else nullcontext()
        with shows as progress:
            while self.step_number < last:
                shown = self.step()
                if progress is not None:
                    words = {k: f"{v:.3f}" for k, v in shown.items()}
                    progress.set_postfix(words, refresh=False)
                    progress.update(1)
                self._record(shown)
                if self.step_number % self.s.save_every == 0 or self.step_number == last:
                    now = time.perf_counter()
                    self.seconds, start = self.seconds + now - start, now
                    self.save()
        if self._writer is not None:
            self._writer.flush()

    def _record(self, shown: Shown) -> None:
        """Add a line to the log and a sheet to the sheets where they are due."""
        if self.step_number % self.s.log_every == 0:
            line = {"step": self.step_number, **shown, **self.logged(), "rate": self.rate()}
            self.log.append(line)
            if self.accelerator.is_main_process:
                for key, value in line.items():
                    tag = f"stage{self.s.stage}/{key.replace(' ', '_')}"
                    self.writer.add_scalar(tag, value, self.step_number)
        due = self.s.sheet_every and self.step_number % self.s.sheet_every == 0
        if due and self.accelerator.is_main_process:
            picture = self.sheet()
            if picture is not None:
                self._keep_sheet(picture)

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


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the state in a checkpoint.

    Raises:
        AubenchError: it is damaged.
    """
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        if not {"settings", "step", "average", "model"} <= state.keys():
            raise KeyError("average")
    except Exception as error:
        raise AubenchError(f"{path} is damaged", "remove it") from error
    return state


def tiled(rows: list[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """Return one picture of rows of images, each uint8 [B, S, S, 3]."""
    return np.concatenate([np.concatenate(list(row), 1) for row in rows], 0)


def to_pixels(x: Tensor) -> npt.NDArray[np.uint8]:
    """Return uint8 [B, H, W, 3] of float [B, 3, H, W] in -1..1, rounded.

    Raises:
        ValueError: a value is no number; as a pixel it would look like black.
    """
    if not torch.isfinite(x).all():
        raise ValueError("the network made pixels that are no numbers")
    pixels = ((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).cpu().numpy())
