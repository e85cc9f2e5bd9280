"""Settings of the trainings; appendix D states some, docs/paper-notes.md the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from aubench.datasets import DEFAULT_DATASET
from aubench.errors import AubenchError, suggest
from aubench.training.loop import PRECISIONS
from aubench.training.settings import field_names, parse_value, unknown_setting
from vqauface.presets import Preset, preset

UNCHECKED = frozenset({"save_every", "sheet_every", "log_every", "accumulate"})
"""Settings that may change between a checkpoint and what goes on from it; a batch that is cut
otherwise is the same batch, so that a training which ran out of memory can go on."""


@dataclass(frozen=True)
class Settings:
    """What a training of one stage is; a checkpoint of other settings is refused.

    Attributes:
        stage: 1 codec, 2 transformer, 3 decoder alone (ours).
        preset: Its name.
        data: ``synfacs`` or a folder.
        steps: Optimiser steps; None follows from ``epochs``.
        epochs: Passes over the data, where ``steps`` is None.
        batch: Images a step, of all processes together.
        accumulate: Parts that a process computes its batch in; None follows from the memory that is
            free on its card.
        rate: Highest learning rate.
        adamw: AdamW, else Adam.
        betas: Betas of it.
        decay: Decay of the weights.
        warm: Steps to the highest rate.
        cosine: Whether the rate falls to 2 % along a cosine.
        clip: Clip of the gradient's norm; 0 for none.
        precision: Precision of the computation, float32, bfloat16 or float16.
        ema: Decay of the moving average that is exported.
        seed: Seed of initial weights and all draws.
        limit: Only the first samples.
        fold: Fold of the data set, or of a folder in ME-GraphAU's layout.
        l1: Weight in equation 1.
        l2: Weight in equation 1.
        edge: Weight of the loss on differences of neighbours (ours).
        commitment: Weight of equation 2.
        perceptual: Equation 6: ``vgg16``, ``lpips-vgg``, ``lpips-alex``, ``none``.
        perceptual_weight: Perceptual weight of it.
        perceptual_file: VGG16's weights.
        anatomical: Weight of equation 5; 0 leaves it out.
        anatomical_unit: Whether features are compared at unit length.
        detector: Detector whose features equation 5 compares.
        detector_file: Its weights.
        ready: The rule: anatomical and adversarial losses join once the smoothed L1 is below it.
        adversarial: Weight of equation 3; 0 leaves it out.
        adaptive: Whether it is balanced with the other losses at the decoder's last layer.
        critic_rate: Learning rate of the discriminator, as a share of ``rate``.
        dead: Entries chosen less often a batch, on average, are revived.
        book_decay: Book decay of the codebooks' moving averages.
        drop_text: Share of samples whose text is left out, for guidance.
        changed: Weight of tokens that differ from the reference (design grid).
        probe: Weight of the AU probe's loss.
        text_source: T5's folder or hub id.
        face_file: Weights of the face-recognition network.
        clip_file: Folder or hub id of CLIP.
        log_every: Steps between two lines of the log.
        save_every: Steps between two checkpoints.
        sheet_every: Steps between two sample sheets; 0 for none.
    """

    stage: int
    preset: str = "nano"
    data: str = DEFAULT_DATASET
    steps: int | None = 2000
    epochs: int = 8
    batch: int = 64
    accumulate: int | None = 1
    rate: float = 1e-3
    adamw: bool = True
    betas: tuple[float, ...] = (0.9, 0.98)
    decay: float = 1e-2
    warm: int = 100
    cosine: bool = True
    clip: float = 1.0
    precision: str = "bfloat16"
    ema: float = 0.995
    seed: int = 3
    limit: int | None = None
    fold: int | None = None
    l1: float = 1.0
    l2: float = 1.0
    edge: float = 0.5
    commitment: float = 0.25
    perceptual: str = "none"
    perceptual_weight: float = 1.0
    perceptual_file: str | None = None
    anatomical: float = 0.15
    anatomical_unit: bool = True
    detector: str = "nano-a"
    detector_file: str | None = None
    ready: float = 0.06
    adversarial: float = 0.005
    adaptive: bool = False
    critic_rate: float = 0.5
    dead: float = 1.0
    book_decay: float = 0.99
    drop_text: float = 0.1
    changed: float = 3.0
    probe: float = 0.1
    text_source: str | None = None
    face_file: str | None = None
    clip_file: str | None = None
    log_every: int = 50
    save_every: int = 100
    sheet_every: int = 500

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise AubenchError(
                f"unknown precision '{self.precision}'{suggest(self.precision, PRECISIONS)}",
                f"choose from {', '.join(PRECISIONS)}",
            )
        for name in ("batch", "accumulate", "rate", "epochs", "log_every", "save_every"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise AubenchError(f"{name} is {value}", "give more than 0")

    @property
    def dtype(self) -> torch.dtype:
        """Of the computation."""
        return PRECISIONS[self.precision]

    @property
    def total(self) -> int:
        """Steps; known once the data are."""
        assert self.steps is not None
        return self.steps

    def counted(self, images: int) -> Settings:
        """Return the settings with the number of steps that ``epochs`` over the data are."""
        return self if self.steps else replace(self, steps=self.epochs * -(-images // self.batch))


PAPER = Settings(
    stage=1,
    preset="paper",
    steps=150_000,
    batch=240,
    accumulate=None,
    rate=3e-4,
    adamw=False,
    betas=(0.9, 0.999),
    decay=0.0,
    warm=0,
    cosine=False,
    clip=0.0,
    precision="float16",
    ema=0.999,
    edge=0.0,
    perceptual="vgg16",
    anatomical=1.0,
    anatomical_unit=False,
    detector="me-graphau:resnet50:mefl",
    ready=0.12,
    adversarial=0.8,
    adaptive=True,
    critic_rate=1.0,
    changed=1.0,
    probe=0.0,
    log_every=100,
    save_every=1000,
    sheet_every=2000,
)
NANO = Settings(stage=1)
SCHEDULES: dict[str, tuple[Settings, Settings, Settings]] = {
    "nano": (
        replace(NANO, steps=1500, batch=32),
        replace(NANO, stage=2, steps=2400),
        replace(NANO, stage=3, steps=1800, batch=32, adversarial=0.2, adaptive=True),
    ),
    "paper": (
        PAPER,
        replace(PAPER, stage=2, steps=None, epochs=8, batch=16, drop_text=0.25),
        replace(PAPER, stage=3, steps=10_000),
    ),
}
SCHEDULES["mid"] = (
    replace(
        PAPER,
        preset="mid",
        steps=60_000,
        batch=24,
        accumulate=2,
        precision="bfloat16",
        perceptual="lpips-vgg",
    ),
    replace(
        PAPER,
        preset="mid",
        stage=2,
        steps=None,
        epochs=8,
        batch=32,
        accumulate=2,
        rate=2e-4,
        clip=1.0,
        warm=500,
        precision="bfloat16",
        drop_text=0.1,
        probe=0.1,
    ),
    replace(
        PAPER,
        preset="mid",
        stage=3,
        steps=10_000,
        batch=24,
        accumulate=2,
        precision="bfloat16",
    ),
)
_TINY = replace(
    NANO, steps=4, batch=16, anatomical=0.0, ready=10.0, log_every=1, save_every=2, sheet_every=0
)
for _name in ("tiny", "tiny-flat"):
    _own = replace(_TINY, preset=_name)
    SCHEDULES[_name] = (_own, replace(_own, stage=2), replace(_own, stage=3))


def settings_for(
    name: str, stage: int, given: Mapping[str, str], **fixed: Any
) -> tuple[Preset, Settings]:
    """Return shape and settings of a stage.

    Args:
        name: Name of the preset.
        stage: 1, 2 or 3.
        given: ``--set`` options, of the shape or of the settings.
        fixed: Further settings; None leaves the preset's.

    Raises:
        AubenchError: An unknown option, or a value that is not of its kind.
    """
    shape, settings = preset(name), SCHEDULES[name][stage - 1]
    shapes, mine = field_names(Preset), frozenset(field_names(Settings)) - {"stage", "preset"}
    other: dict[str, Any] = {}
    for key, word in given.items():
        key = key.replace("-", "_")
        if key == "decoding_steps":
            other["steps"] = parse_value(Preset, "steps", word)
        elif key in shapes and key != "steps":  # those are the training's
            other[key] = parse_value(Preset, key, word)
        elif key in mine:
            if fixed.get(key) is None:
                fixed[key] = parse_value(Settings, key, word)
        else:
            raise unknown_setting("vqauface", key, sorted({*shapes, *mine, "decoding_steps"}))
    chosen = {key: value for key, value in fixed.items() if value is not None or key in given}
    return replace(shape, **other), replace(settings, **chosen)
