"""Hyper-parameters of a training, and what each encoder starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from aubench.datasets import DEFAULT_DATASET
from aubench.errors import AubenchError
from aubench.networks.textau.classifier import DICTIONARY, preset

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""No float16: T5's activations leave its range."""

GRAMMAR = "grammar"
"""In place of a data set: our dictionary and the grammar of facial actions."""

OURS = DEFAULT_DATASET


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters; see `settings_for` for what each encoder starts from.

    Attributes:
        encoder: Name of the preset.
        data: ``grammar`` for our dictionary and the grammar; name of a data set, whose training
            part's attached texts are read, or else its AU sets in our wordings; or a CSV file.
        fold: Of the data set; None for its own split, or the first where it has none.
        checkpoint: Folder or hub id of a pretrained T5; None starts from random weights.
        epochs: Passes over the AU sets; of the grammar, so many times 51,200 new texts.
        texts: Texts of each AU set in an epoch.
        batch: Texts a step.
        accumulate: Parts that a batch is computed in; the gradient stays that of the batch.
        rate: Highest learning rate of AdamW.
        drop: Share of words left out of a training text.
        precision: Of the computation, ``float32`` or ``bfloat16``; weights stay float32.
        seed: Of everything random.
        limit: Only the first AU sets; of the grammar, so many texts an epoch.
        segment: Steps between two checkpoints; an epoch ends one anyway.
    """

    encoder: str = "nano"
    data: str = GRAMMAR
    fold: int | None = None
    checkpoint: str | None = None
    epochs: int = 6
    texts: int = 1
    batch: int = 64
    accumulate: int = 4
    rate: float = 2e-3
    drop: float = 0.15
    precision: str = "float32"
    seed: int = 5
    limit: int | None = None
    segment: int = 200


def settings_for(
    encoder: str,
    *,
    data: str | None = None,
    checkpoint: str | None = None,
    from_scratch: bool = False,
    **given: Any,
) -> Settings:
    """Return the settings of an encoder; what is given and not None takes precedence.

    The nano's are those of the shipped weights, with one text of each AU set an epoch where the
    texts are made of AU sets; ``nano-dictionary`` has those of its own. The T5 sizes have five
    texts of each AU set, as the paper, where the texts are not of the grammar; it states no rate
    and no number of epochs, these are ours.

    Raises:
        AubenchError: Unknown encoder, or a T5 size with neither pretrained nor random weights.
    """
    where = preset(encoder).checkpoint
    data = data or (OURS if encoder == DICTIONARY else GRAMMAR)
    if checkpoint and from_scratch:
        raise AubenchError("--checkpoint and --from-scratch exclude each other", "choose one")
    if where and not checkpoint and not from_scratch:
        raise AubenchError(
            f"{encoder} starts from pretrained weights and none are given",
            f"--checkpoint FOLDER or --checkpoint {where}; --from-scratch for random weights",
        )
    once = data == GRAMMAR or (not where and _in_our_words(data))
    base = Settings(encoder, data, checkpoint=checkpoint, texts=1 if once else 5)
    if where:
        base = replace(base, epochs=2 if data == GRAMMAR else 10, rate=1e-4)
    elif data != GRAMMAR:
        base = replace(base, epochs=40, rate=1e-3)
    if data != GRAMMAR:
        base = replace(base, accumulate=1, segment=500)
    return replace(base, **{key: value for key, value in given.items() if value is not None})


def _in_our_words(data: str) -> bool:
    """Whether training texts are made of AU sets, since none come with the data."""
    from aubench.datasets.registry import dataset_names, find_dataset

    return data in dataset_names() and not find_dataset(data).attached_texts
