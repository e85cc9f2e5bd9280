"""Training a detector on synfacs; interruptible, resumes with the same numbers."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from aubench import __version__
from aubench.detectors.detector import build, normalise
from aubench.detectors.megraphau import MEGraphAU, asymmetric_loss
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.files import atomic_path, sha256_file, write_text
from aubench.progress import bar


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters; ``limit`` trains on the first images only."""

    preset: str
    epochs: int = 8
    batch: int = 64
    rate: float = 2e-3
    decay: float = 5e-2
    seed: int = 1
    limit: int | None = None
    size: int = 128


def f1_scores(
    predicted: npt.NDArray[np.bool_], labels: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float64]:
    """Return F1 of each AU [12] from 0/1 arrays [N, 12]; zero where nothing was found."""
    hit = (predicted & (labels == 1)).sum(0)
    return np.asarray(2 * hit / np.maximum(predicted.sum(0) + labels.sum(0), 1), np.float64)


def best_thresholds(
    p: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float32]:
    """Return for each AU the threshold in 0.05..0.95 of the highest F1."""
    grid = np.arange(0.05, 0.96, 0.025, dtype=np.float32)
    scores = np.stack([f1_scores(p >= t, labels) for t in grid])
    return np.asarray(grid[scores.argmax(0)], np.float32)


def augment(x: Tensor, draw: torch.Generator) -> Tensor:
    """Flip, shift by up to 4 px, and change light of images float [B, 3, H, W] in 0..1."""
    if torch.rand((), generator=draw) < 0.5:
        x = x.flip(-1)
    dx, dy = (int(v) for v in torch.randint(-4, 5, (2,), generator=draw))
    x = torch.roll(x, (dy, dx), (-2, -1))
    gain = 1 + 0.25 * (torch.rand(len(x), 3, 1, 1, generator=draw) - 0.5)
    offset = 0.15 * (torch.rand(len(x), 1, 1, 1, generator=draw) - 0.5)
    noise = 0.02 * torch.randn(x.shape, generator=draw)
    return (x * gain + offset + noise).clamp(0, 1)


