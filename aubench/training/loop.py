"""The loop that every trainer is: steps, epochs, checkpoints, one batch for several processes.

What is random of a step follows from the seed and the step's number, so that a training that was
killed goes on from its checkpoint with the same numbers.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from aubench.errors import AubenchError
from aubench.progress import bar
from aubench.training.checkpoint import (
    damaged,
    differences,
    read_checkpoint,
    refuse_other_training,
    write_checkpoint,
)

Losses = dict[str, float]
"""What a step tells: mean losses of its batch by name."""

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Of computations under autocast; weights stay float32. float16 scales the loss."""


class Stateful(Protocol):
    """A network, an optimiser, a schedule: what gives its state and takes it back."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Take a state back."""
        ...


class TrainingLoop(ABC):
    """A training that can be interrupted anywhere; the same command goes on.

    A trainer says what a step is (`optimise`), how many there are (`total_steps`), what its
    checkpoint holds (`stateful`, `extra_state`) and must agree with (`facts`).

    Args:
        settings: A frozen dataclass; a checkpoint of other settings is refused.
        checkpoint: File of the checkpoint.
        label: Of the progress bar.
        device: Torch device, where there is no accelerator.
        accelerator: ``accelerate``'s, where processes share every batch; the first one writes.
        precision: Of `autocast`, a key of ``PRECISIONS``.

    Attributes:
        unchecked: Settings that may change between a checkpoint and what goes on from it.
        save_every: Steps between two checkpoints; 0 for none by steps.
        save_seconds: Seconds between two checkpoints, where one process trains; 0 for none.
        step_number: Steps done.
        seconds: Time they took, up to the last checkpoint.
        log: Lines that the trainer adds in `note`.

    Raises:
        AubenchError: Precision float16 without a GPU.
    """

    settings: Any
    checkpoint: Path
    label: str
    accelerator: Any
    precision: str
    device: torch.device
    step_number: int
    seconds: float
    scaler: torch.amp.GradScaler

    unchecked: ClassVar[frozenset[str]] = frozenset()
    save_every: int = 0
    save_seconds: float = 0.0

    def __init__(
        self,
        settings: Any,
        checkpoint: Path,
        label: str,
        *,
        device: str | torch.device = "cpu",
        accelerator: Any = None,
        precision: str = "float32",
    ) -> None:
        self.settings, self.checkpoint, self.label = settings, checkpoint, label
        self.accelerator, self.precision = accelerator, precision
        self.device = torch.device(device if accelerator is None else accelerator.device)
        self.step_number, self.seconds = 0, 0.0
        self.log: list[dict[str, float]] = []
        if precision == "float16" and self.device.type != "cuda":
            raise AubenchError("precision float16 needs a GPU", "use bfloat16 or float32")
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "float16")

    @property
    @abstractmethod
    def total_steps(self) -> int:
        """Steps of the whole training."""

    @abstractmethod
    def optimise(self) -> Losses:
        """Change the weights by one step, the one after ``step_number``; return its losses."""

    @abstractmethod
    def stateful(self) -> Mapping[str, Stateful]:
        """Return what the checkpoint holds by name: networks, optimisers, schedules."""

    def extra_state(self) -> dict[str, Any]:
        """Return what else the checkpoint holds: tensors and plain values."""
        return {}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027  (most have none)
        """Take back what `extra_state` gave."""

    def facts(self) -> dict[str, Any]:
        """Return what a checkpoint must agree with beside the settings, such as the data."""
        return {}

    def update_averages(self) -> None:  # noqa: B027  (most have none)
        """Bring moving averages up to date with the step just taken."""

    def note(self, losses: Losses) -> Mapping[str, float]:
        """Log a step; return what the progress bar shows of it."""
        return losses

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch; 0 where the training has none."""
        return 0

    def end_epoch(self) -> None:  # noqa: B027  (most have none)
        """Do what is due between two epochs; ``epoch`` counts the one just done."""

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self.step_number // self.steps_per_epoch if self.steps_per_epoch else 0

    @property
    def step_of_epoch(self) -> int:
        """Steps done of the present epoch."""
        return self.step_number % self.steps_per_epoch if self.steps_per_epoch else 0

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.step_number >= self.total_steps

    @property
    def resumable(self) -> bool:
        """Whether what comes next can be drawn anew from here, so that a checkpoint may be kept."""
        return True

    @property
    def processes(self) -> int:
        """Processes that share every batch."""
        return int(self.accelerator.num_processes) if self.accelerator else 1

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        return int(self.accelerator.process_index) if self.accelerator else 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes and shows progress."""
        return self.rank == 0

    def run(self, *, stop: int | None = None) -> None:
        """Train to the last step, or to step ``stop``.

        The last checkpoint is of that step, or of the last one before that is `resumable`.

        Raises:
            AubenchError: A loss is not finite; the last checkpoint is from before.
        """
        last = min(self.total_steps, stop or self.total_steps)
        begun = saved = time.perf_counter()
        shows = bar(self.total_steps, self.label, "step", self.step_number)
        with shows if self.is_first else nullcontext() as progress:
            while self.step_number < last and not self.finished:
                shown = self.note(self.step())
                if progress is not None:
                    progress.set_postfix({k: f"{v:.4g}" for k, v in shown.items()}, refresh=False)
                    progress.update(1)
                if self.steps_per_epoch and self.step_of_epoch == 0:
                    self.end_epoch()
                now = time.perf_counter()
                if self._save_is_due(last, now - saved):
                    self.seconds += now - begun
                    begun = saved = now
                    self.save()

    def _save_is_due(self, last: int, since: float) -> bool:
        if not self.resumable:
            return False
        by_steps = bool(self.save_every) and self.step_number % self.save_every == 0
        by_time = bool(self.save_seconds) and since > self.save_seconds
        return by_steps or by_time or self.step_number == last or self.finished

    def step(self) -> Losses:
        """Take one step; return its losses.

        Raises:
            AubenchError: One is not finite.
        """
        losses = self.optimise()
        self.scaler.update()
        self.check_finite(losses)
        self.step_number += 1
        self.update_averages()
        return losses

    def check_finite(self, losses: Mapping[str, float]) -> None:
        """Refuse a loss that would spoil the weights and their averages for good.

        Raises:
            AubenchError: It names the loss and the step.
        """
        for name, value in losses.items():
            if not math.isfinite(value):
                raise AubenchError(
                    f"{name} is {value} at step {self.step_number + 1}", "use a smaller rate"
                )

    def save(self) -> None:
        """Write the checkpoint; the first process does, the others wait for it."""
        if self.is_first:
            state = {
                "settings": asdict(self.settings),
                "facts": self.facts(),
                "step": self.step_number,
                "seconds": self.seconds,
                "log": self.log,
                "scaler": self.scaler.state_dict(),
            }
            state |= {name: part.state_dict() for name, part in self.stateful().items()}
            write_checkpoint(self.checkpoint, state | self.extra_state())
        if self.accelerator:
            self.accelerator.wait_for_everyone()

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one.

        Raises:
            AubenchError: It is damaged, or of other settings or facts.
        """
        state = self.read()
        if state is not None:
            self.restore(state)

    def read(self) -> dict[str, Any] | None:
        """Return the state in the checkpoint, or None where there is none.

        Raises:
            AubenchError: It is damaged, or of other settings or facts.
        """
        if not self.checkpoint.is_file():
            return None
        state = read_checkpoint(self.checkpoint, ("facts", "seconds", "log", "scaler"))
        other = differences(state["settings"], asdict(self.settings), self.unchecked)
        other += differences(state["facts"], self.facts())
        refuse_other_training(self.checkpoint, other)
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `read` returned.

        Raises:
            AubenchError: A part is missing or does not fit.
        """
        try:
            for name, part in self.stateful().items():
                part.load_state_dict(state[name])
            self.scaler.load_state_dict(state["scaler"])
            self.load_extra_state(state)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise damaged(self.checkpoint) from error
        self.step_number, self.seconds = state["step"], state["seconds"]
        self.log = state["log"]

    def check_batch(self, batch: int, accumulate: int) -> None:
        """Refuse a batch with fewer samples than the parts that it is computed in.

        Raises:
            AubenchError: It is smaller than processes times ``accumulate``.
        """
        pieces = self.processes * accumulate
        if batch < pieces:
            raise AubenchError(
                f"a batch of {batch} cannot be cut into {pieces} parts", "use a larger batch"
            )

    def batch_parts(self, batch: int, accumulate: int) -> list[slice]:
        """Return the parts of a batch that this process computes, of ``accumulate`` a process."""
        ends = np.linspace(0, batch, self.processes * accumulate + 1).astype(int)
        pieces = [slice(int(a), int(b)) for a, b in pairwise(ends)]
        return pieces[self.rank :: self.processes]

    def own_gradients(self, model: nn.Module, last: bool) -> AbstractContextManager[Any]:
        """Return a context in which gradients stay with this process, but for the last part."""
        if last or self.accelerator is None:
            return nullcontext()
        kept: AbstractContextManager[Any] = self.accelerator.no_sync(model)
        return kept

    def mean_over_processes(self, values: Tensor) -> Tensor:
        """Return the mean of a tensor over all processes."""
        if self.processes == 1:
            return values
        mean: Tensor = self.accelerator.reduce(values, "mean")
        return mean

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context of computations in the training's precision."""
        kind = PRECISIONS[self.precision]
        return torch.autocast(self.device.type, dtype=kind, enabled=kind != torch.float32)

    def add_gradient(self, loss: Tensor) -> None:
        """Add the gradient of a loss, scaled where the precision asks for it."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def descend(
        self,
        optimiser: torch.optim.Optimizer,
        parameters: Iterable[Tensor] = (),
        clip: float | None = None,
    ) -> None:
        """Take an optimiser's step with the gradients there are.

        Args:
            optimiser: Optimiser that makes the steps.
            parameters: What it trains, where ``clip`` is given.
            clip: Greatest norm of the gradient; None or 0 does not clip.
        """
        if clip:
            self.scaler.unscale_(optimiser)
            nn.utils.clip_grad_norm_(parameters, clip)
        self.scaler.step(optimiser)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of an optimiser's next step."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def copied(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of tensors, for a moving average to begin with."""
    return {key: value.detach().clone() for key, value in values.items()}


@torch.no_grad()
def update_average(
    average: Mapping[str, Tensor],
    values: Mapping[str, Tensor],
    decay: float,
    number: int,
    exact: Callable[[str], bool] = lambda name: False,
) -> None:
    """Move an average of weights, in place, towards their present values.

    Early on it moves faster: the decay is ``(1 + number) / (10 + number)`` until that exceeds
    ``decay``.

    Args:
        average: Tensors by name.
        values: Their present values.
        decay: Share of the average that stays, in 0..1.
        number: Updates so far, this one included.
        exact: Says by name what is copied instead, as whole numbers are.
    """
    share = 1 - min(decay, (1 + number) / (10 + number))
    for name, value in values.items():
        if value.is_floating_point() and not exact(name):
            average[name].lerp_(value, share)
        else:
            average[name].copy_(value)
