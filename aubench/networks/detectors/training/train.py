"""Training a detector; interrupt it anywhere, it goes on with the same numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from aubench.errors import AubenchError
from aubench.facs.f1 import f1_by_au
from aubench.networks.detectors.calibration import best_thresholds, mean_of
from aubench.networks.detectors.faces import Changes, Faces, Views, default_workers
from aubench.networks.detectors.graphau.megraphau import MEGraphAU
from aubench.networks.detectors.preparation import imagenet, normalise
from aubench.networks.detectors.training import losses
from aubench.networks.detectors.training.export import export
from aubench.networks.detectors.training.folds import Parts, open_parts
from aubench.networks.detectors.training.settings import Settings, settings_for
from aubench.networks.detectors.training.start import start
from aubench.networks.detectors.training.texture import TextureChanges
from aubench.training.loop import Losses, Stateful, TrainingLoop, set_rate

__all__ = ["Settings", "Trainer", "settings_for", "train"]

TEXTURE_MOST = 0.8
"""Strength of the changes of texture from the middle of a training on."""
PREDICTED = 64
"""Images a pass outside training."""


class Trainer(TrainingLoop):
    """The state of one training, kept in ``checkpoint.pt`` every ``segment`` steps.

    Processes that ``accelerate launch`` starts take a part of every batch each; the first writes.

    Args:
        settings: Hyper-parameters.
        out: Folder of the checkpoint.
        parts: The faces; what the settings name if None.
        resume: Go on from the checkpoint, if there is one.
        cpu: Leave a GPU alone.
        workers: Processes that read images; see `default_workers`.

    Raises:
        AubenchError: Bad data or weights to start from, a batch that cannot be shared out, or a
            checkpoint of other settings, data or processes.
    """

    weight: Tensor
    optimiser: torch.optim.AdamW
    epoch_loss: float

    settings: Settings
    network: nn.Module
    started_from: dict[str, str]
    save_every = 1

    def __init__(
        self,
        settings: Settings,
        out: Path,
        parts: Parts | None = None,
        *,
        resume: bool = True,
        cpu: bool = False,
        workers: int | None = None,
    ) -> None:
        from accelerate import Accelerator

        super().__init__(
            settings,
            out / "checkpoint.pt",
            f"training {settings.name}",
            accelerator=Accelerator(cpu=cpu),
            precision=settings.precision,
        )
        self.out = out
        with self.accelerator.main_process_first():
            self.parts: Parts = parts or open_parts(settings)
        lazy = self.parts.train.lazy
        self.workers: int = (default_workers() if lazy else 0) if workers is None else workers
        self._check()
        self.epoch_loss = 0.0
        self.best: dict[str, Any] = {"f1": -1.0}
        self._order: npt.NDArray[np.int64] | None = None
        self._texture: TextureChanges | None = None
        self.network, self.started_from = start(settings)
        if settings.nano:
            self.network.to(memory_format=torch.channels_last)
        self.weight = losses.au_weights(torch.from_numpy(self.parts.train.labels)).to(self.device)
        outputs = losses.Outputs(self.network, settings.stage == 2)
        self.model: Any = self.accelerator.prepare_model(outputs)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=settings.rate, weight_decay=settings.decay
        )
        if resume:
            self.resume()

    def _check(self) -> None:
        s = self.settings
        if len(self.parts.train) < s.batch:
            raise AubenchError(
                f"{len(self.parts.train)} training images are fewer than a batch of {s.batch}",
                "use a smaller --batch",
            )
        self.check_batch(s.batch, s.accumulate)

    def facts(self) -> dict[str, Any]:
        """Return data, weights to start from and number of processes."""
        return {
            "data": self.parts.fingerprint,
            "started from": self.started_from,
            "processes": self.processes,
        }

    def stateful(self) -> dict[str, Stateful]:
        """Return network and optimiser."""
        return {"network": self.network, "optimiser": self.optimiser}

    def extra_state(self) -> dict[str, Any]:
        """Return the sum of the epoch's losses, and the best weights so far."""
        return {"epoch_loss": self.epoch_loss, "best": self.best}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Take back the sum of the epoch's losses, and the best weights so far."""
        self.epoch_loss, self.best = state["epoch_loss"], state["best"]

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch; what is left over is seen in another epoch."""
        return len(self.parts.train) // self.settings.batch

    @property
    def total_steps(self) -> int:
        """Steps of all epochs."""
        return self.settings.epochs * self.steps_per_epoch

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or too many without a better validation F1."""
        s, since = self.settings, self.epoch - int(self.best.get("epoch", 0))
        return self.epoch >= s.epochs or (s.patience is not None and since >= s.patience)

    @property
    def resumable(self) -> bool:
        """Whether a segment ends here; randomness comes from seed, epoch and segment."""
        return self.step_of_epoch % self.settings.segment == 0

    def optimise(self) -> Losses:
        """Take the next step of the epoch."""
        s, step = self.settings, self.step_of_epoch
        if self._order is None or step == 0:
            self._order = torch.randperm(
                len(self.parts.train), generator=torch.Generator().manual_seed(self._base())
            ).numpy()
            self._images = self._views(self._order)
            self.model.train()
        if step % s.segment == 0:
            self._draw = self._seed(step // s.segment)
        self._set_rate()
        rows = self._order[step * s.batch : (step + 1) * s.batch]
        loss = self._advance(rows, self._images, self._draw)
        self.epoch_loss += loss
        return {"loss": loss}

    def note(self, losses: Losses) -> Losses:
        """Return the epoch and its mean loss so far."""
        done = self.step_of_epoch or self.steps_per_epoch
        return {
            "epoch": -(-self.step_number // self.steps_per_epoch),
            "loss": self.epoch_loss / done,
        }

    def end_epoch(self) -> None:
        """Validate; log the epoch."""
        loss = self.epoch_loss / self.steps_per_epoch
        self.log.append({"loss": round(loss, 5), "validation F1": round(self.validate(), 4)})
        self.epoch_loss = 0.0

    def _base(self) -> int:
        return self.settings.seed * 1000 + self.epoch

    def _seed(self, segment: int) -> torch.Generator:
        """Seed what is random within the network; return the generator of a batch's changes."""
        draw, rank = torch.Generator(), self.rank
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
        return self.batch_parts(count, self.settings.accumulate)

    def _views(self, order: npt.NDArray[np.int64]) -> Iterator[Tensor]:
        """Yield the images of the parts of every batch from the present step on."""
        s = self.settings
        batches = [
            order[step * s.batch : (step + 1) * s.batch][piece].tolist()
            for step in range(self.step_of_epoch, self.steps_per_epoch)
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
        share = self.step_number / self.total_steps
        warm = min(1.0, share / s.warm) if s.warm else 1.0
        set_rate(self.optimiser, s.rate * warm * 0.5 * (1 + math.cos(math.pi * share)))

    def _advance(
        self, rows: npt.NDArray[np.int64], views: Iterator[Tensor], draw: torch.Generator
    ) -> float:
        """Take one step on a batch; return its mean loss."""
        labels = torch.from_numpy(self.parts.train.labels[rows]).float()
        changes = Changes.drawn(len(rows), draw) if self.settings.nano else None
        if self.settings.texture:
            # First what an AU looks like, then what of it is not texture.
            share = self.step_number / self.total_steps
            strength = TEXTURE_MOST * min(1.0, max(0.0, (share - 0.15) / 0.35))
            self._texture = TextureChanges.drawn(len(rows), draw, strength)
        self.optimiser.zero_grad()
        loss = self.backward(labels, views, changes)
        self.check_finite({"loss": loss})
        self.descend(self.optimiser, self.network.parameters(), self.settings.clip)
        return loss

    def backward(self, labels: Tensor, views: Iterator[Tensor], changes: Changes | None) -> float:
        """Add the gradient of the mean loss over the known labels of a whole batch.

        Args:
            labels: Labels of all processes [B, 12], negative is unknown.
            views: Yields this process's parts of the images.
            changes: Changes of a nano's images.
        """
        whole, device, mine = losses.Whole.of(labels), self.device, self._mine(len(labels))
        total = torch.zeros((), device=device)
        for k, piece in enumerate(mine):
            x = self._input(next(views).to(device), changes, piece)
            with self.own_gradients(self.model, k + 1 == len(mine)):
                with self.autocast():
                    p, edges = self.model(x)
                loss = self._loss(p.float(), edges, labels[piece].to(device), whole)
                loss = loss * self.processes
                self.add_gradient(loss)
            total += loss.detach()
        return float(self.mean_over_processes(total))

    def _input(self, images: Tensor, changes: Changes | None, piece: slice) -> Tensor:
        x = images.float() / 255
        if changes is None:
            return imagenet(x)
        if self._texture is not None:
            x = self._texture.apply(x, piece)
        x = normalise(changes.apply(x, piece))
        return x.contiguous(memory_format=torch.channels_last)

    def _loss(self, p: Tensor, edges: Tensor | None, target: Tensor, whole: losses.Whole) -> Tensor:
        if not isinstance(self.network, MEGraphAU):
            return losses.masked_entropy(p, target, whole)
        loss = losses.masked_asymmetric(p, target, self.weight, whole)
        if edges is not None:
            loss = loss + losses.masked_edges(edges.float(), target, self.settings.edge, whole)
        return loss

    def predict(self, faces: Faces) -> npt.NDArray[np.float32]:
        """Return probabilities float32 [N, 12]; each process takes every so many-th image."""
        world, rank = self.processes, self.rank
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
                x = images.to(self.device).float() / 255
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
        f1 = mean_of(f1_by_au(p >= thresholds, faces.labels))
        if f1 > self.best["f1"]:
            state = {k: v.detach().cpu().clone() for k, v in self.network.state_dict().items()}
            self.best = {
                "f1": f1,
                "thresholds": thresholds.tolist(),
                "epoch": self.epoch,
                "state": state,
            }
        return f1


def train(
    settings: Settings,
    out: Path,
    command: str,
    *,
    resume: bool = True,
    cpu: bool = False,
    workers: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Train a detector; write weights, card, report and reliability curves into ``out``.

    Args:
        settings: Hyper-parameters.
        out: The folder.
        command: Command that was given, for the card.
        resume: Go on from ``out``'s checkpoint, if there is one.
        cpu: Leave a GPU alone.
        workers: Processes that read images.
        say: Is told what a user should know.

    Raises:
        AubenchError: See `Trainer`.
    """
    trainer = Trainer(settings, out, resume=resume, cpu=cpu, workers=workers)
    parts = trainer.parts
    counts = (
        f"{len(faces):,} of {len(np.unique(faces.subjects))} subjects to {what}"
        for faces, what in (
            (parts.train, "train"),
            (parts.validation, "validate"),
            (parts.test, "test"),
        )
    )
    first = trainer.is_first
    if first:
        say(f"images: {', '.join(counts)}")
    trainer.run()
    if first and trainer.epoch < settings.epochs:
        say(f"no better validation F1 for {settings.patience} epochs: stopped")
    path = export(trainer, command)
    trainer.accelerator.wait_for_everyone()
    return path
