"""Training the text classifier; interrupt it anywhere, it goes on with the same numbers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from aubench.errors import AubenchError
from aubench.facs import AUS, parse_aus
from aubench.networks.textau.baselines import TEXTS, bag_of_words, rule_based
from aubench.networks.textau.calibration import fit_temperature
from aubench.networks.textau.classifier import (
    PAD,
    SIDES,
    UNKNOWN,
    Preset,
    TextAU,
    TextNetwork,
    Tokens,
    preset,
)
from aubench.networks.textau.corpus import UNKNOWN_AU, Corpus, Example, Table, Worded
from aubench.networks.textau.export import export
from aubench.networks.textau.report import Probabilities, measure
from aubench.networks.textau.settings import GRAMMAR, PRECISIONS, Settings, settings_for
from aubench.storage.files import atomic_path, sha256_file, write_text
from aubench.training.loop import Losses, Stateful, TrainingLoop, set_rate

__all__ = ["Settings", "Trainer", "settings_for", "train"]


def open_corpus(settings: Settings) -> Corpus:
    """Return the texts that the settings name.

    Raises:
        AubenchError: The file is missing or wrong.
    """
    from aubench.datasets.registry import dataset_or_path
    from aubench.networks.textau.grammar_corpus import GrammarCorpus

    if settings.data == GRAMMAR:
        return GrammarCorpus(settings.limit)
    found = dataset_or_path(settings.data, "FILE.csv with texts")
    if isinstance(found, Path):
        return Table.of_file(found, settings.seed, settings.limit)
    faces = found.faces("train", found.usual_fold(settings.fold))
    if faces.texts is not None:
        labels = np.where(faces.labels < 0, UNKNOWN_AU, faces.labels).astype(np.uint8)
        name = f"texts of {faces.title}, {faces.digest}"
        return Table(name, list(faces.texts), labels, settings.seed, settings.limit)
    names = sorted(set(faces.rows(faces.complete).combinations()))[: settings.limit]
    if not names:
        raise AubenchError(
            f"no face of {faces.title} knows all twelve AUs",
            f"`aubench data text {settings.data}` describes what is known",
        )
    part = faces.title.replace("/", " ")
    return Worded([parse_aus(name) for name in names], f"AU sets of {part} in our wordings")


def train_tokenizer(path: Path, vocabulary: int, texts: list[str]) -> None:
    """Train a byte-pair tokenizer on texts, lower case.

    A number stands apart from the letters around it, so that the level does not change how a code
    is read: ``AU12C`` is *au*, *12*, *c*. A word that training has not shown falls into smaller
    pieces, at last into letters; a letter of another script is unknown.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(r"[0-9]+|[^a-z0-9]"), "isolated"),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, UNKNOWN],
        initial_alphabet=list("abcdefghijklmnopqrstuvwxyz0123456789,.;:'-+=/()[]%!?&_|"),
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


UNTOLD = -100
"""Class of a side or level that no loss counts: of AUs that do not act, or where nobody knows."""

DETAIL_WEIGHT = 1.0
"""Of the losses of side and level beside that of the AUs."""


def told(examples: list[Example]) -> Tensor:
    """Return classes of side and level int64 [B, 12, 2], ``UNTOLD`` where none is to be learned."""
    out = np.full((len(examples), len(AUS), 2), UNTOLD, np.int64)
    for row, example in zip(out, examples, strict=True):
        active = example.labels == 1
        for k, values in enumerate((example.sides, example.levels)):
            if values is not None:
                row[active, k] = values[active]
    return torch.from_numpy(out)


