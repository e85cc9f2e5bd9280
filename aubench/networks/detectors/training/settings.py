"""Hyper-parameters of a training, and what each preset starts from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from aubench.datasets import DEFAULT_DATASET
from aubench.errors import AubenchError, suggest
from aubench.networks.detectors.graphau.checkpoints import Layout
from aubench.networks.detectors.graphau.megraphau import STAGES
from aubench.training.settings import fast_precision

OURS = DEFAULT_DATASET

NANOS = ("nano-a", "nano-b", "nano2-a", "nano2-b")
SHAPE_READERS = {"nano2-a": "even", "nano2-b": "odd"}
"""Nanos that are trained against reading texture, and the half of the subjects that each learns
from, so that the two never saw the same person."""
GRAPHS = {
    "resnet18": "resnet18",
    "resnet50": "resnet50",
    "resnet101": "resnet101",
    "swin-tiny": "swin-t",
    "swin-small": "swin-s",
    "swin-base": "swin-b",
}
"""ME-GraphAU's backbones by preset."""

ALIASES = {"nano": "nano-a"}
PRESETS = (*ALIASES, *NANOS, *GRAPHS)

PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
"""Of the computation; weights stay float32. float16 scales the loss and needs a GPU."""

EDGE = {"resnet50": 0.05, "swin-base": 0.01}
"""Published weight of the loss on edges in the second stage; `EDGE_ELSE` for other backbones."""

EDGE_ELSE = 1e-3


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters; the defaults are the nano's, see `settings_for` for each preset's.

    Attributes:
        preset: Name, not an alias.
        data: Name of a data set, or a folder in the official layout.
        fold: Fold from 1; None takes the data set's own split, or the first fold where it has none.
        stage: Stage of ME-GraphAU, 1 (ANFL) or 2 (MEFL).
        init: File with weights of the first stage, or of the same stage.
        backbone_weights: File with torchvision's weights of the backbone.
        epochs: Largest number of epochs.
        batch: Images a step, of all processes together.
        accumulate: Parts that a process computes its share of a batch in.
        rate: Highest learning rate of AdamW.
        decay: Weight decay of AdamW.
        warm: Share of the steps in which the rate rises; then it falls as a cosine.
        clip: Greatest norm of the gradient; None does not clip.
        edge: Weight of the loss on edges, lambda.
        precision: A key of ``PRECISIONS``.
        patience: Epochs without a better validation F1 before it stops; None never stops.
        hold_out: Share of the training subjects kept for validation in a fold; 0 validates on the
            test part, as the published training does.
        seed: Seed of everything random.
        limit: Fewer training images.
        size: Side in pixels at which a data set is read.
        texture: Whether training images are changed so that texture does not pay.
        subjects: ``all``, or every second of the sorted training subjects: ``even`` or ``odd``.
        segment: Steps between two checkpoints; an epoch ends one anyway.
    """

    preset: str
    data: str = OURS
    fold: int | None = None
    stage: int = 1
    init: str | None = None
    backbone_weights: str | None = None
    epochs: int = 8
    batch: int = 64
    accumulate: int = 1
    rate: float = 2e-3
    decay: float = 5e-2
    warm: float = 0.05
    clip: float | None = 2.0
    edge: float = 0.0
    precision: str = field(default_factory=fast_precision)
    patience: int | None = None
    hold_out: float = 0.125
    seed: int = 1
    limit: int | None = None
    size: int = 128
    texture: bool = False
    subjects: str = "all"
    segment: int = 500

    @property
    def nano(self) -> bool:
        """Whether it is one of the small detectors for 128 px."""
        return self.preset in NANOS

    @property
    def layout(self) -> Layout:
        """What a graph preset trains."""
        return Layout("me-graphau", GRAPHS[self.preset], STAGES[self.stage - 1])

    @property
    def architecture(self) -> str:
        """Name for `aubench.networks.detectors.detector.build`."""
        return self.preset if self.nano else self.layout.name

    @property
    def name(self) -> str:
        """Of the files: preset, stage and fold."""
        fold = f"-fold{self.fold}" if self.fold else ""
        stem = self.preset if self.nano else self.layout.name.replace(":", "-")
        return stem + fold


def base_settings(preset: str, stage: int = 1) -> Settings:
    """Return the settings that a preset starts from.

    The graph presets have the published ones. The published rate of the second stage lies between
    1e-6 and 1e-4; 1e-5 is ours, as are the patience and the share held out.

    Raises:
        AubenchError: Unknown preset, or a stage that it does not have.
    """
    name = ALIASES.get(preset, preset)
    if name not in (*NANOS, *GRAPHS):
        raise AubenchError(
            f"unknown preset '{preset}'{suggest(preset, PRESETS)}",
            f"choose from {', '.join(PRESETS)}",
        )
    if stage not in (1, 2) or (stage == 2 and name in NANOS):
        raise AubenchError(f"preset {preset} has no stage {stage}", "1, or 2 of a graph preset")
    if name in SHAPE_READERS:
        return Settings(name, "synfacs2-mixed", texture=True, subjects=SHAPE_READERS[name])
    if name in NANOS:
        return Settings(name)
    return Settings(
        name,
        stage=stage,
        epochs=20,
        rate=1e-4 if stage == 1 else 1e-5,
        decay=5e-4,
        warm=0.0,
        clip=None,
        edge=EDGE.get(name, EDGE_ELSE) if stage == 2 else 0.0,
        precision="float32",
        patience=5,
        size=256,
    )


def settings_for(
    preset: str, *, stage: int = 1, from_scratch: bool = False, **given: Any
) -> Settings:
    """Return the settings of a preset; what is given and not None takes precedence.

    Raises:
        AubenchError: See `base_settings`; a graph preset without weights to start from; options
            that contradict each other.
    """
    known = {key: value for key, value in given.items() if value is not None}
    settings = replace(base_settings(preset, stage), **known)
    _check_start(settings, from_scratch)
    if settings.fold is not None and settings.fold < 1:
        raise AubenchError(f"no fold {settings.fold}", "--fold 1, 2 or 3")
    if not 0 <= settings.hold_out < 1:
        raise AubenchError(f"--hold-out {settings.hold_out} is not a share", "0 to below 1")
    if settings.precision not in PRECISIONS:
        raise AubenchError(f"no precision '{settings.precision}'", ", ".join(PRECISIONS))
    if settings.edge and settings.stage == 1:
        raise AubenchError("--edge weighs the loss of the second stage", "--stage 2")
    return settings


def _check_start(settings: Settings, from_scratch: bool) -> None:
    """Check that it is said what weights a graph preset starts from."""
    ways = [
        flag
        for flag, value in (
            ("--init", settings.init),
            ("--backbone-weights", settings.backbone_weights),
            ("--from-scratch", from_scratch),
        )
        if value
    ]
    if len(ways) > 1:
        raise AubenchError(f"{' and '.join(ways)} exclude each other", "choose one")
    if settings.nano and ways and ways != ["--from-scratch"]:
        raise AubenchError(f"{settings.preset} takes no {ways[0]}", "it starts from random weights")
    if not settings.nano and not ways:
        first = (
            "--init FILE (weights of the first stage)"
            if settings.stage == 2
            else "--backbone-weights FILE (torchvision's, of ImageNet)"
        )
        raise AubenchError(
            f"{settings.preset} starts from trained weights and none are given",
            f"{first}; --from-scratch for random weights",
        )
