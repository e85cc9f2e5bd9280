"""Training a detector; interrupt it anywhere, it goes on with the same numbers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from aubench.detectors import losses
from aubench.detectors.calibration import best_thresholds, f1_scores, mean_of
from aubench.detectors.export import export
from aubench.detectors.faces import Changes, Faces, Views, default_workers
from aubench.detectors.folds import Parts, open_parts
from aubench.detectors.megraphau import MEGraphAU
from aubench.detectors.preparation import imagenet, normalise
from aubench.detectors.settings import PRECISIONS, Settings, settings_for
from aubench.detectors.start import start
from aubench.detectors.state import read_checkpoint
from aubench.errors import AubenchError
from aubench.files import atomic_path
from aubench.progress import bar

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["Settings", "Trainer", "settings_for", "train"]

PREDICTED = 64
"""Images a pass outside training."""


class Trainer:
    """The state of one training, kept in ``checkpoint.pt`` every ``segment`` steps.

    Processes that ``accelerate launch`` starts take a part of every batch each; the first writes.

    Args:
        settings: hyper-parameters.
        out: folder of the checkpoint.
        parts: the faces; what the settings name if None.
        resume: go on from the checkpoint, if there is one.
        cpu: leave a GPU alone.
        workers: processes that read images; see `default_workers`.

    Raises:
        AubenchError: bad data or weights to start from, a batch that cannot be shared out, or a
            checkpoint of other settings, data or processes.
    """

    settings: Settings
    out: Path
    epoch: int
    step: int
    seconds: float
    total: float
    network: nn.Module
    weight: torch.Tensor
    started_from: dict[str, str]
    optimiser: torch.optim.AdamW
    scaler: torch.amp.GradScaler
    accelerator: Any
    model: Any

    def __init__(
        self, settings: Settings, out: Path, parts: Parts | None = None, *, resume: bool = True,
        cpu: bool = False, workers: int | None = None,
    ) -> None:  # fmt: skip
        from accelerate import Accelerator

        self.settings, self.out = settings, out
        self.accelerator = Accelerator(cpu=cpu)
        with self.accelerator.main_process_first():
            self.parts: Parts = parts or open_parts(settings)
        lazy = self.parts.train.lazy
        self.workers: int = (default_workers() if lazy else 0) if workers is None else workers
        self._check()
        self.epoch, self.step, self.seconds, self.total = 0, 0, 0.0, 0.0
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] = {"f1": -1.0}
        self.network, self.started_from = start(settings)
        if settings.nano:
            self.network.to(memory_format=torch.channels_last)
        self.weight = losses.au_weights(torch.from_numpy(self.parts.train.labels))
        self.weight = self.weight.to(self.accelerator.device)
        state = self._read() if resume and self.checkpoint.is_file() else None
        if state is not None:
            self.network.load_state_dict(state["network"])
        outputs = losses.Outputs(self.network, settings.stage == 2)
        self.model = self.accelerator.prepare_model(outputs)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=settings.rate, weight_decay=settings.decay
        )
        scaled = settings.precision == "float16"
        self.scaler = torch.amp.GradScaler(self.accelerator.device.type, enabled=scaled)
        if state is not None:
            self._restore(state)

    def _check(self) -> None:
        s, pieces = self.settings, self.accelerator.num_processes * self.settings.accumulate
        if len(self.parts.train) < s.batch:
            raise AubenchError(
                f"{len(self.parts.train)} training images are fewer than a batch of {s.batch}",
                "use a smaller --batch",
            )
        if s.batch < pieces:
            raise AubenchError(f"a batch of {s.batch} cannot be cut into {pieces} parts")
        if s.precision == "float16" and self.accelerator.device.type != "cuda":
            raise AubenchError("--precision float16 needs a GPU", "float32 or bfloat16")

    @property
    def checkpoint(self) -> Path:
        """Where the state is kept."""
        return self.out / "checkpoint.pt"

    def save(self) -> None:
        """Write the checkpoint atomically."""
        if self.accelerator.is_main_process:
            state = {
                "settings": asdict(self.settings), "data": self.parts.fingerprint,
                "started from": self.started_from, "processes": self.accelerator.num_processes,
                "epoch": self.epoch, "step": self.step, "seconds": self.seconds,
                "total": self.total, "history": self.history, "best": self.best,
                "network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(),
                "scaler": self.scaler.state_dict(),
            }  # fmt: skip
            with atomic_path(self.checkpoint) as temporary:
                torch.save(state, temporary)
        self.accelerator.wait_for_everyone()

    def _read(self) -> dict[str, Any]:
        """Return the checkpoint; an error if it is damaged or of another training."""
        facts = {
            "data": (self.parts.fingerprint, "other data"),
            "started from": (self.started_from, "other weights to start from"),
            "processes": (self.accelerator.num_processes, "another number of processes"),
        }
        return read_checkpoint(self.checkpoint, asdict(self.settings), facts)

    def _restore(self, state: dict[str, Any]) -> None:
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.step, self.seconds = state["epoch"], state["step"], state["seconds"]
        self.total, self.history, self.best = state["total"], state["history"], state["best"]

    @property
    def steps(self) -> int:
        """Steps of an epoch; what is left over is seen in another epoch."""
        return len(self.parts.train) // self.settings.batch

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or too many without a better validation F1."""
        s, since = self.settings, self.epoch - int(self.best.get("epoch", 0))
        return self.epoch >= s.epochs or (s.patience is not None and since >= s.patience)

    def run(self) -> None:
        """Train to the end; the bar counts the steps of all epochs."""
        s, done = self.settings, self.epoch * self.steps + self.step
        shown = bar(s.epochs * self.steps, f"training {s.name}", "step", done) \
            if self.accelerator.is_main_process else nullcontext()  # fmt: skip
        with shown as progress:
            while not self.finished:
                loss = self.run_epoch(progress)
                f1 = self.validate()
                self.history.append({"loss": round(loss, 5), "validation F1": round(f1, 4)})
                self.epoch, self.step, self.total = self.epoch + 1, 0, 0.0
                self.save()

    def run_epoch(self, progress: tqdm[Any] | None = None) -> float:
        """Go to the end of the epoch's steps and return their mean loss.

        All randomness comes from seed, epoch and segment.
        """
        s = self.settings
        order = torch.randperm(
            len(self.parts.train), generator=torch.Generator().manual_seed(self._base())
        ).numpy()
        views = self._views(order)
        self.model.train()
        while self.step < self.steps:
            segment, begun = self.step // s.segment, time.perf_counter()
            draw = self._seed(segment)
            for _ in range(min((segment + 1) * s.segment, self.steps) - self.step):
                self._set_rate()
                rows = order[self.step * s.batch : (self.step + 1) * s.batch]
                self.total += self._advance(rows, views, draw)
                self.step += 1
                if progress is not None:
                    mean = self.total / self.step
                    progress.set_postfix(epoch=self.epoch + 1, loss=f"{mean:.3f}", refresh=False)
                    progress.update(1)
            self.seconds += time.perf_counter() - begun
            if self.step < self.steps:
                self.save()
        return self.total / self.steps

    def _base(self) -> int:
        return self.settings.seed * 1000 + self.epoch

    def _seed(self, segment: int) -> torch.Generator:
        """Seed what is random within the network; return the generator of a batch's changes."""
        draw, rank = torch.Generator(), self.accelerator.process_index
        words = [self.settings.seed, self.epoch, segment]
        if segment:
            draw.manual_seed(int(np.random.SeedSequence(words).generate_state(1)[0]))
        else:  # the order is drawn from it first
            torch.randperm(len(self.parts.train), generator=draw.manual_seed(self._base()))
        inner = np.random.SeedSequence([*words, rank]).generate_state(1)[0]
        torch.manual_seed(int(inner) if segment or rank else self._base())
        return draw

    def _mine(self, count: int) -> list[slice]:
        """Return the parts of a batch of ``count`` that this process computes."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        ends = np.linspace(0, count, world * self.settings.accumulate + 1).astype(int)
        pieces = [slice(int(a), int(b)) for a, b in pairwise(ends)]
        return pieces[rank::world]

    def _views(self, order: npt.NDArray[np.int64]) -> Iterator[Tensor]:
        """Yield the images of the parts of every batch from the present step on."""
        s = self.settings
        batches = [
            order[step * s.batch : (step + 1) * s.batch][piece].tolist()
            for step in range(self.step, self.steps)
            for piece in self._mine(s.batch)
        ]
        faces = Views(self.parts.train, s.nano, (s.seed, self.epoch))
        return self._load(faces, batch_sampler=batches)

    def _load(self, faces: Views, **how: Any) -> Iterator[Tensor]:
        """Yield batches of images; an error of a reading process is told in one line."""
        own = torch.Generator()  # else it draws from the one that dropout draws from
        loader = DataLoader(faces, num_workers=self.workers, generator=own, **how)
        try:
            yield from loader
        except AubenchError as error:
            last = error.message.splitlines()[-1]
            raise AubenchError(last.removeprefix("aubench.errors.AubenchError: ")) from error

    def _set_rate(self) -> None:
        s = self.settings
        share = (self.epoch * self.steps + self.step) / (s.epochs * self.steps)
        warm = min(1.0, share / s.warm) if s.warm else 1.0
        for group in self.optimiser.param_groups:
            group["lr"] = s.rate * warm * 0.5 * (1 + math.cos(math.pi * share))

    def _advance(
        self, rows: npt.NDArray[np.int64], views: Iterator[Tensor], draw: torch.Generator
    ) -> float:
        """Take one step on a batch; return its mean loss."""
        labels = torch.from_numpy(self.parts.train.labels[rows]).float()
        changes = Changes.drawn(len(rows), draw) if self.settings.nano else None
        self.optimiser.zero_grad()
        loss = self.backward(labels, views, changes)
        if not math.isfinite(loss):
            raise AubenchError(
                f"the loss is {loss} at epoch {self.epoch + 1}, step {self.step + 1}",
                "use a smaller --rate",
            )
        if self.settings.clip:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return loss

    def backward(self, labels: Tensor, views: Iterator[Tensor], changes: Changes | None) -> float:
        """Add the gradient of the mean loss over the known labels of a whole batch.

        Args:
            labels: of all processes [B, 12], negative is unknown.
            views: yields this process's parts of the images.
            changes: of a nano's images.
        """
        whole, device = losses.Whole.of(labels), self.accelerator.device
        world, mine = self.accelerator.num_processes, self._mine(len(labels))
        total = torch.zeros((), device=device)
        for k, piece in enumerate(mine):
            x = self._input(next(views).to(device), changes, piece)
            last = k + 1 == len(mine)
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                with self._autocast():
                    p, edges = self.model(x)
                loss = self._loss(p.float(), edges, labels[piece].to(device), whole) * world
                self.scaler.scale(loss).backward()
            total += loss.detach()
        if world > 1:
            total = self.accelerator.reduce(total, "mean")
        return float(total)

    def _input(self, images: Tensor, changes: Changes | None, piece: slice) -> Tensor:
        x = images.float() / 255
        if changes is None:
            return imagenet(x)
        x = normalise(changes.apply(x, piece))
        return x.contiguous(memory_format=torch.channels_last)

    def _loss(self, p: Tensor, edges: Tensor | None, target: Tensor, whole: losses.Whole) -> Tensor:
        if not isinstance(self.network, MEGraphAU):
            return losses.masked_entropy(p, target, whole)
        loss = losses.masked_asymmetric(p, target, self.weight, whole)
        if edges is not None:
            loss = loss + losses.masked_edges(edges.float(), target, self.settings.edge, whole)
        return loss

    def _autocast(self) -> Any:
        kind = PRECISIONS[self.settings.precision]
        return torch.autocast(
            self.accelerator.device.type, dtype=kind, enabled=kind != torch.float32
        )

    def predict(self, faces: Faces) -> npt.NDArray[np.float32]:
        """Return probabilities float32 [N, 12]; each process takes every so many-th image."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        share = -(-len(faces) // world)
        mine = faces.subset(np.minimum(np.arange(share) * world + rank, len(faces) - 1))
        if world > 1:  # running statistics are the first process's
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, 0)
        views = Views(mine, self.settings.nano)
        self.network.eval()
        out = []
        prepare = normalise if self.settings.nano else imagenet
        with torch.inference_mode():
            for images in self._load(views, batch_size=PREDICTED):
                x = images.to(self.accelerator.device).float() / 255
                out.append(self.network(prepare(x)).float())
            gathered = self.accelerator.gather(torch.cat(out)) if world > 1 else torch.cat(out)
        by_process = gathered.cpu().numpy().reshape(world, share, -1)
        return np.ascontiguousarray(by_process.swapaxes(0, 1).reshape(world * share, -1))[
            : len(faces)
        ]

    def validate(self) -> float:
        """Return mean F1 at the best thresholds; keep the weights if it is the best so far."""
        faces = self.parts.validation
        p = self.predict(faces)
        thresholds = best_thresholds(p, faces.labels)
        f1 = mean_of(f1_scores(p >= thresholds, faces.labels))
        if f1 > self.best["f1"]:
            state = {k: v.detach().cpu().clone() for k, v in self.network.state_dict().items()}
            self.best = {
                "f1": f1, "thresholds": thresholds.tolist(), "epoch": self.epoch + 1,
                "state": state,
            }  # fmt: skip
        return f1


