"""T5 encoder and four-layer perceptron: text to the probabilities of the twelve AUs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from aubench.batches import exactly
from aubench.errors import AubenchError, first_line, suggest
from aubench.facs import AUS
from aubench.files import sha256_file

WEIGHTS = Path(__file__).with_name("weights")
BATCH = 64
PAD, UNKNOWN = "[PAD]", "[UNK]"


@dataclass(frozen=True)
class Preset:
    """Shape of a T5 encoder and of the perceptron; ``checkpoint`` is where pretrained ones are.

    ``vocabulary`` counts tokens, ``width`` is d_model, ``length`` the longest text in tokens.
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


PRESETS = {
    "nano": Preset(512, 96, 3, 4, 24, 256, False, 256, 320, None),
    "t5-small": Preset(32128, 512, 6, 8, 64, 2048, False, 512, 2048, "google-t5/t5-small"),
    "t5-base": Preset(32128, 768, 12, 12, 64, 3072, False, 768, 2048, "google-t5/t5-base"),
    "t5-large": Preset(32128, 1024, 24, 16, 64, 4096, False, 1024, 2048, "google-t5/t5-large"),
}
"""``nano`` is trained from scratch and shipped; ``t5-large`` is the paper's."""


def preset(name: str) -> Preset:
    """Return a preset.

    Raises:
        AubenchError: the name is unknown.
    """
    if name not in PRESETS:
        raise AubenchError(
            f"unknown text classifier '{name}'{suggest(name, PRESETS)}",
            f"choose from {', '.join(PRESETS)}",
        )
    return PRESETS[name]


class TextNetwork(nn.Module):
    """T5 encoder, mean over tokens, four linear layers, sigmoid outside."""

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
            dropout_rate=0.1,
        )
        self.encoder: T5EncoderModel = T5EncoderModel(config)
        h = shape.hidden
        self.classify: nn.Sequential = nn.Sequential(
            nn.Linear(shape.width, h), nn.ReLU(), nn.Dropout(0.1),
            nn.Linear(h, h), nn.ReLU(), nn.Dropout(0.1),
            nn.Linear(h, h), nn.ReLU(), nn.Linear(h, 12),
        )  # fmt: skip

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return hidden states [B, L, C] of token ids [B, L]; mask is 1 on real tokens."""
        out: Tensor = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return out

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return logits [B, 12]."""
        hidden, weight = self.encode(ids, mask), mask[..., None].float()
        pooled = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
        out: Tensor = self.classify(pooled)
        return out


class Tokens:
    """A tokenizer file of the ``tokenizers`` package, with padding.

    Attributes:
        length: the longest text in tokens.
        size: how many tokens there are.
        tail: tokens that end every text, T5's ``</s>``; they are kept where a text is cut.
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
class TextAU:
    """A trained classifier.

    Attributes:
        name: of the preset.
        id: name and twelve digits of the digest; part of every metric id that uses it.
        sha256: digest of the weights file.
        card: the card beside the weights.
    """

    name: str
    id: str
    sha256: str
    card: dict[str, Any]
    network: TextNetwork
    tokens: Tokens
    device: str

    def probabilities(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return float32 [N, 12]; equal texts are computed once."""
        if not len(texts):
            return np.empty((0, len(AUS)), np.float32)
        distinct = sorted(set(texts), key=lambda text: (len(text), text))
        found: dict[str, npt.NDArray[np.float32]] = {}
        with exactly(self.device):
            for i in range(0, len(distinct), BATCH):
                part = distinct[i : i + BATCH]
                ids, mask = (x.to(self.device) for x in self.tokens(part))
                p = torch.sigmoid(self.network(ids, mask)).float().cpu().numpy()
                found.update(zip(part, p, strict=True))
        return np.stack([found[text] for text in texts]).astype(np.float32)

    def encode(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return the encoder's hidden states float32 [N, L, C] and the mask of real tokens."""
        with torch.inference_mode():
            ids, mask = (x.to(self.device) for x in self.tokens(texts))
            hidden = self.network.encode(ids, mask)
        return hidden.float().cpu().numpy(), mask.bool().cpu().numpy()


def read_card(path: Path) -> dict[str, Any]:
    """Return a card.

    Raises:
        AubenchError: it is damaged.
    """
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
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


def identity(name: str = "nano", folder: Path = WEIGHTS) -> tuple[str, str]:
    """Return the id of a classifier and the digest of its weights, without loading it.

    Raises:
        AubenchError: unknown name, missing files, wrong digest.
    """
    digest = _verified(name, folder)[1]
    return f"{name}@{digest[:12]}", digest


@lru_cache(maxsize=2)
def load(name: str = "nano", device: str = "cpu", folder: Path = WEIGHTS) -> TextAU:
    """Load a classifier with its weights, tokenizer and card; nothing else is needed.

    Raises:
        AubenchError: unknown name, missing, truncated or foreign weights, wrong digest.
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
    return TextAU(name, f"{name}@{digest[:12]}", digest, card, network, tokens, device)


def find_name(folder: Path) -> str:
    """Return the one classifier whose card lies in a folder.

    Raises:
        AubenchError: there is none, or several.
    """
    names = sorted(path.name.removesuffix(".card.json") for path in folder.glob("*.card.json"))
    if len(names) != 1:
        raise AubenchError(
            f"{folder} holds {'several classifiers: ' + ', '.join(names) if names else 'no card'}",
            "name one with --encoder" if names else "give the folder that train-text-au wrote",
        )
    return names[0]
