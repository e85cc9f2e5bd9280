"""Training the identity networks: additive angular margin (Deng et al. 2019) over rendered faces.

``python -m aubench.networks.identity.train --out FOLDER`` writes weights and card, of ``nano-id``
with synfacs and of ``nano2-id`` with ``--data synfacs2-mixed``; interrupt it anywhere, it goes on
with the same numbers. What does not make the person is varied: place, size,
mirror side, light, colour, sharpness, and what lies around the face.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aubench import __version__
from aubench.errors import AubenchError
from aubench.networks.identity.network import DIMENSIONS, SIZE, Embedder, Identity, load, oval
from aubench.networks.identity.verification import acceptance, equal_error_rate, threshold
from aubench.storage.files import atomic_path, sha256_file, write_text
from aubench.training.loop import Losses, Stateful, TrainingLoop
from aubench.training.settings import fast_precision

Images = npt.NDArray[np.uint8]
NAMES = {"synfacs": "nano-id", "synfacs2-mixed": "nano2-id"}
"""Network by the data set that it is trained on."""
CONTROL_SCENE = "777777"
"""A scene that no split has, for the control in which all strangers share it."""


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters.

    Attributes:
        data: Data set, a key of ``NAMES``.
        epochs: Number of passes over all images.
        batch: Images a step.
        rate: Highest learning rate of AdamW, one cycle.
        decay: Weight decay.
        scale: Scale of the cosines before the softmax.
        margin: Added to the angle of the own class, radians; grows between 30 % and 60 % of the
            steps.
        seed: Seed of weights, order and augmentation.
        limit: Only the first images, if not None.
    """

    data: str = "synfacs"
    epochs: int = 3
    batch: int = 64
    rate: float = 3e-3
    decay: float = 0.05
    scale: float = 24.0
    margin: float = 0.15
    seed: int = 1
    limit: int | None = None

    @property
    def name(self) -> str:
        """Of the network."""
        return NAMES[self.data]


