"""Training the text classifier; wording 4 of every construct is held out and never seen."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from aubench import __version__
from aubench.describe import describe, wordings
from aubench.errors import AubenchError
from aubench.facs import labels_of, parse_aus
from aubench.files import atomic_path, sha256_file, write_text
from aubench.progress import bar
from aubench.textau.classifier import PAD, UNKNOWN, TextNetwork, Tokens, preset

HELD_OUT = 4
SEEN = (0, 1, 2, 3)


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters; ``drop`` is the share of words left out of a training text."""

    preset: str = "nano"
    epochs: int = 12
    batch: int = 64
    rate: float = 1e-3
    drop: float = 0.15
    seed: int = 5
    limit: int | None = None


def train_tokenizer(path: Path, vocabulary: int) -> None:
    """Train a byte-pair tokenizer on the seen wordings, lower case."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, UNKNOWN],
        initial_alphabet=list("abcdefghijklmnopqrstuvwxyz,.;:'-"),
        show_progress=False,
    )
    seen = [text for texts in wordings().values() for k, text in enumerate(texts) if k in SEEN]
    tokenizer.train_from_iterator(seen, trainer)
    write_text(path, tokenizer.to_str())


def combinations(limit: int | None) -> list[tuple[int, ...]]:
    """Return the AU sets of synfacs train, as the paper takes those of its data set."""
    from aubench.datasets.synfacs import train_combinations

    return [parse_aus(name) for name in train_combinations()][:limit]


def draw_text(aus: tuple[int, ...], draw: np.random.Generator, drop: float) -> str:
    """Return a training text: seen wordings at random, sentences shuffled, words left out."""
    from aubench.describe import allocate

    constructs = list(allocate(aus)) or [()]
    draw.shuffle(constructs)
    words = " ".join(wordings()[c][int(draw.integers(0, len(SEEN)))] for c in constructs).split()
    kept = [word for word in words if draw.random() >= drop]
    return " ".join(kept or words)


def f1(p: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]) -> float:
    """Return the mean over AUs of F1 at threshold 0.5."""
    found = p >= 0.5
    hit = (found & (labels == 1)).sum(0)
    return float((2 * hit / np.maximum(found.sum(0) + labels.sum(0), 1)).mean())


class Trainer:
    """The state of one training, kept in ``checkpoint.pt`` after each epoch."""

    def __init__(self, settings: Settings, out: Path) -> None:
        self.settings, self.out = settings, out
        shape = preset(settings.preset)
        torch.manual_seed(settings.seed)
        self.network = TextNetwork(shape)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=settings.rate)
        self.tokenizer_path = out / f"{settings.preset}.tokenizer.json"
        if not self.tokenizer_path.is_file():
            train_tokenizer(self.tokenizer_path, shape.vocabulary)
        self.tokens = Tokens(self.tokenizer_path, shape.length)
        self.sets = combinations(settings.limit)
        self.epoch, self.seconds = 0, 0.0
        self.history: list[float] = []

    @property
    def checkpoint(self) -> Path:
        """Where the state is kept."""
        return self.out / "checkpoint.pt"

    def save(self) -> None:
        """Write the checkpoint atomically."""
        state = {
            "settings": asdict(self.settings), "epoch": self.epoch, "seconds": self.seconds,
            "network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(),
            "history": self.history,
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
        self.history = state["history"]

    def run_epoch(self) -> None:
        """Train once over the AU sets; all randomness comes from seed and epoch."""
        s = self.settings
        draw = np.random.default_rng([s.seed, self.epoch])
        torch.manual_seed(s.seed * 1000 + self.epoch)
        order = draw.permutation(len(self.sets))
        steps = max(1, -(-len(order) // s.batch))
        start, total = time.perf_counter(), 0.0
        self.network.train()
        with bar(steps, f"epoch {self.epoch + 1}/{s.epochs}", "step") as progress:
            for step in range(steps):
                share = (self.epoch * steps + step) / (s.epochs * steps)
                for group in self.optimiser.param_groups:
                    group["lr"] = s.rate * min(1, share / 0.05) * (1 - share)
                chosen = [self.sets[i] for i in order[step * s.batch : (step + 1) * s.batch]]
                total += self._step(chosen, draw)
                progress.update(1)
        self.seconds += time.perf_counter() - start
        self.history.append(round(total / steps, 6))
        self.epoch += 1

    def _step(self, sets: list[tuple[int, ...]], draw: np.random.Generator) -> float:
        ids, mask = self.tokens([draw_text(aus, draw, self.settings.drop) for aus in sets])
        labels = torch.from_numpy(np.stack([labels_of(aus) for aus in sets])).float()
        loss: Tensor = nn.functional.binary_cross_entropy_with_logits(
            self.network(ids, mask), labels
        )
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        return float(loss.detach())

    def score(self, variant: int, sets: list[tuple[int, ...]]) -> float:
        """Return F1 on the texts of one wording."""
        self.network.eval()
        texts = [describe(aus, variant=variant).text for aus in sets]
        out = []
        with torch.inference_mode():
            for i in range(0, len(texts), 128):
                ids, mask = self.tokens(texts[i : i + 128])
                out.append(torch.sigmoid(self.network(ids, mask)).numpy())
        return f1(np.concatenate(out), np.stack([labels_of(aus) for aus in sets]))


def unseen_sets(known: list[tuple[int, ...]], count: int = 1000) -> list[tuple[int, ...]]:
    """Return AU sets that are not among the known ones."""
    from aubench.facs import AUS

    every = [tuple(au for k, au in enumerate(AUS) if n >> k & 1) for n in range(1, 1 << len(AUS))]
    new = [aus for aus in every if aus not in set(known)]
    order = np.random.default_rng(0).permutation(len(new))[:count]
    return [new[i] for i in order]


def train(settings: Settings, out: Path, command: str, *, resume: bool = True) -> Path:
    """Train the classifier; write weights, tokenizer and card into ``out``.

    Raises:
        AubenchError: unknown preset, or a checkpoint of other settings.
    """
    trainer = Trainer(settings, out)
    if resume:
        trainer.resume()
    while trainer.epoch < settings.epochs:
        trainer.run_epoch()
        trainer.save()
    sets = trainer.sets[:1000]
    scores: dict[str, Any] = {
        "F1, seen wordings": round(float(np.mean([trainer.score(k, sets) for k in SEEN])), 4),
        "F1, held-out wordings": round(trainer.score(HELD_OUT, sets), 4),
        "F1, held-out wordings of unseen AU sets": round(
            trainer.score(HELD_OUT, unseen_sets(trainer.sets)), 4
        ),
        "F1, seen wordings of unseen AU sets": round(
            trainer.score(SEEN[0], unseen_sets(trainer.sets)), 4
        ),
    }
    return export(trainer, scores, command)


def export(trainer: Trainer, scores: dict[str, Any], command: str) -> Path:
    """Write half-precision safetensors and the card; return the weights."""
    from safetensors.torch import save_file

    name = trainer.settings.preset
    path = trainer.out / f"{name}.safetensors"
    state, seen = {}, set()
    for key, value in trainer.network.state_dict().items():
        if value.data_ptr() not in seen:  # T5 shares its embedding under two names
            seen.add(value.data_ptr())
            state[key] = value.half().contiguous()
    with atomic_path(path) as temporary:
        save_file(state, temporary)
    texts = "\n".join(text for pair in sorted(wordings().items()) for text in pair[1])
    card = {
        "name": name,
        "scale": "nano: trained here from scratch, not the paper's T5-large"
        if name == "nano"
        else "the configuration of the named T5",
        "sha256": sha256_file(path),
        "command": command,
        "settings": asdict(trainer.settings),
        "data": {
            "dictionary": hashlib.sha256(texts.encode()).hexdigest(),
            "AU sets": len(trainer.sets),
            "held out": f"wording {HELD_OUT} of every construct",
        },
        "hardware": f"{torch.get_num_threads()} CPU threads",
        "seconds": round(trainer.seconds, 1),
        "torch": torch.__version__,
        "aubench": __version__,
        "scores": scores,
        "history": trainer.history,
    }
    write_text(trainer.out / f"{name}.card.json", json.dumps(card, indent=1) + "\n")
    return path
