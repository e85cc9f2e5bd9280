"""Texts to the states that condition Stable Diffusion, also texts longer than CLIP reads.

CLIP's text encoder has 77 positions: a start mark, 75 tokens, an end mark. Two ways are offered:

- ``chunk``: pieces of 75 tokens are encoded one by one and their states concatenated, so that the
  denoiser attends to every word; a piece does not know of the others.
- ``truncate``: what comes after 75 tokens is not read, as in a plain pipeline.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.errors import AubenchError, suggest
from aubench.storage.files import write_text
from aubench_baselines.stable_diffusion.shapes import LENGTH

if TYPE_CHECKING:
    from torch import Tensor

START, END = "<|startoftext|>", "<|endoftext|>"
WAYS = ("chunk", "truncate")
PIECE = LENGTH - 2

GENERIC = tuple(
    f"{opening} {subject}{ending}"
    for opening in ("a photo of", "a portrait of", "a close-up of", "an image of")
    for subject in ("a face", "a person", "a human face", "someone")
    for ending in ("", " looking at the camera", " at rest", " with a neutral expression")
)
"""What the base learns to draw neutral faces from; no word of an Action Unit."""


LETTERS = tuple("abcdefghijklmnopqrstuvwxyz0123456789,.;:'-()")
"""Byte pieces that a trained vocabulary holds, whether or not its texts do."""


def train_tokenizer(folder: Path, vocabulary: int, texts: Iterable[str]) -> None:
    """Train byte-pair merges in CLIP's file format (``vocab.json``, ``merges.txt``).

    Byte pieces come first, then the same that end a word, then merges, then both marks. Equal texts
    give equal files, in whatever order they come.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    known = list(texts)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 2,
        # The trainer numbers pieces in the order of a hash map, anew in each process, and of two
        # pairs that are equally frequent it merges the one of lower numbers: so numbers are given.
        special_tokens=_first_pieces(tokenizer, known),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(known, trainer)
    state = json.loads(tokenizer.to_str())["model"]
    pieces = sorted(state["vocab"], key=state["vocab"].get)
    pieces += [f"<|unused{i}|>" for i in range(vocabulary - 2 - len(pieces))]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in state["merges"]]
    names = {word: i for i, word in enumerate([*pieces, START, END])}
    write_text(folder / "vocab.json", json.dumps(names, ensure_ascii=False) + "\n")
    write_text(folder / "merges.txt", "#version: 0.2\n" + "\n".join(merges) + "\n")
    settings = {"model_max_length": LENGTH, "tokenizer_class": "CLIPTokenizer"}
    write_text(folder / "tokenizer_config.json", json.dumps(settings) + "\n")


def _first_pieces(tokenizer: Any, texts: Sequence[str]) -> list[str]:
    """Return the single byte pieces of texts, then those that end a word."""
    found: set[str] = set()
    for text in texts:
        words = tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
        found.update(*(word for word, _ in words))
    letters = [*LETTERS, *sorted(found.difference(LETTERS))]
    return [*letters, *(f"{letter}</w>" for letter in letters)]


def check_way(way: str) -> str:
    """Return the name of a way to read long texts.

    Raises:
        AubenchError: It is not one.
    """
    if way not in WAYS:
        raise AubenchError(
            f"long texts cannot be read by '{way}'{suggest(way, WAYS)}", f"{' or '.join(WAYS)}"
        )
    return way


def pieces(tokenizer: Any, text: str, way: str) -> list[list[int]]:
    """Return token ids [K][77] of a text, marks and padding included; K is 1 for ``truncate``.

    Padding is the end mark, as SD 1.5 was trained.
    """
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    parts = [ids[i : i + PIECE] for i in range(0, len(ids), PIECE)] or [[]]
    if check_way(way) == "truncate":
        parts = parts[:1]
    return [[start, *part] + [end] * (LENGTH - 1 - len(part)) for part in parts]


def encode(encoder: Any, batch: Sequence[list[list[int]]]) -> Tensor:
    """Return states [B, K * 77, C] of texts of the same number K of pieces.

    Raises:
        ValueError: The numbers of pieces differ.
    """
    import torch

    counts = {len(text) for text in batch}
    if len(counts) != 1:
        raise ValueError(f"texts of {sorted(counts)} pieces in one batch")
    ids = torch.tensor([piece for text in batch for piece in text], device=encoder.device)
    states: Tensor = encoder(ids)[0]
    return states.reshape(len(batch), -1, states.shape[-1])


def encode_ragged(encoder: Any, batch: Sequence[list[list[int]]]) -> tuple[Tensor, Tensor]:
    """Return states [B, L, C] and mask bool [B, L] of texts of any numbers of pieces."""
    import torch

    counts = [len(text) for text in batch]
    ids = torch.tensor([piece for text in batch for piece in text], device=encoder.device)
    states = encoder(ids)[0]
    parts = [part.reshape(-1, part.shape[-1]) for part in states.split(counts)]
    padded = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
    lengths = torch.tensor([len(part) for part in parts], device=states.device)
    places = torch.arange(padded.shape[1], device=states.device)
    return padded, places[None] < lengths[:, None]