def margin_loss(cosines: Tensor, labels: Tensor, scale: float, margin: float) -> Tensor:
    """Return the mean cross-entropy after adding ``margin`` to the angle of the own class.

    Args:
        cosines: [B, C] of embeddings to class centres.
        labels: int64 [B].
        scale: Factor before the softmax.
        margin: Radians; the angle is held at π, from where on more margin would help.
    """
    own = cosines.gather(1, labels[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
    moved = torch.cos((torch.acos(own) + margin).clamp(max=float(np.pi)))
    return F.cross_entropy(scale * cosines.scatter(1, labels[:, None], moved), labels)


def _draw(rng: torch.Generator, count: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=rng)


def _place(x: Tensor, rng: torch.Generator) -> Tensor:
    """Mirror, turn by up to 6°, scale by 0.9 to 1.1 and shift by up to 4 % of the side."""
    n = len(x)
    turn, size = torch.deg2rad(_draw(rng, n, -6, 6)), _draw(rng, n, 0.9, 1.1)
    flip = torch.where(torch.rand(n, generator=rng) < 0.5, -1.0, 1.0)
    shift = 2 * torch.stack([_draw(rng, n, -0.04, 0.04), _draw(rng, n, -0.04, 0.04)], 1)
    cos, sin = torch.cos(turn) * size, torch.sin(turn) * size
    matrix = torch.stack([torch.stack([cos * flip, -sin], 1), torch.stack([sin * flip, cos], 1)], 1)
    grid = F.affine_grid(torch.cat([matrix, shift[..., None]], 2), list(x.shape), False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def _light(x: Tensor, rng: torch.Generator) -> Tensor:
    """Vary exposure, white balance, contrast, a gradient of light; take colour from a tenth."""
    n = len(x)
    gain = torch.exp(_draw(rng, n, -0.25, 0.25)[:, None] + 0.05 * torch.randn(n, 3, generator=rng))
    at = torch.linspace(-1, 1, SIZE)
    slope = _draw(rng, 2 * n, -0.3, 0.3).view(n, 2, 1, 1)
    ramp = 1 + slope[:, :1] * at[None, None, :, None] + slope[:, 1:] * at[None, None, None]
    gamma = torch.exp(_draw(rng, n, -0.15, 0.15))[:, None, None, None]
    x = (x.clamp(1e-3, 1) ** gamma) * gain[..., None, None] * ramp
    grey = (torch.rand(n, generator=rng) < 0.1)[:, None, None, None]
    return torch.where(grey, x.mean(1, keepdim=True), x)


def augment(x: Tensor, rng: torch.Generator) -> Tensor:
    """Return images [B, 3, 128, 128] in 0..1 with everything varied but the face.

    Outside an oval of random size, pixels of another image of the batch take their place in one of
    three images; a quarter of the batches is blurred.
    """
    x = _place(x, rng)
    if torch.rand((), generator=rng) < 0.25:
        x = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2.0, mode="bilinear")
    n = len(x)
    keep = oval(grow=float(_draw(rng, 1, 0.8, 1.05)))
    keep = torch.where((torch.rand(n, generator=rng) < 1 / 3)[:, None, None, None], keep, 1.0)
    x = x * keep + x.roll(int(torch.randint(1, max(2, n), (), generator=rng)), 0) * (1 - keep)
    x = _light(x, rng)
    return (x + 0.015 * torch.randn(x.shape, generator=rng)).clamp(0, 1)


class Trainer(TrainingLoop):
    """The state of one training, kept in ``checkpoint.pt`` every minute.

    Args:
        images: uint8 [N, 128, 128, 3].
        labels: Class of each, int64 [N], 0 to C - 1.
        settings: Hyper-parameters.
        out: Folder of the checkpoint.

    Raises:
        AubenchError: Fewer images than a batch.
    """

    settings: Settings
    save_seconds: float = 60.0
    images: Images
    labels: npt.NDArray[np.int64]
    rng: torch.Generator
    network: nn.Module
    centres: nn.Parameter
    optimiser: torch.optim.AdamW
    schedule: torch.optim.lr_scheduler.OneCycleLR
    order: Tensor

    def __init__(
        self, images: Images, labels: npt.NDArray[np.int64], settings: Settings, out: Path
    ) -> None:
        if len(images) < settings.batch:
            raise AubenchError(f"{len(images)} images are fewer than a batch", "use a larger limit")
        super().__init__(
            settings, out / "checkpoint.pt", f"training {settings.name}", precision=fast_precision()
        )
        self.images, self.labels = images, labels
        torch.manual_seed(settings.seed)
        self.rng = torch.Generator().manual_seed(settings.seed)
        self.network = Embedder().to(memory_format=torch.channels_last)
        # Short, so that the first steps can turn them.
        self.centres = nn.Parameter(0.02 * torch.randn(int(labels.max()) + 1, DIMENSIONS))
        self.optimiser = torch.optim.AdamW(
            [*self.network.parameters(), self.centres],
            lr=settings.rate,
            weight_decay=settings.decay,
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, settings.rate, self.total_steps, pct_start=0.15
        )
        self.order = torch.arange(len(images))
        self.epoch_losses: list[float] = []

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch; what is left over is seen in another epoch."""
        return len(self.images) // self.settings.batch

    @property
    def total_steps(self) -> int:
        """Steps of all epochs."""
        return self.settings.epochs * self.steps_per_epoch

    @property
    def history(self) -> list[float]:
        """Mean loss of each epoch done."""
        return [line["loss"] for line in self.log]

    def facts(self) -> dict[str, str]:
        """Return the digest of images and classes."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return {"data": digest.hexdigest()[:16]}

    def stateful(self) -> dict[str, Stateful]:
        """Return network, optimiser and schedule."""
        return {
            "network": self.network,
            "optimiser": self.optimiser,
            "schedule": self.schedule,
        }

    def extra_state(self) -> dict[str, Any]:
        """Return class centres, what is drawn, and the losses of the epoch."""
        return {
            "centres": self.centres.detach(),
            "order": self.order,
            "rng": self.rng.get_state(),
            "epoch_losses": self.epoch_losses,
        }

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Take back class centres, what is drawn, and the losses of the epoch."""
        with torch.no_grad():
            self.centres.copy_(state["centres"])
        self.order, self.epoch_losses = state["order"], state["epoch_losses"]
        self.rng.set_state(state["rng"])

    def optimise(self) -> Losses:
        """Take the next step of the epoch."""
        step, batch = self.step_of_epoch, self.settings.batch
        if step == 0:
            self.order = torch.randperm(len(self.images), generator=self.rng)
        loss = self._loss(self.order[step * batch : (step + 1) * batch].numpy())
        self.optimiser.zero_grad()
        self.add_gradient(loss)
        self.descend(self.optimiser)
        self.schedule.step()
        return {"loss": float(loss.detach())}

    def _loss(self, rows: npt.NDArray[np.int64]) -> Tensor:
        s, done = self.settings, self.step_number / self.total_steps
        x = torch.from_numpy(self.images[rows]).permute(0, 3, 1, 2).float() / 255
        x = augment(x, self.rng).contiguous(memory_format=torch.channels_last)
        with self.autocast():
            embeddings = self.network(x)
        cosines = embeddings.float() @ F.normalize(self.centres).T
        margin = s.margin * min(1.0, max(0.0, (done - 0.3) / 0.3))
        return margin_loss(cosines, torch.from_numpy(self.labels[rows]), s.scale, margin)

    def note(self, losses: Losses) -> Losses:
        """Return the mean of the last 50 losses."""
        self.epoch_losses.append(losses["loss"])
        return {"loss": float(np.mean(self.epoch_losses[-50:]))}

    def end_epoch(self) -> None:
        """Log the mean loss of the epoch."""
        self.log.append({"loss": round(float(np.mean(self.epoch_losses)), 5)})
        self.epoch_losses = []


def fit(images: Images, labels: npt.NDArray[np.int64], settings: Settings, out: Path) -> Trainer:
    """Train a network, or go on from the checkpoint in ``out``.

    Returns:
        The finished training, its network ready for inference.

    Raises:
        AubenchError: Fewer images than a batch, a loss that is not finite, or a checkpoint of
            another training.
    """
    trainer = Trainer(images, labels, settings, out)
    trainer.resume()
    trainer.run()
    trainer.network.eval()
    return trainer


def pairs(
    embeddings: npt.NDArray[np.float32], subjects: Sequence[str], scenes: Sequence[str]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return cosines of pairs of one subject in different scenes, and of all pairs of strangers."""
    cosines = embeddings.astype(np.float64) @ embeddings.T.astype(np.float64)
    upper = np.triu(np.ones(cosines.shape, np.bool_), 1)
    who, where = np.asarray(subjects), np.asarray(scenes)
    same = who[:, None] == who[None]
    apart = where[:, None] != where[None]
    return cosines[upper & same & apart], cosines[upper & ~same]


def figures(
    genuine: npt.NDArray[np.float64], strangers: npt.NDArray[np.float64]
) -> dict[str, float | int]:
    """Return equal error rate, verification rate at FAR 1 %, and what they rest on."""
    at = threshold(strangers, 0.01)
    return {
        "genuine pairs": len(genuine),
        "stranger pairs": len(strangers),
        "EER": round(equal_error_rate(genuine, strangers), 5),
        "verification rate at FAR 1 %": round(acceptance(genuine, at), 5),
        "threshold at FAR 1 %": round(at, 4),
        "mean cosine, genuine": round(float(genuine.mean()), 4),
        "mean cosine, strangers": round(float(strangers.mean()), 4),
    }


def split_of(data: str, split: str, limit: int | None) -> tuple[Images, list[str], list[str]]:
    """Return images uint8 [N, 128, 128, 3] of a split, their keys, and whom they show."""
    from aubench.datasets.registry import find_dataset

    dataset = find_dataset(data)
    faces = dataset.split_faces(split)
    keys = list(faces.keys[:limit])
    images = dataset.pictures_of(keys, SIZE, f"{split} faces").take(range(len(keys)))
    return images, keys, list(faces.subjects[:limit])


def scene_of(key: str) -> str:
    """Return subject and scene of a face's key."""
    return key.rsplit("/", 1)[0]


def score(identity: Identity, data: str, split: str, limit: int) -> dict[str, float | int]:
    """Return the figures on the first images of a split: other AUs, other scenes."""
    images, keys, subjects = split_of(data, split, limit)
    found = pairs(identity.embeddings(images), subjects, [scene_of(key) for key in keys])
    return {"subjects": len(set(subjects)), "images": len(keys), **figures(*found)}


def control(identity: Identity, data: str, limit: int) -> dict[str, float | int]:
    """Return figures where all strangers share one scene and no genuine pair does.

    A network that looks at background, light or pose takes such strangers for one person.
    """
    from aubench.datasets.registry import find_dataset

    images, keys, people = split_of(data, "test", limit)
    subjects = np.asarray(people, dtype=str)
    names = [str(name) for name in np.unique(subjects)]
    scene = re.sub(r"\d+", CONTROL_SCENE, keys[0].split("/")[1])
    alike = [f"{name}/{scene}/neutral" for name in names]
    shown = find_dataset(data).pictures_of(alike, SIZE, "one scene for all")
    shared = identity.embeddings(shown.take(range(len(names))))
    among = shared.astype(np.float64) @ shared.T.astype(np.float64)
    rows = np.searchsorted(np.asarray(names), subjects)
    genuine = (identity.embeddings(images).astype(np.float64) * shared[rows]).sum(1)
    return figures(genuine, among[np.triu_indices(len(names), 1)])


def export(network: nn.Module, out: Path, card: dict[str, Any]) -> Identity:
    """Write half-precision safetensors and the card; return the network as it will be loaded."""
    from safetensors.torch import save_file

    name = str(card["name"])
    path = out / f"{name}.safetensors"
    state = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in network.state_dict().items()
    }
    if any(v.is_floating_point() and not v.isfinite().all() for v in state.values()):
        raise AubenchError("the weights do not fit half precision", "use a smaller rate")
    with atomic_path(path) as temporary:
        save_file(state, temporary)
    write_card(out, card | {"sha256": sha256_file(path)})
    return load(name, folder=out)


def write_card(out: Path, card: dict[str, Any]) -> None:
    """Write the card beside the weights."""
    write_text(out / f"{card['name']}.card.json", json.dumps(card, indent=1) + "\n")


def train(settings: Settings, out: Path, command: str) -> Path:
    """Train or resume, write weights and card into ``out``, score them, complete the card.

    Args:
        settings: Hyper-parameters.
        out: The folder.
        command: Command that was given, for the card.

    Returns:
        The weights.
    """
    from aubench.datasets.registry import find_dataset

    images, _, subjects = split_of(settings.data, "train", settings.limit)
    names, labels = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    trainer = fit(images, labels.astype(np.int64), settings, out)
    card: dict[str, Any] = {
        "name": settings.name,
        "scale": f"nano: trained on {settings.data}, knows no photographs",
        "sha256": "",
        "command": command,
        "settings": asdict(settings),
        "data": {
            "renderer": find_dataset(settings.data).images().fingerprint,
            "train images": len(images),
            "train subjects": len(names),
        },
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "hardware": f"{torch.get_num_threads()} CPU threads, {fast_precision()}",
        "seconds": round(trainer.seconds, 1),
        "torch": torch.__version__,
        "aubench": __version__,
        "history": trainer.history,
    }
    identity = export(trainer.network, out, card)
    scores = {
        "validation, different scenes": score(identity, settings.data, "validation", 2000),
        "test, different scenes": score(identity, settings.data, "test", 4000),
        "test, all strangers in one scene": control(identity, settings.data, 2000),
    }
    write_card(out, card | {"sha256": identity.sha256, "scores": scores})
    return out / f"{settings.name}.safetensors"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options and train."""
    parser = argparse.ArgumentParser(prog="python -m aubench.networks.identity.train")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", choices=sorted(NAMES), default=Settings().data)
    for name, kind in (("epochs", int), ("batch", int), ("seed", int), ("limit", int)):
        parser.add_argument(f"--{name}", type=kind, default=getattr(Settings(), name))
    given = parser.parse_args(arguments)
    words = {key: value for key, value in vars(given).items() if key != "out"}
    settings = Settings(**words)
    told = [f"--epochs {settings.epochs}", f"--seed {settings.seed}"]
    told += [
        f"--{name} {getattr(settings, name)}"
        for name in ("data", "batch", "limit")
        if getattr(settings, name) != getattr(Settings(), name)
    ]
    train(settings, given.out, " ".join(["python -m aubench.networks.identity.train", *told]))


if __name__ == "__main__":
    main()
