"""Hyper-parameters of a training, and what each encoder starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from aubench.errors import AubenchError
from aubench.textau.classifier import preset

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""No float16: T5's activations leave its range."""

OURS = "synfacs"


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters; see `settings_for` for what each encoder starts from.

    Attributes:
        encoder: name of the preset.
        data: ``synfacs`` for the AU sets of its train split in our wordings, or a CSV file.
        checkpoint: folder or hub id of a pretrained T5; None starts from random weights.
        epochs: passes over the AU sets.
        texts: texts of each AU set in an epoch.
        batch: texts a step.
        accumulate: parts that a batch is computed in; the gradient stays that of the batch.
        rate: highest learning rate of AdamW.
        drop: share of words left out of a training text.
        precision: of the computation, ``float32`` or ``bfloat16``; weights stay float32.
        seed: of everything random.
        limit: only the first AU sets.
        segment: steps between two checkpoints; an epoch ends one anyway.
    """

    encoder: str = "nano"
    data: str = OURS
    checkpoint: str | None = None
    epochs: int = 40
    texts: int = 1
    batch: int = 64
    accumulate: int = 1
    rate: float = 1e-3
    drop: float = 0.15
    precision: str = "float32"
    seed: int = 5
    limit: int | None = None
    segment: int = 500


def settings_for(
    encoder: str, *, data: str = OURS, checkpoint: str | None = None, from_scratch: bool = False,
    **given: Any,
) -> Settings:  # fmt: skip
    """Return the settings of an encoder; what is given and not None takes precedence.

    The nano's are those of the shipped weights. The T5 sizes have five texts of each AU set, as the
    paper; it states no rate and no number of epochs, these are ours.

    Raises:
        AubenchError: unknown encoder, or a T5 size with neither pretrained nor random weights.
    """
    where = preset(encoder).checkpoint
    if checkpoint and from_scratch:
        raise AubenchError("--checkpoint and --from-scratch exclude each other", "choose one")
    if where and not checkpoint and not from_scratch:
        raise AubenchError(
            f"{encoder} starts from pretrained weights and none are given",
            f"--checkpoint FOLDER or --checkpoint {where}; --from-scratch for random weights",
        )
    base = Settings(encoder, data, checkpoint, texts=1 if data == OURS and not where else 5)
    if where:
        base = replace(base, epochs=10, rate=1e-4)
    return replace(base, **{key: value for key, value in given.items() if value is not None})
