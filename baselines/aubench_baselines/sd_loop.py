"""The training loop of the Stable Diffusion baseline: steps, average, checkpoint, resume."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from aubench.errors import AubenchError, suggest
from aubench.files import atomic_path
from aubench.progress import bar

if TYPE_CHECKING:
    import numpy.typing as npt

Batch = tuple[Tensor, dict[str, float]]


@dataclass(frozen=True)
class Settings:
    """What one stage of a training is; a checkpoint of other settings is refused.

    Attributes:
        stage: 1 autoencoder, 2 base on neutral faces, 3 LoRA on AU texts.
        preset: ``nano`` or ``paper``.
        data: data set by name, or a folder with ``metadata.csv`` (``file_name,text``).
        steps: optimiser steps.
        batch: images a step.
        rate: learning rate at its highest.
        seed: of initial weights and draws.
        limit: only the first samples; 0 for all.
        base: stage 3: diffusers folder, safetensors file or hub id; empty for stage 2's.
        rank: of the LoRA matrices; their scale is 1 (alpha equals rank).
        targets: ``attention`` or ``all`` linear layers of the denoiser's transformer blocks.
        text_encoder: whether the text encoder gets LoRA too.
        long_text: ``chunk`` or ``truncate``.
        drop_text: share of samples trained without text, for guidance.
        kept: whether latents are computed once and kept in memory.
        precision: ``bfloat16`` (autocast) or ``float32``.
    """

    stage: int
    preset: str = "nano"
    data: str = "synfacs"
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
    precision: str = "bfloat16"


def changed(settings: Settings, options: Mapping[str, str]) -> Settings:
    """Return settings with ``--set`` options applied.

    Raises:
        AubenchError: an option is unknown or its value unreadable.
    """
    known = {f.name: getattr(settings, f.name) for f in fields(Settings)}
    fixed = ("stage", "preset", "data", "seed")
    names = [name for name in known if name not in fixed]
    values: dict[str, Any] = {}
    for name, word in options.items():
        if name not in names:
            raise AubenchError(
                f"sd15-lora has no setting '{name}'{suggest(name, names)}",
                f"choose from {', '.join(names)}",
            )
        values[name] = _value(name, word, type(known[name]))
    done = replace(settings, **values)
    _check(done)
    return done


def _value(name: str, word: str, kind: type) -> Any:
    try:
        if kind is bool:
            return {"yes": True, "true": True, "no": False, "false": False}[word.lower()]
        return kind(word)
    except (KeyError, ValueError) as error:
        wanted = "yes or no" if kind is bool else kind.__name__
        raise AubenchError(f"--set {name}={word} is not {wanted}") from error


def _check(s: Settings) -> None:
    from aubench_baselines.sd_adapter import TARGETS
    from aubench_baselines.sd_text import check_way

    check_way(s.long_text)
    if s.targets not in TARGETS:
        raise AubenchError(f"--set targets={s.targets} is unknown", f"{' or '.join(TARGETS)}")
    if s.precision not in ("bfloat16", "float32"):
        raise AubenchError(f"--set precision={s.precision} is unknown", "bfloat16 or float32")
    if min(s.steps, s.batch, s.rank) < 1 or s.rate <= 0 or not 0 <= s.drop_text < 1:
        raise AubenchError("steps, batch, rank and rate are positive, drop_text is in [0, 1)")


class Loop:
    """Steps, schedule, moving average, checkpoint and log; a stage fills in ``modules``, ``loss``.

    ``modules`` are trained where their parameters require a gradient, and only those parameters
    are kept in the checkpoint. A step is drawn from seed and step number alone.
    """

    def __init__(self, settings: Settings, out: Path, device: str) -> None:
        self.s, self.out, self.device = settings, out, device
        self.number, self.seconds = 0, 0.0
        self.log: list[dict[str, float]] = []
        torch.manual_seed(settings.seed)
        self.modules = self.make()
        for module in self.modules.values():
            module.to(device)
        self.trained = dict(self._trained())
        self.average = {key: value.detach().clone() for key, value in self.trained.items()}
        self.optimiser = torch.optim.AdamW(
            list(self.trained.values()),
            lr=settings.rate, betas=(0.9, 0.99), weight_decay=1e-2,
        )  # fmt: skip

    def make(self) -> dict[str, nn.Module]:
        """Return the networks by name, frozen parameters marked."""
        raise NotImplementedError

    def count(self) -> int:
        """Return the number of samples."""
        raise NotImplementedError

    def loss(self, rows: npt.NDArray[np.int64], draw: torch.Generator) -> Batch:
        """Return the loss of a batch and what to log."""
        raise NotImplementedError

    def facts(self) -> dict[str, str]:
        """Return what a checkpoint must agree on beside the settings, such as the data."""
        return {}

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield what is trained; slow on a large network, so asked once."""
        for name, module in self.modules.items():
            for key, value in module.named_parameters():
                if value.requires_grad:
                    yield f"{name}.{key}", value

    @property
    def checkpoint(self) -> Path:
        """Where the state is kept."""
        return self.out / f"stage{self.s.stage}.checkpoint.pt"

    def save(self) -> None:
        """Write the checkpoint atomically."""
        state = {
            "settings": asdict(self.s), "step": self.number, "seconds": self.seconds,
            "log": self.log, "average": self.average, "facts": self.facts(),
            "trained": {key: value.detach() for key, value in self.trained.items()},
            "optimiser": self.optimiser.state_dict(),
        }  # fmt: skip
        with atomic_path(self.checkpoint) as temporary:
            torch.save(state, temporary)

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one.

        Raises:
            AubenchError: it is damaged or belongs to other settings, data or another base.
        """
        if not self.checkpoint.is_file():
            return
        state = read_checkpoint(self.checkpoint)
        former, now = state["settings"], asdict(self.s)
        for key, value in now.items():
            if former.get(key) != value:
                raise AubenchError(
                    f"{self.checkpoint} was trained with {key} = {former.get(key)}, now {value}",
                    "use another --out",
                )
        facts = state.get("facts", {})  # older checkpoints state none
        for key, fact in self.facts().items():
            if facts.get(key, fact) != fact:
                raise AubenchError(
                    f"{self.checkpoint} was trained on {key} {facts[key]}, now {fact}",
                    "use another --out",
                )
        with torch.no_grad():
            for key, value in self.trained.items():
                value.copy_(state["trained"][key])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average = {k: v.to(self.device) for k, v in state["average"].items()}
        self.log, self.number, self.seconds = state["log"], state["step"], state["seconds"]

    def take_average(self) -> None:
        """Put the moving average into the networks."""
        with torch.no_grad():
            for key, value in self.trained.items():
                value.copy_(self.average[key])

    def _rate(self) -> float:
        share = self.number / self.s.steps
        warm = min(1.0, (self.number + 1) / min(100, max(1, self.s.steps // 10)))
        return self.s.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))

    def step(self) -> dict[str, float]:
        """Do one step.

        Raises:
            AubenchError: the loss is not finite.
        """
        draw = torch.Generator().manual_seed(self.s.seed * 1_000_003 + self.number)
        rows = torch.randint(0, self.count(), (self.s.batch,), generator=draw).numpy()
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        enabled = self.s.precision == "bfloat16"
        with _attention(self.device):
            with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=enabled):
                loss, shown = self.loss(rows, draw)
            check_finite(shown, self.number + 1)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
        nn.utils.clip_grad_norm_(list(self.trained.values()), 1.0)
        self.optimiser.step()
        self.number += 1
        decay = min(0.995, (1 + self.number) / (10 + self.number))
        with torch.no_grad():
            for key, value in self.trained.items():
                self.average[key].lerp_(value, 1 - decay)
        return shown

    def run(self, *, stop: int | None = None, every: float = 60.0) -> None:
        """Train to the last step, or to ``stop``; checkpoint every so many seconds."""
        last = min(self.s.steps, stop or self.s.steps)
        start = saved = time.perf_counter()
        total: dict[str, float] = {}
        label = f"stage {self.s.stage}"
        with bar(self.s.steps, label, "step", initial=self.number) as progress:
            while self.number < last:
                shown = self.step()
                total = {k: 0.98 * total.get(k, v) + 0.02 * v for k, v in shown.items()}
                progress.set_postfix({k: f"{v:.4f}" for k, v in total.items()}, refresh=False)
                progress.update(1)
                if self.number % 50 == 0:
                    self.log.append({"step": self.number, **total})
                now = time.perf_counter()
                if now - saved > every:
                    self.seconds += now - start
                    start = saved = now
                    self.save()
        self.seconds += time.perf_counter() - start
        self.save()


def _attention(device: str) -> AbstractContextManager[None]:
    """Take plain attention on a processor: there the fused one's gradient costs more by far."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    kernel: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    return kernel if device.startswith("cpu") else nullcontext()


def check_finite(shown: Mapping[str, float], step: int) -> None:
    """Refuse a loss that would spoil the weights and their average for good.

    Raises:
        AubenchError: names the loss and the step.
    """
    for name, value in shown.items():
        if not math.isfinite(value):
            raise AubenchError(f"{name} is {value} at step {step}", "--set rate=… smaller")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the state in a checkpoint.

    Raises:
        AubenchError: it is missing or damaged.
    """
    if not path.is_file():
        raise AubenchError(f"no {path}", "train the earlier stage first")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        state["settings"], state["trained"], state["average"], state["optimiser"]
    except Exception as error:
        raise AubenchError(f"{path} is damaged", "remove it") from error
    return state


def to_float(images: Any) -> Tensor:
    """Return float32 [B, 3, H, W] in -1..1 of uint8 [B, H, W, 3]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
