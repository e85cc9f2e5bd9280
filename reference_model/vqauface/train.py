"""Training: ``python -m vqauface.train --stage 1 --out DIR``, then ``--stage 2``, ``--stage 3``.

Stage 3 is not the paper's: it trains the decoder of stage I further on its frozen codes.

Interrupt it freely; the same command resumes from the last checkpoint with the same numbers.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aubench.errors import AubenchError
from aubench.files import atomic_path, sha256_file, write_text
from aubench.progress import bar
from vqauface.presets import preset
from vqauface.rqvae import RQVAE, Critic, embed
from vqauface.transformer import MaskedTransformer, token_loss


@dataclass(frozen=True)
class Settings:
    """What a training is; a checkpoint of other settings is refused."""

    stage: int
    preset: str = "nano"
    steps: int = 2000
    batch: int = 64
    rate: float = 1e-3
    seed: int = 3
    limit: int | None = None
    # Stage I. The anatomical and adversarial losses join once the smoothed L1 is below `ready`.
    ready: float = 0.06
    anatomical: float = 0.15
    adversarial: float = 0.005
    adaptive: bool = False
    # Stage II.
    drop_text: float = 0.1
    changed: float = 3.0
    probe: float = 0.1


def to_float(images: Any) -> Tensor:
    """Return float [B, 3, H, W] in -1..1 of uint8 [B, H, W, 3]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


