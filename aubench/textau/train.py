"""Training the text classifier; interrupt it anywhere, it goes on with the same numbers."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from aubench.errors import AubenchError
from aubench.facs import parse_aus
from aubench.files import atomic_path, sha256_file, write_text
from aubench.progress import bar
from aubench.textau.classifier import PAD, UNKNOWN, Preset, TextAU, TextNetwork, Tokens, preset
from aubench.textau.corpus import UNKNOWN_AU, Corpus, Table, Worded
from aubench.textau.export import export
from aubench.textau.report import measure
from aubench.textau.settings import OURS, PRECISIONS, Settings, settings_for

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["Settings", "Trainer", "settings_for", "train"]


def open_corpus(settings: Settings) -> Corpus:
    """Return the texts that the settings name.

    Raises:
        AubenchError: the file is missing or wrong.
    """
    if settings.data != OURS:
        return Table(Path(settings.data), settings.seed, settings.limit)
    from aubench.datasets.synfacs import train_combinations

    sets = [parse_aus(name) for name in train_combinations()][: settings.limit]
    return Worded(sets, "AU sets of synfacs train in our wordings")


def train_tokenizer(path: Path, vocabulary: int, texts: list[str]) -> None:
    """Train a byte-pair tokenizer on texts, lower case."""
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
    tokenizer.train_from_iterator(texts, trainer)
    write_text(path, tokenizer.to_str())


def leave_out(text: str, rng: np.random.Generator, drop: float) -> str:
    """Return a text without a random share of its words."""
    words = text.split()
    kept = [word for word in words if rng.random() >= drop]
    return " ".join(kept or words)


def masked_bce(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of binary cross-entropies over known labels [B, 12] (9 is unknown)."""
    known = labels != UNKNOWN_AU
    loss: Tensor = nn.functional.binary_cross_entropy_with_logits(
        logits[known], labels[known].float(), reduction="sum"
    )
    return loss


