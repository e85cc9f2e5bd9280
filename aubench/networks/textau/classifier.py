"""T5 encoder and four-layer perceptron: text to the probabilities of the twelve AUs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from aubench.errors import AubenchError, first_line, suggest
from aubench.facs import AUS
from aubench.networks.batches import strict_float32
from aubench.storage.files import sha256_file
from aubench.storage.text_files import read_json

WEIGHTS = Path(__file__).with_name("weights")
BATCH = 64
PAD, UNKNOWN = "[PAD]", "[UNK]"


@dataclass(frozen=True)
class Preset:
    """Shape of a T5 encoder and of the perceptron; ``checkpoint`` is where pretrained ones are.

    ``vocabulary`` counts tokens, ``width`` is d_model, ``length`` the longest text in tokens. With
    ``maximum`` the perceptron reads the greatest value over the tokens beside the mean; with
    ``details`` it tells sides and levels too. With ``evidence`` every token gives logits of its
    own, which are gathered and added. Texts that are new every epoch need no ``dropout``.
    """

    vocabulary: int
    width: int
    layers: int
    heads: int
    key: int
    inner: int
    gated: bool
    hidden: int
    length: int
    checkpoint: str | None
    maximum: bool = False
    details: bool = False
    dropout: float = 0.1
    evidence: bool = False


DICTIONARY = "nano-dictionary"
"""The classifier that has read our wordings alone; generators trained before have its encoder."""

DEFAULT = "nano"
"""The classifier of every text, unless another is named."""

PRESETS = {
    "nano": Preset(
        8192,
        128,
        3,
        4,
        32,
        256,
        False,
        320,
        320,
        None,
        maximum=True,
        details=True,
        dropout=0.0,
        evidence=True,
    ),
    DICTIONARY: Preset(512, 96, 3, 4, 24, 256, False, 256, 320, None),
    "t5-small": Preset(32128, 512, 6, 8, 64, 2048, False, 512, 2048, "google-t5/t5-small"),
    "t5-base": Preset(32128, 768, 12, 12, 64, 3072, False, 768, 2048, "google-t5/t5-base"),
    "t5-large": Preset(32128, 1024, 24, 16, 64, 4096, False, 1024, 2048, "google-t5/t5-large"),
}
"""``nano`` and ``nano-dictionary`` are trained from scratch and shipped; ``t5-large`` is the
paper's."""

SURE = 0.5
"""Least probability that all twelve AUs are right, of a text that is said to have been read."""

SIDES = ("", "left", "right")
LEVELS = 6
"""Levels told by a text: 0 for none, 1 to 5 for A to E."""


def preset(name: str) -> Preset:
    """Return a preset.

    Raises:
        AubenchError: The name is unknown.
    """
    if name not in PRESETS:
        raise AubenchError(
            f"unknown text classifier '{name}'{suggest(name, PRESETS)}",
            f"choose from {', '.join(PRESETS)}",
        )
    return PRESETS[name]


DETAILS = len(SIDES) + LEVELS

RARE = 3.0
"""Taken from the gathered evidence, so that a text of which nothing is known yet has no AU."""