class Trainer:
    """The state of one training, kept in ``checkpoint.pt`` after each epoch."""

    def __init__(self, settings: Settings, out: Path) -> None:
        self.settings, self.out = settings, out
        torch.manual_seed(settings.seed)
        self.network = build(settings.preset)
        self.network.to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=settings.rate, weight_decay=settings.decay
        )
        self.epoch, self.seconds = 0, 0.0
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] = {"f1": -1.0}

    @property
    def checkpoint(self) -> Path:
        """Where the state is kept."""
        return self.out / "checkpoint.pt"

    def save(self) -> None:
        """Write the checkpoint atomically."""
        state = {
            "settings": asdict(self.settings), "epoch": self.epoch, "seconds": self.seconds,
            "network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(),
            "history": self.history, "best": self.best,
        }  # fmt: skip
        with atomic_path(self.checkpoint) as temporary:
            torch.save(state, temporary)

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one.

        Raises:
            AubenchError: it is damaged or belongs to other settings.
        """
        if not self.checkpoint.is_file():
            return
        try:
            state = torch.load(self.checkpoint, weights_only=True)
        except Exception as error:
            raise AubenchError(f"{self.checkpoint} is damaged", "remove it") from error
        if state["settings"] != asdict(self.settings):
            raise AubenchError(f"{self.checkpoint} has other settings", "use another --out")
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.seconds = state["epoch"], state["seconds"]
        self.history, self.best = state["history"], state["best"]

    def run_epoch(self, images: npt.NDArray[np.uint8], labels: Tensor) -> float:
        """Train once over the images; all randomness comes from seed and epoch."""
        s = self.settings
        draw = torch.Generator().manual_seed(s.seed * 1000 + self.epoch)
        torch.manual_seed(s.seed * 1000 + self.epoch)  # dropout
        order = torch.randperm(len(images), generator=draw)
        steps = len(images) // s.batch
        weight = 1 / labels.mean(0).clamp(min=0.01)
        weight = weight / weight.mean()
        total, start = 0.0, time.perf_counter()
        self.network.train()
        with bar(steps, f"epoch {self.epoch + 1}/{s.epochs}", "step") as progress:
            for step in range(steps):
                self._set_rate((self.epoch * steps + step) / (s.epochs * steps))
                rows = order[step * s.batch : (step + 1) * s.batch]
                loss = self._step(images[rows.numpy()], labels[rows], weight, draw)
                total += loss
                progress.set_postfix(loss=f"{loss:.3f}", refresh=False)
                progress.update(1)
        self.seconds += time.perf_counter() - start
        self.epoch += 1
        return total / max(1, steps)

    def _set_rate(self, share: float) -> None:
        warm = min(1.0, share / 0.05)
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.rate * warm * 0.5 * (1 + math.cos(math.pi * share))

    def _step(
        self, images: npt.NDArray[np.uint8], labels: Tensor, weight: Tensor, draw: torch.Generator
    ) -> float:
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        x = normalise(augment(x, draw)).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            p = self.network(x)
        p = p.float()
        if isinstance(self.network, MEGraphAU):
            loss = asymmetric_loss(p, labels, weight)
        else:
            loss = nn.functional.binary_cross_entropy(p.clamp(1e-6, 1 - 1e-6), labels)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
        self.optimiser.step()
        return float(loss.detach())

    def predict(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return probabilities float32 [N, 12]."""
        self.network.eval()
        out = []
        with torch.inference_mode():
            for i in range(0, len(images), 64):
                x = torch.from_numpy(images[i : i + 64]).permute(0, 3, 1, 2).float() / 255
                out.append(self.network(normalise(x)).float().numpy())
        return np.concatenate(out)

    def validate(self, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> float:
        """Return mean F1 at the best thresholds; keep the weights if it is the best so far."""
        p = self.predict(images)
        thresholds = best_thresholds(p, labels)
        f1 = float(f1_scores(p >= thresholds, labels).mean())
        if f1 > self.best["f1"]:
            state = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
            self.best = {"f1": f1, "thresholds": thresholds.tolist(), "state": state}
        return f1


def export(trainer: Trainer, scores: dict[str, Any], data: dict[str, str], command: str) -> Path:
    """Write ``<preset>.safetensors`` (half precision) and its card; return the weights."""
    from safetensors.torch import save_file

    name = trainer.settings.preset
    path = trainer.out / f"{name}.safetensors"
    state = {
        k: (v.half() if v.is_floating_point() else v).contiguous()
        for k, v in trainer.best["state"].items()
    }
    with atomic_path(path) as temporary:
        save_file(state, temporary)
    card = {
        "name": name,
        "scale": "nano: trained on synfacs, not the paper's detector",
        "sha256": sha256_file(path),
        "command": command,
        "settings": asdict(trainer.settings),
        "data": data,
        "hardware": f"{torch.get_num_threads()} CPU threads",
        "seconds": round(trainer.seconds, 1),
        "epochs": trainer.epoch,
        "torch": torch.__version__,
        "aubench": __version__,
        "thresholds": [round(t, 4) for t in trainer.best["thresholds"]],
        "scores": scores,
        "history": trainer.history,
    }
    write_text(trainer.out / f"{name}.card.json", json.dumps(card, indent=1) + "\n")
    return path


def test_scores(trainer: Trainer, limit: int | None) -> dict[str, Any]:
    """Return F1 on unseen test subjects with the best weights and validation's thresholds."""
    from aubench.datasets.samples import LABELS
    from aubench.datasets.synfacs import load_split

    images, _, _, frame = load_split("test", trainer.settings.size, limit or 2000)
    labels = frame[list(LABELS)].to_numpy(np.uint8)
    trainer.network.load_state_dict(trainer.best["state"])
    p = trainer.predict(images)
    f1 = f1_scores(p >= np.array(trainer.best["thresholds"]), labels)
    return {
        "test subjects": len(set(frame["subject"])),
        "test images": len(frame),
        "mean F1": round(float(f1.mean()), 4),
        "F1": {f"AU{au}": round(float(x), 4) for au, x in zip(AUS, f1, strict=True)},
    }


def train(settings: Settings, out: Path, command: str, *, resume: bool = True) -> Path:
    """Train a detector and write weights and card into ``out``.

    Raises:
        AubenchError: unknown preset, or a checkpoint of other settings.
    """
    from aubench.datasets.samples import LABELS
    from aubench.datasets.synfacs import load_split
    from aubench.synfacs.render import renderer_id

    trainer = Trainer(settings, out)
    if resume:
        trainer.resume()
    images, _, _, frame = load_split("train", settings.size, settings.limit)
    held = settings.limit and max(64, settings.limit // 5)
    val_images, _, _, val_frame = load_split("validation", settings.size, held)
    labels = torch.from_numpy(frame[list(LABELS)].to_numpy(np.float32))
    val_labels = val_frame[list(LABELS)].to_numpy(np.uint8)
    while trainer.epoch < settings.epochs:
        loss = trainer.run_epoch(images, labels)
        f1 = trainer.validate(val_images, val_labels)
        trainer.history.append({"loss": round(loss, 5), "validation F1": round(f1, 4)})
        trainer.save()
    data = {"renderer": renderer_id(), "train images": str(len(images))}
    return export(trainer, test_scores(trainer, held), data, command)