def detail_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the sum of the cross-entropies of side and level.

    Args:
        logits: Float [B, 12, 9], three of the side and six of the level.
        classes: Int64 [B, 12, 2], see `told`.
    """
    sides, levels = logits.tensor_split([len(SIDES)], -1)
    loss = partial(nn.functional.cross_entropy, ignore_index=UNTOLD, reduction="sum")
    total: Tensor = loss(sides.flatten(0, 1), classes[..., 0].flatten())
    return total + loss(levels.flatten(0, 1), classes[..., 1].flatten())


class Trainer(TrainingLoop):
    """The state of one training, kept in ``checkpoint.pt`` every ``segment`` steps.

    Processes that ``accelerate launch`` starts take a part of every batch each; the first writes.
    """

    settings: Settings
    network: TextNetwork
    optimiser: torch.optim.AdamW
    epoch_loss: float
    save_every = 1

    def __init__(self, settings: Settings, out: Path, *, resume: bool = True, cpu: bool = False):
        from accelerate import Accelerator

        if settings.precision not in PRECISIONS:
            raise AubenchError(f"no precision '{settings.precision}'", f"{', '.join(PRECISIONS)}")
        super().__init__(
            settings,
            out / "checkpoint.pt",
            f"training {settings.encoder}",
            accelerator=Accelerator(cpu=cpu),
            precision=settings.precision,
        )
        self.out = out
        self.corpus: Corpus = open_corpus(settings)
        self.epoch_loss = 0.0
        self.pretrained: dict[str, str] = {}
        self._order: npt.NDArray[np.int64] | None = None
        state = self.read() if resume else None
        torch.manual_seed(settings.seed)
        self.shape: Preset = self._prepare(None if state is None else Preset(**state["shape"]))
        self.tokens: Tokens = Tokens(self.tokenizer_path, self.shape.length)
        self.model: Any = self.accelerator.prepare_model(self.network)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=settings.rate)
        if state is not None:
            self.restore(state)

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
            from aubench.networks.textau.checkpoint import find, load_encoder

            found = find(s.checkpoint, s.encoder)
            shape = found.shape
        self.network = TextNetwork(shape)
        if found:
            load_encoder(self.network, found)
            self.pretrained = found.sha256
        if self.is_first:
            if found:
                with atomic_path(self.tokenizer_path) as temporary:
                    shutil.copyfile(found.tokenizer, temporary)
            else:
                texts = self.corpus.training_texts()
                train_tokenizer(self.tokenizer_path, shape.vocabulary, texts)
        self.accelerator.wait_for_everyone()
        return shape

    def facts(self) -> dict[str, Any]:
        """Return texts, number of processes and tokenizer."""
        path = self.tokenizer_path
        return {
            "corpus": self.corpus.fingerprint,
            "processes": self.processes,
            "tokenizer": sha256_file(path) if path.is_file() else None,
        }

    def stateful(self) -> dict[str, Stateful]:
        """Return network and optimiser."""
        return {"network": self.network, "optimiser": self.optimiser}

    def extra_state(self) -> dict[str, Any]:
        """Return the sum of the epoch's losses, and what the network started from."""
        return {
            "epoch_loss": self.epoch_loss,
            "shape": asdict(self.shape),
            "pretrained": self.pretrained,
        }

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Take back the sum of the epoch's losses, and what the network started from."""
        self.epoch_loss, self.pretrained = state["epoch_loss"], state["pretrained"]

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.corpus.labels) * self.settings.texts // self.settings.batch)

    @property
    def total_steps(self) -> int:
        """Steps of all epochs."""
        return self.settings.epochs * self.steps_per_epoch

    @property
    def resumable(self) -> bool:
        """Whether a segment ends here; randomness comes from seed, epoch and segment."""
        return self.step_of_epoch % self.settings.segment == 0

    def optimise(self) -> Losses:
        """Take the next step of the epoch."""
        s, step = self.settings, self.step_of_epoch
        if self._order is None or step == 0:
            sets = len(self.corpus.labels)
            self._rng = np.random.default_rng([s.seed, self.epoch])
            self._order = self._rng.permutation(sets * s.texts) % sets
            self.model.train()
        if step % s.segment == 0:
            if step:
                self._rng = np.random.default_rng([s.seed, self.epoch, step // s.segment])
            torch.manual_seed(self._dropout_seed(step // s.segment))
        self._set_rate()
        loss = self._advance(self._order[step * s.batch : (step + 1) * s.batch], self._rng)
        self.epoch_loss += loss
        return {"loss": loss}

    def note(self, losses: Losses) -> Losses:
        """Return the epoch and its mean loss so far."""
        done = self.step_of_epoch or self.steps_per_epoch
        epoch = -(-self.step_number // self.steps_per_epoch)
        return {"epoch": epoch, "loss": self.epoch_loss / done}

    def end_epoch(self) -> None:
        """Log the epoch."""
        self.log.append({"loss": round(self.epoch_loss / self.steps_per_epoch, 6)})
        self.epoch_loss = 0.0

    def _dropout_seed(self, segment: int) -> int:
        s = self.settings
        if not segment and not self.rank:
            return s.seed * 1000 + self.epoch
        mixed = np.random.SeedSequence([s.seed, self.epoch, segment, self.rank])
        return int(mixed.generate_state(1)[0])

    def _set_rate(self) -> None:
        share = self.step_number / self.total_steps
        set_rate(self.optimiser, self.settings.rate * min(1, share / 0.05) * (1 - share))

    def _advance(self, rows: npt.NDArray[np.int64], rng: np.random.Generator) -> float:
        """Take one step on a batch; return its mean loss."""
        examples = [self.corpus.draw(int(i), rng) for i in rows]
        texts = [leave_out(e.text, rng, self.settings.drop) if e.drop else e.text for e in examples]
        # Parts of texts that are alike in length have little padding.
        order = np.argsort([len(text) for text in texts], kind="stable")
        examples, texts = [examples[i] for i in order], [texts[i] for i in order]
        self.optimiser.zero_grad()
        labels = torch.from_numpy(np.stack([e.labels for e in examples]))
        loss = self.backward(texts, labels, told(examples) if self.shape.details else None)
        self.check_finite({"loss": loss})
        self.descend(self.optimiser, self.network.parameters(), 1.0)
        return loss

    def backward(self, texts: list[str], labels: Tensor, details: Tensor | None = None) -> float:
        """Add the gradient of the mean loss over the known labels of a whole batch.

        The batch is cut into as many parts as there are processes times ``accumulate``; each is
        weighed by its known labels, so that the cut does not change the gradient.

        Args:
            texts: Of all processes.
            labels: Uint8 [B, 12].
            details: Sides and levels int64 [B, 12, 2], see `told`; None where none are trained.
        """
        known = max(1, int((labels != UNKNOWN_AU).sum()))
        # Unlike `batch_parts`, the first parts are the larger ones.
        pieces = np.array_split(np.arange(len(texts)), self.processes * self.settings.accumulate)
        mine = pieces[self.rank :: self.processes]
        total, device = torch.zeros(()), self.device
        for k, piece in enumerate(mine):
            rows = piece if len(piece) else np.array([0])  # every process answers every call
            ids, mask = (x.to(device) for x in self.tokens([texts[i] for i in rows]))
            weight = self.processes if len(piece) else 0
            with self.own_gradients(self.model, k + 1 == len(mine)):
                with self.autocast():
                    logits, more = self.model(ids, mask, details=True)
                loss = masked_bce(logits.float(), labels[rows].to(device))
                if details is not None:
                    loss = loss + DETAIL_WEIGHT * detail_loss(
                        more.float(), details[rows].to(device)
                    )
                loss = loss / known * weight
                self.add_gradient(loss)
            total += loss.detach().cpu()
        return float(self.mean_over_processes(total.to(device)))

    def classifier(self) -> TextAU:
        """Return the network in its present state as a classifier."""
        self.network.eval()
        name, device = self.settings.encoder, str(self.device)
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
        settings: Hyper-parameters.
        out: The folder.
        command: That was given, for the card.
        resume: Go on from ``out``'s checkpoint, if there is one.
        cpu: Leave a GPU alone.
        say: Is told what a user should know.

    Raises:
        AubenchError: Bad texts or pretrained weights, or a checkpoint of other settings.
    """
    trainer = Trainer(settings, out, resume=resume, cpu=cpu)
    corpus, first = trainer.corpus, trainer.is_first
    say = say if first else lambda line: None
    say(f"{len(corpus.labels):,} AU sets, {settings.texts} texts of each an epoch ({corpus.name})")
    cut = sum(trainer.tokens.cut(text)[1] is not None for text in corpus.training_texts())
    if cut:
        say(f"warning: {cut} training texts have more than {trainer.shape.length} tokens; cut")
    trainer.run()
    path = out / f"{settings.encoder}.safetensors"
    if first:
        say("scoring")
        model, temperature = trainer.classifier(), 1.0
        check = corpus.calibration()
        if check is not None:
            temperature = fit_temperature(model.probabilities(check.texts), check.labels)
            model = replace(model, temperature=temperature)
        drawn = min(TEXTS, 20 * len(corpus.labels))
        others: dict[str, Probabilities] = {
            "bag of words": bag_of_words(corpus, settings.seed, drawn),
            "our patterns": rule_based,
        }
        report = measure(model.probabilities, corpus.parts(), others)
        export(trainer, report, command, cut, temperature)
    trainer.accelerator.wait_for_everyone()
    return path