class TextNetwork(nn.Module):
    """T5 encoder, mean over tokens, four linear layers, sigmoid outside.

    Where tokens give evidence, a text has an AU if one of its tokens says so in its context: a word
    is learned from the texts that it stands in, without the detour over a mean of all tokens.
    """

    def __init__(self, shape: Preset) -> None:
        super().__init__()
        from transformers import T5Config, T5EncoderModel

        config = T5Config(
            vocab_size=shape.vocabulary,
            d_model=shape.width,
            num_layers=shape.layers,
            num_heads=shape.heads,
            d_kv=shape.key,
            d_ff=shape.inner,
            feed_forward_proj="gated-gelu" if shape.gated else "relu",
            dropout_rate=shape.dropout,
        )
        self.encoder: T5EncoderModel = T5EncoderModel(config)
        h = shape.hidden
        self.maximum: bool = shape.maximum
        self.classify: nn.Sequential = nn.Sequential(
            nn.Linear(shape.width * (1 + shape.maximum), h),
            nn.ReLU(),
            nn.Dropout(shape.dropout),
            nn.Linear(h, h),
            nn.ReLU(),
            nn.Dropout(shape.dropout),
            nn.Linear(h, h),
            nn.ReLU(),
            nn.Linear(h, 12),
        )
        self.tell: nn.Linear | None = None
        if shape.details:
            self.tell = nn.Linear(h, 12 * DETAILS)
        self.evidence: nn.Linear | None = None
        if shape.evidence:
            self.evidence = nn.Linear(shape.width, 12 * (1 + DETAILS * shape.details))

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return hidden states [B, L, C] of token ids [B, L]; mask is 1 on real tokens."""
        out: Tensor = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return out

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return what the perceptron reads of hidden states [B, C]; [B, 2 C] with the maximum."""
        weight = mask[..., None].float()
        mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
        if not self.maximum:
            return mean
        highest = hidden.masked_fill(mask[..., None] == 0, -torch.inf).amax(1)
        return torch.cat([mean, highest], 1)

    def gather(self, hidden: Tensor, mask: Tensor) -> Tensor | None:
        """Return a smooth maximum of the tokens' evidence [B, 12 or 120]; None if none is given."""
        if self.evidence is None:
            return None
        of_tokens = self.evidence(hidden).masked_fill(mask[..., None] == 0, -torch.inf)
        return torch.logsumexp(of_tokens.float(), 1) - RARE

    def forward(
        self, ids: Tensor, mask: Tensor, details: bool = False
    ) -> Tensor | tuple[Tensor, Tensor | None]:
        """Return logits [B, 12]; with ``details`` of side and level too [B, 12, 9] or None."""
        hidden = self.encode(ids, mask)
        features = self.classify[:-1](self.pool(hidden, mask))
        logits: Tensor = self.classify[-1](features)
        gathered = self.gather(hidden, mask)
        if gathered is not None:
            logits = logits + gathered[:, :12]
        if not details:
            return logits
        more = None if self.tell is None else self.tell(features)
        if more is not None and gathered is not None:
            more = more + gathered[:, 12:]
        return logits, None if more is None else more.unflatten(1, (12, DETAILS))