def train(
    settings: Settings, out: Path, command: str, *, resume: bool = True, cpu: bool = False,
    workers: int | None = None, say: Callable[[str], None] = lambda line: None,
) -> Path:  # fmt: skip
    """Train a detector; write weights, card, report and reliability curves into ``out``.

    Args:
        settings: hyper-parameters.
        out: the folder.
        command: that was given, for the card.
        resume: go on from ``out``'s checkpoint, if there is one.
        cpu: leave a GPU alone.
        workers: processes that read images.
        say: is told what a user should know.

    Raises:
        AubenchError: see `Trainer`.
    """
    trainer = Trainer(settings, out, resume=resume, cpu=cpu, workers=workers)
    parts = trainer.parts
    counts = (
        f"{len(faces):,} of {len(np.unique(faces.subjects))} subjects to {what}"
        for faces, what in ((parts.train, "train"), (parts.validation, "validate"),
                            (parts.test, "test"))
    )  # fmt: skip
    first = trainer.accelerator.is_main_process
    if first:
        say(f"images: {', '.join(counts)}")
    trainer.run()
    if first and trainer.epoch < settings.epochs:
        say(f"no better validation F1 for {settings.patience} epochs: stopped")
    path = export(trainer, command)
    trainer.accelerator.wait_for_everyone()
    return path
