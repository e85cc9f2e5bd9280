"""Training of GANimation: a Wasserstein critic with gradient penalty, unpaired faces.

One iteration is a critic step on adversarial and AU loss, a critic step of its own on the
gradient penalty, and with every ``every``-th iteration a generator step. Interrupt it freely; the
same command resumes from the last checkpoint with the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from aubench import __version__
from aubench.errors import AubenchError
from aubench.generators.contract import Training
from aubench.storage.files import atomic_path, sha256_file, write_text
from aubench.training.loop import (
    Losses,
    Stateful,
    TrainingLoop,
    copied,
    set_rate,
    update_average,
)
from aubench.training.settings import fast_precision, with_options
from aubench_baselines.ganimation.data import Faces, digest_of, load_faces
from aubench_baselines.ganimation.losses import generator_loss, gradient_penalty
from aubench_baselines.ganimation.networks import SIZE, Critic, Painter, blend, to_float


@dataclass(frozen=True)
class Settings:
    """What a training is; every field but the first six is a ``--set`` option.

    Attributes:
        steps: Iterations; 0 for ``epochs`` of the data.
        epochs: Number of epochs; in the last third the rate falls to 0.
        width, critic_width: Channels of the first layers.
        every: Iterations for each generator step.
        au: Weight of the AU loss, divided by the batch size as in the original.
        mask, variation: Weights of the attention's mean and of its total variation, a sum.
        average: Decay of the moving average that is exported; 0 exports the last weights.
        kind: ``intensities`` or ``labels``.
        noise: Half width of the noise added to the commanded AUs.
        precision: ``float32`` or ``bfloat16`` for the convolutions.
    """

    preset: str
    data: str
    seed: int
    device: str
    fold: int | None = None
    steps: int = 0
    epochs: int = 30
    size: int = SIZE
    width: int = 64
    blocks: int = 6
    critic_width: int = 64
    batch: int = 25
    rate: float = 1e-4
    every: int = 5
    au: float = 4000.0
    cycle: float = 10.0
    penalty: float = 10.0
    mask: float = 0.1
    variation: float = 1e-5
    noise: float = 0.1
    average: float = 0.0
    kind: str = "intensities"
    precision: str = "float32"
    limit: int = 0


PRESETS: dict[str, dict[str, Any]] = {
    "nano": {
        "steps": 2500,
        "size": 64,
        "width": 24,
        "critic_width": 16,
        "batch": 16,
        "rate": 2e-4,
        "every": 2,
        "au": 2560.0,
        "average": 0.995,
        "precision": fast_precision(),
    },
    "paper": {},
}
"""Paper: batch 25 as in its launch script, 20 + 10 epochs, 4000 / 25 = 160 for the AU loss.
Nano keeps that 160; it is small, works at half the side and lets the generator step more often,
so that two CPU cores can train it."""
FIXED = ("preset", "data", "seed", "device", "fold", "steps")


def settings_of(training: Training) -> Settings:
    """Return the settings of a preset with the caller's changes.

    Raises:
        AubenchError: An unknown preset or setting, or a value that does not fit.
    """
    if training.preset not in PRESETS:
        raise AubenchError(f"ganimation has no preset '{training.preset}'", "nano or paper")
    start = Settings(
        training.preset,
        training.data,
        training.seed,
        training.device,
        training.fold,
        **PRESETS[training.preset],
    )
    found = with_options(start, training.options, "ganimation", FIXED)
    return _sound(found if training.steps is None else replace(found, steps=training.steps))


def _sound(s: Settings) -> Settings:
    for name in ("width", "critic_width", "blocks", "every", "epochs"):
        if getattr(s, name) < 1:
            raise AubenchError(f"--set {name}={getattr(s, name)} must be 1 or more")
    if s.batch < 2 or s.size < 64 or s.size % 64:
        raise AubenchError("batch must be 2 or more, size a multiple of 64")
    if s.precision not in ("float32", "bfloat16"):
        raise AubenchError(f"unknown precision '{s.precision}'", "float32 or bfloat16")
    if not 0 <= s.average < 1 or s.rate <= 0:
        raise AubenchError("average must lie in 0..1, rate be more than 0")
    return s


class Loop(TrainingLoop):
    """Painter and critic, their optimisers and schedule."""

    unchecked = frozenset({"steps", "device"})
    save_seconds = 120.0

    def __init__(self, s: Settings, out: Path, faces: Faces) -> None:
        self.out, self.faces = out, faces
        count = len(faces.aus)
        self.s = s if s.steps else replace(s, steps=max(1, s.epochs * count // s.batch))
        super().__init__(
            self.s, out / "checkpoint.pt", "ganimation", device=s.device, precision=s.precision
        )
        torch.manual_seed(s.seed)
        place: dict[str, Any] = {"device": s.device, "memory_format": torch.channels_last}
        self.painter: Any = Painter(len(faces.numbers), s.width, s.blocks).to(**place)
        self.critic: Any = Critic(len(faces.numbers), s.size, s.critic_width).to(**place)
        self.average = copied(self.painter.state_dict())
        self.optimisers = {
            name: torch.optim.Adam(network.parameters(), lr=s.rate, betas=(0.5, 0.999), fused=True)
            for name, network in (("painter", self.painter), ("critic", self.critic))
        }
        self.sums: dict[str, list[float]] = {}
        self.means: dict[str, float] = {}

    @property
    def total_steps(self) -> int:
        """Iterations."""
        return self.s.steps

    def facts(self) -> dict[str, str]:
        """Return the digest of the faces."""
        return {"faces": digest_of(self.faces)}

    def stateful(self) -> dict[str, Stateful]:
        """Return painter and critic, with their optimisers."""
        optimisers = {f"{name}_optimiser": o for name, o in self.optimisers.items()}
        return {"painter": self.painter, "critic": self.critic, **optimisers}

    def extra_state(self) -> dict[str, Any]:
        """Return the moving average, and the losses since the last line of the log."""
        return {"average": self.average, "sums": self.sums}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Take back the moving average, and the losses since the last line of the log."""
        self.average = {k: v.to(self.device) for k, v in state["average"].items()}
        self.sums = state["sums"]

    def rate(self) -> float:
        """Return the rate: constant for two thirds, then falling linearly to 0."""
        left = 3 * (1 - self.step_number / self.s.steps)
        return self.s.rate * max(0.0, min(1.0, left))

    def rows(self) -> npt.NDArray[np.int64]:
        """Return the images of this iteration: each epoch is a permutation of its own."""
        count, batch = len(self.faces.aus), self.s.batch
        places = np.arange(self.step_number * batch, (self.step_number + 1) * batch)
        orders = {
            int(epoch): np.random.default_rng((self.s.seed, int(epoch))).permutation(count)
            for epoch in np.unique(places // count)
        }
        return np.array([orders[p // count][p % count] for p in places.tolist()], np.int64)

    def batch(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return images, their AUs, the AUs commanded and the shares of the penalty."""
        draw = np.random.default_rng((self.s.seed, 1, self.step_number))
        rows = self.rows()
        other = draw.integers(0, len(self.faces.aus), len(rows))
        noise = draw.uniform(-self.s.noise, self.s.noise, (len(rows), self.faces.aus.shape[1]))
        share = draw.random((len(rows), 1, 1, 1), np.float32)
        wanted = self.faces.aus[other] + noise.astype(np.float32)
        x = to_float(self.faces.images(rows)).to(memory_format=torch.channels_last)
        parts = (x, *(torch.from_numpy(v) for v in (self.faces.aus[rows], wanted, share)))
        a, b, c, d = (part.to(self.s.device) for part in parts)
        return a, b, c, d

    def optimise(self) -> Losses:
        """Do one iteration on what seed and number alone decide."""
        x, aus, wanted, share = self.batch()
        for optimiser in self.optimisers.values():
            set_rate(optimiser, self.rate())
        losses = self._critic_step(x, aus, wanted, share)
        if (self.step_number + 1) % self.s.every == 0:
            losses |= self._painter_step(x, aus, wanted)
        return losses

    def note(self, losses: Losses) -> Losses:
        """Log the mean losses of every 100 iterations."""
        for key, value in losses.items():
            self.sums.setdefault(key, []).append(value)
        if self.step_number % 100 == 0:
            self.means = {key: round(float(np.mean(v)), 5) for key, v in self.sums.items()}
            self.log.append({"step": self.step_number, **self.means})
            self.sums = {}
        return self.means

    def _descend(self, name: str, loss: Tensor) -> None:
        self.optimisers[name].zero_grad()
        self.add_gradient(loss)
        self.descend(self.optimisers[name])

    def _critic_step(
        self, x: Tensor, aus: Tensor, wanted: Tensor, share: Tensor
    ) -> dict[str, float]:
        with self.autocast():
            with torch.no_grad():
                colour, attention = self.painter(x, wanted)
                fake = blend(x, colour.float(), attention.float())
            # Both in one pass: the critic has no layer that mixes images.
            realness, predicted = self.critic(torch.cat([x, fake]))
        real, made = realness.float().chunk(2)
        regression = F.mse_loss(predicted.float()[: len(x)], aus)
        distance = real.mean() - made.mean()
        self._descend("critic", -distance + self.s.au / len(x) * regression)
        with self.autocast():
            penalty = self.s.penalty * gradient_penalty(self.critic, x, fake, share)
        self._descend("critic", penalty)
        return {
            "distance": float(distance.detach()),
            "real au": float(regression.detach()),
            "penalty": float(penalty.detach()),
        }

    def _painter_step(self, x: Tensor, aus: Tensor, wanted: Tensor) -> dict[str, float]:
        self.critic.requires_grad_(False)
        with self.autocast():
            terms = generator_loss(x, aus, wanted, self.painter, self.critic, self.s)
        self._descend("painter", sum(terms.values(), torch.zeros(())))
        self.critic.requires_grad_(True)
        number = (self.step_number + 1) // self.s.every
        update_average(self.average, self.painter.state_dict(), self.s.average, number)
        return {key: float(term.detach()) for key, term in terms.items()}


def fit(training: Training) -> Path:
    """Train or resume; write official checkpoints, fp16 weights and their card.

    Returns:
        ``ganimation-<preset>.safetensors``.

    Raises:
        AubenchError: Bad settings or data, or a checkpoint that does not agree.
    """
    settings = settings_of(training)
    faces = load_faces(settings.data, settings.kind, settings.size, settings.limit, settings.fold)
    loop = Loop(settings, training.out, faces)
    loop.resume()
    loop.run()
    return export(loop)


def export(loop: Loop) -> Path:
    """Write the networks under their official names, and the weights to ship with a card."""
    from safetensors.torch import save_file

    s, out = loop.s, loop.out
    epoch = max(1, round(s.steps * s.batch / len(loop.faces.aus)))
    state = loop.average if s.average else loop.painter.state_dict()
    for letter, tensors in (("G", state), ("D", loop.critic.state_dict())):
        with atomic_path(out / f"net_epoch_{epoch}_id_{letter}.pth") as temporary:
            torch.save({k: v.float().cpu().contiguous() for k, v in tensors.items()}, temporary)
    path = out / f"ganimation-{s.preset}.safetensors"
    with atomic_path(path) as temporary:
        save_file({k: v.half().cpu().contiguous() for k, v in state.items()}, temporary)
    text = json.dumps(card(loop, path), indent=1)
    write_text(path.with_name(path.name.removesuffix(".safetensors") + ".card.json"), text + "\n")
    return path


def card(loop: Loop, path: Path) -> dict[str, Any]:
    """Return the card of exported weights; ``scores`` are added once they are measured."""
    import platform

    s = loop.s
    return {
        "name": f"ganimation {s.preset}",
        "scale": f"{s.preset}: trained on {Path(s.data).name} by aubench, not the paper's weights",
        "sha256": sha256_file(path),
        "parameters": sum(v.numel() for v in loop.painter.state_dict().values()),
        "aus": list(loop.faces.numbers),
        "size": s.size,
        "label level": loop.faces.level if s.kind == "intensities" else 1.0,
        "metrics in training": [],
        "data": {
            "name": Path(s.data).name,
            "split": "train",
            **({"fold": s.fold} if s.fold else {}),
            "fingerprint": loop.faces.fingerprint,
            "digest": digest_of(loop.faces),
        },
        "command": command(s),
        "settings": asdict(s),
        "hardware": f"{s.device}, {torch.get_num_threads()} thread(s), {platform.machine()}",
        "seconds": round(loop.seconds),
        "log": loop.log[-1:],
        "torch": torch.__version__,
        "aubench": __version__,
        "licence": "Apache-2.0",
    }


def command(s: Settings) -> str:
    """Return the command that trains these settings."""
    words = [f"aubench train ganimation --preset {s.preset} --data {Path(s.data).name}"]
    words += [f"--fold {s.fold}"] if s.fold else []
    words += [f"--steps {s.steps} --seed {s.seed}"]
    plain = asdict(Settings(s.preset, s.data, s.seed, s.device, s.fold, **PRESETS[s.preset]))
    for name, value in asdict(s).items():
        if name not in FIXED and value != plain[name]:
            words.append(f"--set {name}={value}")
    return " ".join(words)