class Tokens:
    """A tokenizer file of the ``tokenizers`` package, with padding.

    Attributes:
        length: The longest text in tokens.
        size: How many tokens there are.
        tail: Tokens that end every text, T5's ``</s>``; they are kept where a text is cut.
    """

    def __init__(self, path: Path, length: int) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:
            raise AubenchError(f"{path} is not a tokenizer: {error}", "restore the file") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.length = length
        self.size: int = self._tokenizer.get_vocab_size()
        self.tail: list[int] = self._tokenizer.encode("").ids

    def ids(self, text: str) -> list[int]:
        """Return the tokens of a text, cut at the limit."""
        row: list[int] = self._tokenizer.encode(text).ids
        return row if len(row) <= self.length else row[: self.length - len(self.tail)] + self.tail

    def cut(self, text: str) -> tuple[int, int | None]:
        """Return the number of tokens, and the first character that is cut off, if one is."""
        found = self._tokenizer.encode(text)
        if len(found.ids) <= self.length:
            return len(found.ids), None
        return len(found.ids), int(found.offsets[self.length - len(self.tail)][0])

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return ids and mask int64 [B, L], L the longest of the batch."""
        rows = [self.ids(text) for text in texts]
        wide = max(1, *(len(row) for row in rows))
        ids = torch.zeros(len(rows), wide, dtype=torch.long)
        mask = torch.zeros(len(rows), wide, dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
            mask[i, : len(row)] = 1
        mask[:, 0] = 1  # an empty text still has a token to attend to
        return ids, mask


@dataclass(frozen=True)
class Reading:
    """What a classifier reads in a text.

    Attributes:
        probabilities: Float32 [12].
        details: Side and level int64 [12, 2]; None where the classifier tells none.
    """

    probabilities: npt.NDArray[np.float32]
    details: npt.NDArray[np.int64] | None = None

    @property
    def aus(self) -> tuple[int, ...]:
        """AUs of probability 0.5 and more."""
        return tuple(au for au, p in zip(AUS, self.probabilities, strict=True) if p >= 0.5)

    @property
    def sides(self) -> dict[int, str]:
        """``left`` or ``right`` by AU, where the text tells it."""
        if self.details is None:
            return {}
        told = zip(AUS, self.details[:, 0].tolist(), strict=True)
        return {au: SIDES[k] for au, k in told if k and au in self.aus}

    @property
    def levels(self) -> dict[int, int]:
        """FACS level 1 (A, trace) to 5 (E, maximum) by AU, where the text tells it."""
        if self.details is None:
            return {}
        told = zip(AUS, self.details[:, 1].tolist(), strict=True)
        return {au: k for au, k in told if k and au in self.aus}

    @property
    def certainty(self) -> float:
        """Probability that all twelve AUs are read rightly, taken as independent."""
        return float(np.maximum(self.probabilities, 1 - self.probabilities).prod())

    @property
    def unsure(self) -> bool:
        """Whether the whole set is more likely wrong than right."""
        return self.certainty < SURE


@dataclass(frozen=True)
class TextAU:
    """A trained classifier.

    Attributes:
        name: Of the preset.
        id: Name on the card and twelve digits of the digest; part of every metric id that uses it.
        sha256: Digest of the weights file.
        card: The card beside the weights.
        temperature: Logits are divided by it, so that probabilities are as sure as they are right.
    """

    name: str
    id: str
    sha256: str
    card: dict[str, Any]
    network: TextNetwork
    tokens: Tokens
    device: str
    temperature: float = 1.0

    def probabilities(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return float32 [N, 12]; equal texts are computed once."""
        return self._answers(texts)[0]

    def read(self, texts: Sequence[str]) -> list[Reading]:
        """Return what each text says of the twelve AUs, and whether it could be read."""
        p, details = self._answers(texts)
        return [
            Reading(row, detail if self.network.tell is not None else None)
            for row, detail in zip(p, details, strict=True)
        ]

    def _answers(
        self, texts: Sequence[str]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Return probabilities [N, 12], and side and level int64 [N, 12, 2]."""
        if not len(texts):
            return np.empty((0, len(AUS)), np.float32), np.empty((0, len(AUS), 2), np.int64)
        distinct = sorted(set(texts), key=lambda text: (len(text), text))
        place = {text: k for k, text in enumerate(distinct)}
        found: list[npt.NDArray[np.float32]] = []
        details: list[npt.NDArray[np.int64]] = []
        with strict_float32(self.device):
            for i in range(0, len(distinct), BATCH):
                ids, mask = (x.to(self.device) for x in self.tokens(distinct[i : i + BATCH]))
                logits, more = self.network(ids, mask, details=True)
                p = torch.sigmoid(logits / self.temperature)
                found.append(p.float().cpu().numpy())
                details.append(_classes(more, len(ids)))
        rows = [place[text] for text in texts]
        return np.concatenate(found).astype(np.float32)[rows], np.concatenate(details)[rows]

    def encode(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return the encoder's hidden states float32 [N, L, C] and the mask of real tokens."""
        with torch.inference_mode():
            ids, mask = (x.to(self.device) for x in self.tokens(texts))
            hidden = self.network.encode(ids, mask)
        return hidden.float().cpu().numpy(), mask.bool().cpu().numpy()


def _classes(logits: Tensor | None, count: int) -> npt.NDArray[np.int64]:
    """Return the likeliest side and level of each AU int64 [B, 12, 2], 0 where none is told."""
    if logits is None:
        return np.zeros((count, len(AUS), 2), np.int64)
    sides, levels = logits.float().cpu().tensor_split([len(SIDES)], -1)
    return torch.stack([sides.argmax(-1), levels.argmax(-1)], -1).numpy()


def read_card(path: Path) -> dict[str, Any]:
    """Return a card.

    Raises:
        AubenchError: It is damaged.
    """
    try:
        card = read_json(path)
        digest, shape = card["sha256"], card.get("shape")
        if isinstance(digest, str) and (shape is None or Preset(**shape)):
            return dict(card)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AubenchError(f"{path} is not a card of a text classifier: {error}") from error
    raise AubenchError(f"{path} is not a card of a text classifier", "restore the file")


def _check(path: Path, expected: str) -> str:
    digest = sha256_file(path)
    if digest != expected:
        raise AubenchError(
            f"{path} has sha256 {digest[:12]}, its card says {expected[:12]}", "restore the file"
        )
    return digest


def _tokenizer(name: str, folder: Path) -> Path:
    return folder / f"{name}.tokenizer.json"


def _verified(name: str, folder: Path) -> tuple[dict[str, Any], str]:
    """Return the card and the digest of the weights, once all files are what the card says."""
    preset(name)
    path, card_path = folder / f"{name}.safetensors", folder / f"{name}.card.json"
    tokenizer = _tokenizer(name, folder)
    if not (path.is_file() and card_path.is_file() and tokenizer.is_file()):
        raise AubenchError(
            f"no weights of text classifier '{name}' at {path}",
            f"`aubench train-text-au --encoder {name}`, then `--weights FOLDER`",
        )
    card = read_card(card_path)
    digest = _check(path, card["sha256"])
    if "tokenizer" in card:  # older cards do not state it
        _check(tokenizer, card["tokenizer"])
    return card, digest


def identity(name: str = DEFAULT, folder: Path = WEIGHTS) -> tuple[str, str]:
    """Return the id of a classifier and the digest of its weights, without loading it.

    Raises:
        AubenchError: Unknown name, missing files, wrong digest.
    """
    card, digest = _verified(name, folder)
    return _id(name, card, digest), digest


def _id(name: str, card: dict[str, Any], digest: str) -> str:
    """Return the id; a file that was renamed keeps the name it was trained under."""
    return f"{card.get('name', name)}@{digest[:12]}"


@lru_cache(maxsize=2)
def load(name: str = DEFAULT, device: str = "cpu", folder: Path = WEIGHTS) -> TextAU:
    """Load a classifier with its weights, tokenizer and card; nothing else is needed.

    Raises:
        AubenchError: Unknown name, missing, truncated or foreign weights, wrong digest.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    shape, path, tokenizer = preset(name), folder / f"{name}.safetensors", _tokenizer(name, folder)
    card, digest = _verified(name, folder)
    if card.get("shape"):
        shape = Preset(**card["shape"])
    network = TextNetwork(shape)
    try:
        state = {key: value.float() for key, value in load_file(path).items()}
        missing, unexpected = network.load_state_dict(state, strict=False)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise AubenchError(
            f"{path} does not hold text classifier '{name}': {first_line(error)}"
        ) from error
    # The token embedding has two names in T5; one is stored.
    if unexpected or any("embed_tokens" not in key for key in missing):
        raise AubenchError(f"{path} does not hold text classifier '{name}'", "restore the file")
    network.eval().requires_grad_(False).to(device)
    tokens = Tokens(tokenizer, shape.length)
    temperature = float(card.get("calibration", {}).get("temperature", 1.0))
    id_ = _id(name, card, digest)
    return TextAU(name, id_, digest, card, network, tokens, device, temperature)


def find_name(folder: Path) -> str:
    """Return the one classifier whose card lies in a folder.

    Raises:
        AubenchError: There is none, or several.
    """
    names = sorted(path.name.removesuffix(".card.json") for path in folder.glob("*.card.json"))
    if len(names) != 1:
        raise AubenchError(
            f"{folder} holds {'several classifiers: ' + ', '.join(names) if names else 'no card'}",
            "name one with --encoder" if names else "give the folder that train-text-au wrote",
        )
    return names[0]


def shipped() -> tuple[str, ...]:
    """Return the names of the classifiers that ship."""
    return tuple(name for name in PRESETS if (WEIGHTS / f"{name}.safetensors").is_file())


def shipped_identities() -> dict[str, str]:
    """Return the ids of the classifiers that ship by name."""
    return {name: identity(name)[0] for name in shipped()}


def find_classifier(words: str | None) -> tuple[str, Path]:
    """Return name and folder of a classifier that a user names.

    Args:
        words: Name of a shipped classifier, or a folder that ``aubench train-text-au`` wrote; None
            is the default.

    Raises:
        AubenchError: Neither is there.
    """
    if words is None:
        return DEFAULT, WEIGHTS
    if words in PRESETS:
        if words not in shipped():
            raise AubenchError(
                f"text classifier '{words}' is not shipped",
                f"`aubench train-text-au --encoder {words}`, then name its folder",
            )
        return words, WEIGHTS
    folder = Path(words).expanduser()
    if not folder.is_dir():
        raise AubenchError(
            f"no text classifier '{words}'{suggest(words, PRESETS)}",
            f"{', '.join(shipped())}, or a folder that `aubench train-text-au` wrote",
        )
    return find_name(folder), folder.resolve()


def load_named(words: str | None = None, device: str = "cpu") -> TextAU:
    """Load a classifier by name or folder; see `find_classifier`."""
    name, folder = find_classifier(words)
    return load(name, device, folder)


def named_identity(words: str | None = None) -> tuple[str, str]:
    """Return id and digest of a classifier by name or folder; see `find_classifier`."""
    return identity(*find_classifier(words))
