"""Settings of the trainings; appendix D states some, docs/paper-notes.md the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from aubench.errors import AubenchError, suggest
from vqauface.presets import Preset, names, parsed, preset

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
UNCHECKED = frozenset({"save_every", "sheet_every", "log_every"})
"""Settings that may change between a checkpoint and what goes on from it."""


@dataclass(frozen=True)
class Settings:
    """What a training of one stage is; a checkpoint of other settings is refused.

    Attributes:
        stage: 1 codec, 2 transformer, 3 decoder alone (ours).
        preset: its name.
        data: ``synfacs`` or a folder.
        steps: optimiser steps; None follows from ``epochs``.
        epochs: passes over the data, where ``steps`` is None.
        batch: images a step, of all processes together.
        accumulate: parts that a process computes its batch in.
        rate: highest learning rate.
        adamw: AdamW, else Adam.
        betas: of it.
        decay: of the weights.
        warm: steps to the highest rate.
        cosine: whether the rate falls to 2 % along a cosine.
        clip: of the gradient's norm; 0 for none.
        precision: of the computation, float32, bfloat16 or float16.
        ema: decay of the moving average that is exported.
        seed: of initial weights and all draws.
        limit: only the first samples.
        fold: of a folder in ME-GraphAU's layout.
        l1: weight in equation 1.
        l2: weight in equation 1.
        edge: weight of the loss on differences of neighbours (ours).
        commitment: weight of equation 2.
        perceptual: equation 6: ``vgg16``, ``lpips-vgg``, ``lpips-alex``, ``none``.
        perceptual_weight: of it.
        perceptual_file: VGG16's weights.
        anatomical: weight of equation 5; 0 leaves it out.
        anatomical_unit: whether features are compared at unit length.
        detector: whose features equation 5 compares.
        detector_file: its weights.
        ready: the rule: anatomical and adversarial losses join once the smoothed L1 is below it.
        adversarial: weight of equation 3; 0 leaves it out.
        adaptive: whether it is balanced with the other losses at the decoder's last layer.
        critic_rate: learning rate of the discriminator, as a share of ``rate``.
        dead: entries chosen less often a batch, on average, are revived.
        book_decay: of the codebooks' moving averages.
        drop_text: share of samples whose text is left out, for guidance.
        changed: weight of tokens that differ from the reference (design grid).
        probe: weight of the AU probe's loss.
        text_source: T5's folder or hub id.
        face_file: weights of the face-recognition network.
        clip_file: folder or hub id of CLIP.
        log_every: steps between two lines of the log.
        save_every: steps between two checkpoints.
        sheet_every: steps between two sample sheets; 0 for none.
    """

    stage: int
    preset: str = "nano"
    data: str = "synfacs"
    steps: int | None = 2000
    epochs: int = 8
    batch: int = 64
    accumulate: int = 1
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
    fold: int = 1
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
            if getattr(self, name) <= 0:
                raise AubenchError(f"{name} is {getattr(self, name)}", "give more than 0")

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
    stage=1, preset="paper", steps=150_000, batch=240, rate=3e-4, adamw=False, betas=(0.9, 0.999),
    decay=0.0, warm=0, cosine=False, clip=0.0, precision="float16", ema=0.999, edge=0.0,
    perceptual="vgg16", anatomical=1.0, anatomical_unit=False, detector="me-graphau:resnet50:mefl",
    ready=0.12, adversarial=0.8, adaptive=True, critic_rate=1.0, changed=1.0, probe=0.0,
    log_every=100, save_every=1000, sheet_every=2000,
)  # fmt: skip
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
    replace(PAPER, preset="mid", steps=60_000, batch=24, accumulate=2, precision="bfloat16",
            perceptual="lpips-vgg"),
    replace(PAPER, preset="mid", stage=2, steps=None, epochs=8, batch=32, accumulate=2, rate=2e-4,
            clip=1.0, warm=500, precision="bfloat16", drop_text=0.1, probe=0.1),
    replace(PAPER, preset="mid", stage=3, steps=10_000, batch=24, precision="bfloat16"),
)  # fmt: skip
_TINY = replace(NANO, steps=4, batch=16, anatomical=0.0, ready=10.0, log_every=1, save_every=2,
                sheet_every=0)  # fmt: skip
for _name in ("tiny", "tiny-flat"):
    _own = replace(_TINY, preset=_name)
    SCHEDULES[_name] = (_own, replace(_own, stage=2), replace(_own, stage=3))


def settings_for(
    name: str, stage: int, given: Mapping[str, str], **fixed: Any
) -> tuple[Preset, Settings]:
    """Return shape and settings of a stage.

    Args:
        name: of the preset.
        stage: 1, 2 or 3.
        given: ``--set`` options, of the shape or of the settings.
        fixed: further settings; None leaves the preset's.

    Raises:
        AubenchError: an unknown option, or a value that is not of its kind.
    """
    shape, settings = preset(name), SCHEDULES[name][stage - 1]
    shapes, mine = names(Preset), frozenset(names(Settings)) - {"stage", "preset"}
    other: dict[str, Any] = {}
    for key, word in given.items():
        key = key.replace("-", "_")
        if key == "decoding_steps":
            other["steps"] = parsed(Preset, "steps", word)
        elif key in shapes and key != "steps":  # those are the training's
            other[key] = parsed(Preset, key, word)
        elif key in mine:
            if fixed.get(key) is None:
                fixed[key] = parsed(Settings, key, word)
        else:
            known = sorted({*shapes, *mine, "decoding_steps"})
            raise AubenchError(
                f"vqauface has no setting '{key}'{suggest(key, known)}", "see docs/vqauface.md"
            )
    told = {key: value for key, value in fixed.items() if value is not None or key in given}
    return replace(shape, **other), replace(settings, **told)


def differing(old: Mapping[str, Any], new: Settings) -> list[str]:
    """Return the names of settings that a checkpoint has otherwise, those that matter."""
    mine = asdict(new)
    return sorted(
        key for key in mine
        if key not in UNCHECKED and _plain(old.get(key)) != _plain(mine[key])
    )  # fmt: skip


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