class Loop:
    """Steps, schedule, moving average, checkpoint, log; a stage fills in ``loss``."""

    def __init__(self, settings: Settings, out: Path) -> None:
        self.s, self.out = settings, out
        self.p = preset(settings.preset)
        torch.manual_seed(settings.seed)
        self.step_number, self.seconds = 0, 0.0
        self.log: list[dict[str, float]] = []
        self.model: nn.Module = self.make()
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.optimiser = torch.optim.AdamW(
            [p for p in self.model.parameters() if p.requires_grad],
            lr=settings.rate,
            betas=(0.9, 0.98),
            weight_decay=1e-2,
        )

    def make(self) -> nn.Module:
        """Return the network to train."""
        raise NotImplementedError

    def loss(self, rows: np.ndarray, draw: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a batch and what to log."""
        raise NotImplementedError

    def extra_state(self) -> dict[str, Any]:
        """Return what else the checkpoint holds."""
        return {}

    def load_extra(self, state: dict[str, Any]) -> None:
        """Take back what ``extra_state`` gave."""

    @property
    def checkpoint(self) -> Path:
        """Where the state is kept."""
        return self.out / f"stage{self.s.stage}.checkpoint.pt"

    def save(self) -> None:
        """Write the checkpoint atomically."""
        state = {
            "settings": asdict(self.s), "step": self.step_number, "seconds": self.seconds,
            "model": self.model.state_dict(), "average": self.average, "log": self.log,
            "optimiser": self.optimiser.state_dict(), "extra": self.extra_state(),
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
        if state["settings"] != asdict(self.s):
            raise AubenchError(f"{self.checkpoint} has other settings", "use another --out")
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average, self.log = state["average"], state["log"]
        self.step_number, self.seconds = state["step"], state["seconds"]
        self.load_extra(state["extra"])

    def _rate(self) -> float:
        share = self.step_number / self.s.steps
        return (
            self.s.rate
            * min(1.0, self.step_number / 100 + 0.01)
            * (0.5 * (1 + math.cos(math.pi * share)) * 0.98 + 0.02)
        )

    def _average(self) -> None:
        decay = min(0.995, (1 + self.step_number) / (10 + self.step_number))
        for key, value in self.model.state_dict().items():
            kept = self.average[key]
            if value.is_floating_point() and "_codebook" not in key:
                kept.lerp_(value.detach(), 1 - decay)
            else:
                kept.copy_(value)

    def step(self, count: int) -> dict[str, float]:
        """Do one step on images drawn by seed and step number alone."""
        draw = torch.Generator().manual_seed(self.s.seed * 1_000_003 + self.step_number)
        torch.manual_seed(self.s.seed * 7_000_003 + self.step_number)
        rows = torch.randint(0, count, (self.s.batch,), generator=draw).numpy()
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        self.model.train()
        loss, shown = self.loss(rows, draw)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.step_number += 1
        self._average()
        return shown

    def run(self, count: int, *, stop: int | None = None, every: float = 120.0) -> None:
        """Train to the last step, or to ``stop``; checkpoint every so many seconds."""
        last = min(self.s.steps, stop or self.s.steps)
        start = saved = time.perf_counter()
        label = f"stage {self.s.stage}"
        with bar(self.s.steps, label, "step", initial=self.step_number) as progress:
            while self.step_number < last:
                shown = self.step(count)
                progress.set_postfix({k: f"{v:.3f}" for k, v in shown.items()}, refresh=False)
                progress.update(1)
                if self.step_number % 50 == 0:
                    self.log.append({"step": self.step_number, **shown})
                now = time.perf_counter()
                if now - saved > every:
                    self.seconds += now - start
                    start = saved = now
                    self.save()
        self.seconds += time.perf_counter() - start
        self.save()


class StageOne(Loop):
    """Residual VQGAN (equations 1 to 6)."""

    def __init__(self, settings: Settings, out: Path, images: Any, detector: Any) -> None:
        self.images, self.detector = images, detector
        self.smooth, self.joined = 1.0, False
        super().__init__(settings, out)
        self.critic = Critic()
        self.critic_optimiser = torch.optim.AdamW(
            self.critic.parameters(), lr=settings.rate / 2, betas=(0.5, 0.9)
        )

    def make(self) -> nn.Module:
        """Return the residual VQGAN."""
        return RQVAE(self.p).to(memory_format=torch.channels_last)

    def extra_state(self) -> dict[str, Any]:
        """Return critic and switch."""
        return {
            "smooth": self.smooth, "joined": self.joined, "critic": self.critic.state_dict(),
            "critic_optimiser": self.critic_optimiser.state_dict(),
        }  # fmt: skip

    def load_extra(self, state: dict[str, Any]) -> None:
        """Take back critic and switch."""
        self.smooth, self.joined = state["smooth"], state["joined"]
        self.critic.load_state_dict(state["critic"])
        self.critic_optimiser.load_state_dict(state["critic_optimiser"])

    def loss(self, rows: np.ndarray, draw: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return reconstruction, gradient, commitment, anatomical and adversarial loss."""
        x = to_float(self.images[rows]).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            y, commitment = self.rebuild(rows, x)
        y = y.float()
        l1 = (x - y).abs().mean()
        total = l1 + (x - y).square().mean() + 0.5 * edges(x, y) + 0.25 * commitment
        self.smooth += 0.05 * (float(l1.detach()) - self.smooth)
        self.joined = self.joined or self.smooth < self.s.ready
        shown = {"l1": float(l1.detach()), "commit": float(commitment.detach())}
        if self.joined and self.detector is not None:
            anatomical = self._anatomical(x, y)
            total = total + self.s.anatomical * anatomical
            shown["anat"] = float(anatomical.detach())
        if self.joined and self.s.adversarial > 0:
            fooled = self._adversarial(x, y)
            weight = self._weight(total, fooled) if self.s.adaptive else self.s.adversarial
            total = total + weight * fooled
            shown["adv"] = float(weight * fooled.detach())
        return total, shown

    def rebuild(self, rows: np.ndarray, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return reconstructions of images and the commitment loss."""
        y, _, commitment = self.model(x)
        return y, commitment

    def _weight(self, rest: Tensor, fooled: Tensor) -> float:
        """Balance the gradients of both losses at the decoder's last layer (Esser et al. 2021)."""
        model: Any = self.model
        last = model.decoder[-2].weight
        a, b = (
            torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (rest, fooled)
        )
        return self.s.adversarial * min(1e3, float(a / (b + 1e-6)))

    def _anatomical(self, x: Tensor, y: Tensor) -> Tensor:
        """Equation 5: distance of AU features of the detector, real against reconstructed."""
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                real = self.detector.features((x + 1) / 2).float()
            made = self.detector.features((y + 1) / 2).float()
        return F.mse_loss(F.normalize(made, dim=-1), F.normalize(real, dim=-1)) * real.shape[-1]

    def _adversarial(self, x: Tensor, y: Tensor) -> Tensor:
        """Equations 3 and 4, hinge; the critic takes its own step first."""
        with torch.autocast("cpu", torch.bfloat16):
            real, fake = self.critic(x), self.critic(y.detach())
        loss = 0.5 * (F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean())
        self.critic_optimiser.zero_grad()
        loss.backward()
        self.critic_optimiser.step()
        with torch.autocast("cpu", torch.bfloat16):
            return -self.critic(y).float().mean()


class Polish(StageOne):
    """The decoder alone, on the codes of a finished stage I; stage II is not touched by it."""

    def __init__(
        self, settings: Settings, out: Path, images: Any, detector: Any, codes: Tensor
    ) -> None:
        self.latents = codes
        super().__init__(settings, out, images, detector)
        state = torch.load(out / "stage1.checkpoint.pt", weights_only=True)
        self.critic.load_state_dict(state["extra"]["critic"])
        self.joined = True

    def make(self) -> nn.Module:
        """Return the averaged stage I with all but the decoder frozen."""
        model = stage_one_model(self.out, self.s.preset)
        model.decoder.requires_grad_(True)
        return model.to(memory_format=torch.channels_last)

    def rebuild(self, rows: np.ndarray, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return images decoded from the known codes; there is nothing to commit to."""
        model: Any = self.model
        codes = self.latents[rows].long()
        return model.decode(embed(model.books(), codes).sum(2)), torch.zeros(())


def edges(x: Tensor, y: Tensor) -> Tensor:
    """Return the L1 distance of horizontal and vertical differences; keeps furrows sharp."""
    d = x - y
    across = (d[..., :, 1:] - d[..., :, :-1]).abs().mean()
    return across + (d[..., 1:, :] - d[..., :-1, :]).abs().mean()


@dataclass(frozen=True)
class Tokens:
    """Stage II's data: codes of targets and references, texts, labels."""

    target: Tensor
    reference: Tensor
    images: Any
    rows: np.ndarray
    texts: list[list[str]]
    labels: Tensor


class StageTwo(Loop):
    """Masked transformer on the codes of a finished stage I."""

    def __init__(
        self, settings: Settings, out: Path, data: Tokens, books: Tensor, text: Any
    ) -> None:
        self.data, self.books, self.text = data, books, text
        self.known: dict[str, Tensor] = {}
        super().__init__(settings, out)

    def make(self) -> nn.Module:
        """Return the transformer."""
        return MaskedTransformer(self.p)

    def loss(self, rows: np.ndarray, draw: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Return token loss, heavier where target and reference differ, and the AU probe's."""
        d, s = self.data, self.s
        codes, reference = d.target[rows].long(), d.reference[d.rows[rows]].long()
        image = to_float(d.images[d.rows[rows]])
        variants = torch.randint(0, len(d.texts[0]), (len(rows),), generator=draw)
        hidden, words = self._states(
            [d.texts[r][int(v)] for r, v in zip(rows, variants, strict=True)]
        )
        model: Any = self.model
        masked = self._mask(len(rows), codes.shape[1], draw)
        tokens = embed(self.books, codes).sum(2)
        before = embed(self.books, reference).sum(2)
        dropped = torch.rand(len(rows), generator=draw) < s.drop_text
        with torch.autocast("cpu", torch.bfloat16):
            au = model.au(hidden, words)
            probe = F.binary_cross_entropy_with_logits(
                model.au.presence(au).float(), d.labels[rows]
            )
            au = torch.where(dropped[:, None, None], model.null.to(au.dtype), au)
            appearance, grid = model.context(image, before)
            states = model(tokens, masked, au, appearance, grid)
            moved = (codes[..., 0] != reference[..., 0])[..., None]
            weight = 1 + (s.changed - 1) * moved.float().expand(codes.shape)
            loss = token_loss(model, self.books, states, codes, reference, masked, weight)
        shown = {"token": float(loss.detach()), "probe": float(probe.detach())}
        return loss + s.probe * probe, shown

    def _states(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Return text states [B, L, C] and mask [B, L]; the frozen encoder sees a text once."""
        for text in texts:
            if text not in self.known:
                hidden, mask = self.text.encode([text])
                self.known[text] = torch.from_numpy(hidden[0][mask[0]]).half()
        found = [self.known[text] for text in texts]
        states = nn.utils.rnn.pad_sequence([f.float() for f in found], batch_first=True)
        lengths = torch.tensor([len(f) for f in found])
        return states, torch.arange(states.shape[1])[None] < lengths[:, None]

    @staticmethod
    def _mask(batch: int, places: int, draw: torch.Generator) -> Tensor:
        """Return bool [B, N], its share drawn from the cosine schedule, at least one masked."""
        share = torch.cos(torch.rand(batch, 1, generator=draw) * math.pi / 2)
        order = torch.rand(batch, places, generator=draw)
        return (order < share) | (order == order.min(1, keepdim=True).values)


def train_one(settings: Settings, out: Path, *, resume: bool = True) -> StageOne:
    """Train stage I on synfacs train (targets and references)."""
    from aubench.datasets.synfacs import load_split
    from aubench.detectors import load_detector

    images, references, _, _ = load_split("train", preset(settings.preset).size, settings.limit)
    detector = load_detector("nano-a") if settings.anatomical > 0 else None
    every = np.concatenate([images, references])
    loop = StageOne(settings, out, every, detector)
    if resume:
        loop.resume()
    loop.run(len(every))
    return loop


def train_polish(settings: Settings, out: Path, *, resume: bool = True) -> Polish:
    """Train the decoder of a finished stage I further, on synfacs train."""
    from aubench.datasets.synfacs import load_split
    from aubench.detectors import load_detector

    images, references, _, _ = load_split("train", preset(settings.preset).size, settings.limit)
    codec = stage_one_model(out, settings.preset)
    codes = torch.cat([kept_codes(codec, images, out, "target"),
                       kept_codes(codec, references, out, "reference")])  # fmt: skip
    detector = load_detector("nano-a") if settings.anatomical > 0 else None
    loop = Polish(settings, out, np.concatenate([images, references]), detector, codes)
    if resume:
        loop.resume()
    loop.run(len(codes))
    return loop


def encode_all(model: RQVAE, images: Any, batch: int = 128) -> Tensor:
    """Return codes int16 [N, places, Q] of uint8 images."""
    out = []
    model.eval()
    with torch.inference_mode(), bar(len(images), "codes", "img") as progress:
        for i in range(0, len(images), batch):
            out.append(model.codes(to_float(images[i : i + batch])).to(torch.int16))
            progress.update(len(out[-1]))
    return torch.cat(out)


def kept_codes(model: RQVAE, images: Any, out: Path, name: str) -> Tensor:
    """Return the codes of images, kept in ``out`` under the digest of stage I."""
    digest = sha256_file(out / "stage1.checkpoint.pt")[:16]
    path = out / f"codes-{name}-{digest}-{len(images)}.pt"
    if path.is_file():
        codes: Tensor = torch.load(path, weights_only=True)
        return codes
    codes = encode_all(model, images)
    with atomic_path(path) as temporary:
        torch.save(codes, temporary)
    return codes


def stage_one_model(out: Path, name: str) -> RQVAE:
    """Return the averaged stage I of a checkpoint folder.

    Raises:
        AubenchError: stage I was not trained there.
    """
    path = out / "stage1.checkpoint.pt"
    if not path.is_file():
        raise AubenchError(f"no stage I at {path}", "train --stage 1 first")
    model = RQVAE(preset(name))
    model.load_state_dict(torch.load(path, weights_only=True)["average"])
    return model.eval().requires_grad_(False)


def train_two(settings: Settings, out: Path, *, resume: bool = True) -> StageTwo:
    """Train stage II on the codes of synfacs train."""
    from aubench.datasets.samples import LABELS
    from aubench.datasets.synfacs import load_split
    from aubench.describe import describe
    from aubench.facs import parse_aus
    from aubench.textau import load_text_au

    images, references, rows, frame = load_split(
        "train", preset(settings.preset).size, settings.limit
    )
    codec = stage_one_model(out, settings.preset)
    target, reference = (
        kept_codes(codec, part, out, name)
        for part, name in ((images, "target"), (references, "reference"))
    )
    texts_of = {
        name: [describe(parse_aus(name), seed=k).text for k in range(6)]
        for name in set(frame["combination"])
    }
    data = Tokens(
        target=target,
        reference=reference,
        images=references,
        rows=rows,
        texts=[texts_of[name] for name in frame["combination"]],
        labels=torch.from_numpy(frame[list(LABELS)].to_numpy(np.float32)),
    )
    loop = StageTwo(settings, out, data, codec.books(), load_text_au())
    if resume:
        loop.resume()
    loop.run(len(images))
    return loop


def main(words: list[str] | None = None) -> None:
    """Run the training the options ask for; after stage II, export the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stage", type=int, choices=(1, 2, 3), required=True)
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--anatomical", type=float, default=Settings.anatomical)
    parser.add_argument("--adversarial", type=float, default=Settings.adversarial)
    parser.add_argument("--adaptive", action="store_true", help="balance the adversarial loss")
    parser.add_argument("--fresh", action="store_true")
    given = vars(parser.parse_args(words))
    out, fresh = given.pop("out"), given.pop("fresh")
    settings = Settings(**given)
    if settings.stage == 1:
        train_one(settings, out, resume=not fresh)
    elif settings.stage == 2:
        train_two(settings, out, resume=not fresh)
    else:
        train_polish(settings, out, resume=not fresh)
    if settings.stage > 1:
        from vqauface.weights import export

        export(out)
    write_text(out / f"stage{settings.stage}.settings.json", json.dumps(asdict(settings)) + "\n")


if __name__ == "__main__":
    main()
