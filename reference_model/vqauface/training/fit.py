"""From what ``aubench train vqauface`` was asked for to weights."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

from aubench.errors import AubenchError
from aubench.generators.contract import Training
from aubench.storage.files import write_text
from vqauface.networks.encoders import Encoders, load_encoders
from vqauface.presets import Preset
from vqauface.settings import Settings, settings_for
from vqauface.training.data import Faces, open_faces
from vqauface.training.loop import Loop
from vqauface.training.stage_one import DecoderFineTuning, StageOne, kept_codes, stage_one_model
from vqauface.training.stage_two import StageTwo

STAGES = (1, 2, 3)
PAPER_STAGES = (1, 2)
"""What the paper trains; stage 3 is ours, and the preset ``paper`` takes it on request."""


def planned(training: Training, stage: int) -> tuple[Preset, Settings]:
    """Return shape and settings of a stage of a training."""
    given = dict(training.options)
    fixed = {"steps": training.steps, "data": training.data, "fold": training.fold}
    if "seed" not in given and training.seed:
        fixed["seed"] = training.seed
    return settings_for(training.preset, stage, given, **fixed)


def fit(training: Training) -> Path:
    """Train the stages asked for, or resume; return the weights, or stage I's checkpoint.

    Raises:
        AubenchError: See `aubench.generators.contract.Trainable.fit`.
    """
    usual = PAPER_STAGES if training.preset == "paper" else STAGES
    wanted = usual if training.stage is None else (training.stage,)
    shape, first = planned(training, wanted[0])
    faces = open_faces(first.data, shape.size, first.limit, first.fold, first.seed)
    path = training.out / "stage1.checkpoint.pt"
    if wanted[:2] == (1, 2):
        check_encoders(training)
    for stage in wanted:
        shape, settings = planned(training, stage)
        loop = make_loop(settings, shape, training.out, faces, training.device)
        loop.resume()
        loop.run()
        if stage > 1:
            path = finish(loop)
        del loop
    return path


def check_encoders(training: Training) -> None:
    """Load the frozen encoders of stage II once, so that a missing one is told before stage I.

    Raises:
        AubenchError: One is missing; the line names the remedy.
    """
    shape, settings = planned(training, 2)
    _encoders(shape, settings, "cpu")


def _encoders(shape: Preset, settings: Settings, device: str) -> Encoders:
    return load_encoders(
        shape,
        device,
        text=settings.text_source,
        face=settings.face_file,
        clip=settings.clip_file,
    )


def make_loop(settings: Settings, shape: Preset, out: Path, faces: Faces, device: str) -> Loop:
    """Return the loop of a stage, not yet resumed."""
    if settings.stage == 1:
        return StageOne(settings, shape, out, faces, device)
    codec, digest = stage_one_model(out, shape)
    target, reference = kept_codes(codec, digest, faces, out, device)
    if settings.stage == 3:
        import torch

        return DecoderFineTuning(
            settings, shape, out, faces, torch.cat([target, reference]), device
        )
    encoders = _encoders(shape, settings, device)
    return StageTwo(
        settings, shape, out, faces, (target, reference), codec, encoders, digest, device
    )


def finish(loop: Loop) -> Path:
    """Export the weights of both stages; return the file."""
    from vqauface.weights import export

    path = loop.out / f"{loop.s.preset}.safetensors"
    if loop.accelerator.is_main_process:
        export(loop.out)
        stated = asdict(replace(loop.s, save_every=loop.s.save_every))
        write_text(loop.out / f"stage{loop.s.stage}.settings.json", json.dumps(stated) + "\n")
    loop.accelerator.wait_for_everyone()
    if not path.is_file():
        raise AubenchError(f"no weights at {path}", "train stages 1 and 2")
    return path