class Trainer:
    """The state of one training, kept in ``checkpoint.pt`` every ``segment`` steps.

    Processes that ``accelerate launch`` starts take a part of every batch each; the first writes.
    """

    settings: Settings
    out: Path
    epoch: int
    step: int
    seconds: float
    total: float
    network: TextNetwork
    optimiser: torch.optim.AdamW
    accelerator: Any
    model: Any

    def __init__(self, settings: Settings, out: Path, *, resume: bool = True, cpu: bool = False):
        from accelerate import Accelerator

        if settings.precision not in PRECISIONS:
            raise AubenchError(f"no precision '{settings.precision}'", f"{', '.join(PRECISIONS)}")
        self.settings, self.out = settings, out
        self.corpus: Corpus = open_corpus(settings)
        self.accelerator = Accelerator(cpu=cpu)
        self.epoch, self.step, self.seconds, self.total = 0, 0, 0.0, 0.0
        self.history: list[float] = []
        self.pretrained: dict[str, str] = {}
        state = self._read() if resume and self.checkpoint.is_file() else None
        torch.manual_seed(settings.seed)
        self.shape: Preset = self._prepare(None if state is None else Preset(**state["shape"]))
        self.tokens: Tokens = Tokens(self.tokenizer_path, self.shape.length)
        self.model = self.accelerator.prepare_model(self.network)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=settings.rate)
        if state is not None:
            self._restore(state)

    @property
    def checkpoint(self) -> Path:
        """Where the state is kept."""
        return self.out / "checkpoint.pt"

    @property
    def tokenizer_path(self) -> Path:
        """Where the tokenizer is kept, as the classifier will look for it."""
        return self.out / f"{self.settings.encoder}.tokenizer.json"

    def _prepare(self, shape: Preset | None) -> Preset:
        """Build the network; write the tokenizer unless the training goes on from a checkpoint."""
        if shape is not None:
            self.network = TextNetwork(shape)
            return shape
        s, shape = self.settings, preset(self.settings.encoder)
        found = None
        if s.checkpoint:
            from aubench.textau.checkpoint import find, load_encoder

            found = find(s.checkpoint, s.encoder)
            shape = found.shape
        self.network = TextNetwork(shape)
        if found:
            load_encoder(self.network, found)
            self.pretrained = found.sha256
        if self.accelerator.is_main_process:
            if found:
                with atomic_path(self.tokenizer_path) as temporary:
                    shutil.copyfile(found.tokenizer, temporary)
            else:
                texts = self.corpus.training_texts()
                train_tokenizer(self.tokenizer_path, shape.vocabulary, texts)
        self.accelerator.wait_for_everyone()
        return shape

    def save(self) -> None:
        """Write the checkpoint atomically."""
        if self.accelerator.is_main_process:
            state = {
                "settings": asdict(self.settings), "corpus": self.corpus.fingerprint,
                "shape": asdict(self.shape), "tokenizer": sha256_file(self.tokenizer_path),
                "pretrained": self.pretrained, "processes": self.accelerator.num_processes,
                "epoch": self.epoch, "step": self.step, "seconds": self.seconds,
                "total": self.total, "history": self.history,
                "network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(),
            }  # fmt: skip
            with atomic_path(self.checkpoint) as temporary:
                torch.save(state, temporary)
        self.accelerator.wait_for_everyone()

    def _read(self) -> dict[str, Any]:
        """Return the checkpoint.

        Raises:
            AubenchError: it is damaged or belongs to other settings, texts or processes.
        """
        try:
            state: dict[str, Any] = torch.load(
                self.checkpoint, weights_only=True, map_location="cpu"
            )
            settings = dict(state["settings"])
        except Exception as error:
            raise AubenchError(f"{self.checkpoint} is damaged", "remove it") from error
        mine = asdict(self.settings)
        other = [key for key in mine if settings.get(key) != mine[key]]
        if other:
            raise AubenchError(
                f"{self.checkpoint} has other settings ({', '.join(other)})", "use another --out"
            )
        for key, value, what in (
            ("corpus", self.corpus.fingerprint, "texts"),
            ("processes", self.accelerator.num_processes, "number of processes"),
            ("tokenizer", sha256_file(self.tokenizer_path)
             if self.tokenizer_path.is_file() else None, "tokenizer"),
        ):  # fmt: skip
            if state.get(key) != value:
                raise AubenchError(f"{self.checkpoint} is of another {what}", "use another --out")
        return state

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.step, self.seconds = state["epoch"], state["step"], state["seconds"]
        self.total, self.history = state["total"], state["history"]
        self.pretrained = state["pretrained"]

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.corpus.labels) * self.settings.texts // self.settings.batch)

    def run(self) -> None:
        """Train to the end; the bar counts the steps of all epochs."""
        s, done = self.settings, self.epoch * self.steps + self.step
        label = f"training {s.encoder}"
        with bar(s.epochs * self.steps, label, "step", done) as progress:
            while self.epoch < s.epochs:
                self.run_epoch(progress)

    def run_epoch(self, progress: tqdm[Any] | None = None) -> None:
        """Go to the end of the epoch; all randomness comes from seed, epoch and segment."""
        s = self.settings
        rng = np.random.default_rng([s.seed, self.epoch])
        sets = len(self.corpus.labels)
        order = rng.permutation(sets * s.texts) % sets
        self.model.train()
        while self.step < self.steps:
            segment, start = self.step // s.segment, time.perf_counter()
            if segment:
                rng = np.random.default_rng([s.seed, self.epoch, segment])
            torch.manual_seed(self._dropout_seed(segment))
            for _ in range(min(s.segment, self.steps - self.step)):
                rows = order[self.step * s.batch : (self.step + 1) * s.batch]
                self._set_rate()
                self.total += self._advance(rows, rng)
                self.step += 1
                if progress is not None and self.accelerator.is_main_process:
                    mean = self.total / self.step
                    progress.set_postfix(epoch=self.epoch + 1, loss=f"{mean:.3f}", refresh=False)
                    progress.update(1)
            self.seconds += time.perf_counter() - start
            if self.step == self.steps:
                self.history.append(round(self.total / self.steps, 6))
                self.epoch, self.step, self.total = self.epoch + 1, 0, 0.0
                self.save()
                return
            self.save()

    def _dropout_seed(self, segment: int) -> int:
        s = self.settings
        if not segment and not self.accelerator.process_index:
            return s.seed * 1000 + self.epoch
        mixed = np.random.SeedSequence(
            [s.seed, self.epoch, segment, self.accelerator.process_index]
        )
        return int(mixed.generate_state(1)[0])

    def _set_rate(self) -> None:
        s = self.settings
        share = (self.epoch * self.steps + self.step) / (s.epochs * self.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = s.rate * min(1, share / 0.05) * (1 - share)

    def _advance(self, rows: npt.NDArray[np.int64], rng: np.random.Generator) -> float:
        """Take one step on a batch; return its mean loss."""
        texts = [leave_out(self.corpus.draw(int(i), rng), rng, self.settings.drop) for i in rows]
        self.optimiser.zero_grad()
        loss = self.backward(texts, torch.from_numpy(self.corpus.labels[rows]))
        if not np.isfinite(loss):
            raise AubenchError(
                f"the loss is {loss} at epoch {self.epoch + 1}, step {self.step + 1}",
                "use a smaller --rate",
            )
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        return loss

    def backward(self, texts: list[str], labels: Tensor) -> float:
        """Add the gradient of the mean loss over the known labels of a whole batch.

        The batch is cut into as many parts as there are processes times ``accumulate``; each is
        weighed by its known labels, so that the cut does not change the gradient.

        Args:
            texts: of all processes.
            labels: uint8 [B, 12].
        """
        world, parts = self.accelerator.num_processes, self.settings.accumulate
        known = max(1, int((labels != UNKNOWN_AU).sum()))
        pieces = np.array_split(np.arange(len(texts)), world * parts)
        mine = pieces[self.accelerator.process_index :: world]
        total, device = torch.zeros(()), self.accelerator.device
        for k, piece in enumerate(mine):
            rows = piece if len(piece) else np.array([0])  # every process answers every call
            ids, mask = (x.to(device) for x in self.tokens([texts[i] for i in rows]))
            weight = world if len(piece) else 0
            with self._whole_or_part(k + 1 == len(mine)):
                with self._autocast():
                    logits = self.model(ids, mask)
                loss = masked_bce(logits.float(), labels[rows].to(device)) / known * weight
                loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach().cpu()
        if world > 1:
            total = self.accelerator.reduce(total.to(device), "mean")
        return float(total)

    def _whole_or_part(self, last: bool) -> Any:
        from contextlib import nullcontext

        return nullcontext() if last else self.accelerator.no_sync(self.model)

    def _autocast(self) -> Any:
        kind = PRECISIONS[self.settings.precision]
        return torch.autocast(
            self.accelerator.device.type, dtype=kind, enabled=kind != torch.float32
        )

    def classifier(self) -> TextAU:
        """Return the network in its present state as a classifier."""
        self.network.eval()
        name, device = self.settings.encoder, str(self.accelerator.device)
        return TextAU(name, name, "", {}, self.network, self.tokens, device)


def train(
    settings: Settings,
    out: Path,
    command: str,
    *,
    resume: bool = True,
    cpu: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Train the classifier; write weights, tokenizer, card and report into ``out``.

    Args:
        settings: hyper-parameters.
        out: the folder.
        command: that was given, for the card.
        resume: go on from ``out``'s checkpoint, if there is one.
        cpu: leave a GPU alone.
        say: is told what a user should know.

    Raises:
        AubenchError: bad texts or pretrained weights, or a checkpoint of other settings.
    """
    trainer = Trainer(settings, out, resume=resume, cpu=cpu)
    corpus, first = trainer.corpus, trainer.accelerator.is_main_process
    say = say if first else lambda line: None
    say(f"{len(corpus.labels):,} AU sets, {settings.texts} texts of each an epoch ({corpus.name})")
    cut = sum(trainer.tokens.cut(text)[1] is not None for text in corpus.training_texts())
    if cut:
        say(f"warning: {cut} training texts have more than {trainer.shape.length} tokens; cut")
    trainer.run()
    path = out / f"{settings.encoder}.safetensors"
    if first:
        say("scoring")
        report = measure(trainer.classifier().probabilities, corpus.parts())
        export(trainer, report, command, cut)
    trainer.accelerator.wait_for_everyone()
    return path
