"""Weights of both stages in one safetensors file, with a card beside it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from aubench import __version__
from aubench.datasets import DEFAULT_DATASET
from aubench.errors import AubenchError, first_line
from aubench.storage.files import atomic_path, sha256_file, write_text
from aubench.storage.text_files import read_json
from aubench.training.checkpoint import read_checkpoint
from vqauface.networks.rqvae import RQVAE
from vqauface.presets import Preset
from vqauface.sampling import Model
from vqauface.settings import SCHEDULES, UNCHECKED
from vqauface.training.stage_two import transformer as make_transformer

FOLDER = Path(__file__).with_name("weights")
# Bookkeeping of the quantiser's training that decoding does not read.
UNUSED = ("cluster_size", "embed_avg", "initted")
EXACT = ("encoder.", "quantiser.")
SMALL = 4096
SCALE = ":scale"


def packed(
    state: dict[str, torch.Tensor], prefix: str, small: bool = True
) -> dict[str, torch.Tensor]:
    """Return tensors for the file: matrices in 8 bits with a scale a row, the rest in 16.

    Encoder and codebooks keep 16 bits, since the codes that stage II was trained on depend on
    every bit of them. All do unless ``small``.
    """
    out = {}
    for key, value in state.items():
        if key.endswith(UNUSED):
            continue
        name = f"{prefix}.{key}"
        exact = not small or key.startswith(EXACT) or value.ndim < 2 or value.numel() < SMALL
        if not value.is_floating_point():
            out[name] = value.contiguous()
        elif exact:
            out[name] = value.half().contiguous()
        else:
            rows = value.flatten(1)
            scale = (rows.abs().amax(1) / 127).clamp(min=1e-12)
            out[name] = (rows / scale[:, None]).round().to(torch.int8).view(value.shape)
            out[name + SCALE] = scale
    return out


def unpacked(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return what ``packed`` took, in float32."""
    out = {}
    for key, value in state.items():
        if key.endswith(SCALE):
            continue
        scale = state.get(key + SCALE)
        if scale is not None:
            out[key] = value.float() * scale.view(-1, *[1] * (value.ndim - 1))
        else:
            out[key] = value.float() if value.is_floating_point() else value
    return out


def export(out: Path) -> Path:
    """Write ``<preset>.safetensors`` and its card from the stages' checkpoints.

    The nano's is in 8 and 16 bits; larger ones in 16, since rounding to 8 was never measured there.

    Returns:
        The weights.

    Raises:
        AubenchError: Stage II was not trained there, or the stages differ in shape.
    """
    from safetensors.torch import save_file

    stages = _stages(out)
    second = stages[1]["settings"]
    shape, name = read_preset(stages[1]["facts"]["shape"]), second["preset"]
    codec = dict(stages[0]["average"])
    if len(stages) > 2:
        codec.update(stages[2]["average"])  # all but the decoder is the same
    path, small = out / f"{name}.safetensors", shape.design == "grid"
    with atomic_path(path) as temporary:
        parts = packed(codec, "stage1", small) | packed(stages[1]["average"], "stage2", small)
        save_file(parts, temporary)
    seen = _seen(stages[0]["settings"])
    scale = "trained by aubench, not the paper's model"
    card = {
        "name": f"vqauface {name}",
        "scale": f"{name}: {scale}",
        "sha256": sha256_file(path),
        "preset": asdict(shape),
        **stages[1]["encoders"],
        "metrics in training": sorted(seen),
        "data": _data(stages[1]),
        "settings": [stage["settings"] for stage in stages],
        "commands": [_command(stage["settings"]) for stage in stages],
        "hardware": f"{torch.get_num_threads()} CPU threads"
        if not torch.cuda.is_available()
        else torch.cuda.get_device_name(),
        "seconds": [round(stage["seconds"]) for stage in stages],
        "log": [stage["log"][-1:] for stage in stages],
        "torch": torch.__version__,
        "aubench": __version__,
        "licence": "Apache-2.0",
    }
    write_text(out / f"{name}.card.json", json.dumps(card, indent=1) + "\n")
    return path


def read_preset(fields: dict[str, Any]) -> Preset:
    """Return the shape in a card or a checkpoint."""
    return Preset(**{**fields, "widths": tuple(fields["widths"])})


def _seen(settings: dict[str, Any]) -> set[str]:
    """Return the networks in the loss that metrics use too."""
    seen = {settings["detector"]} if settings["anatomical"] > 0 else set()
    return seen | ({"lpips-alex"} if settings.get("perceptual") == "lpips-alex" else set())


def _data(stage: dict[str, Any]) -> dict[str, Any]:
    """Return what the card says of the data: name, split, fold, and what identifies them."""
    settings, mark = stage["settings"], stage["facts"]["data"]
    fold = {"fold": settings["fold"]} if settings.get("fold") else {}
    name = Path(settings.get("data", DEFAULT_DATASET)).name
    return {"name": name, "split": "train", **fold, "fingerprint": mark}


def _stages(out: Path) -> list[dict[str, Any]]:
    files = [out / f"stage{number}.checkpoint.pt" for number in (1, 2, 3)]
    for file in files[:2]:
        if not file.is_file():
            raise AubenchError(f"no {file}", "train stages 1 and 2 first")
    stages = [read_checkpoint(file, ["average", "facts"]) for file in files if file.is_file()]
    digest = sha256_file(files[0])
    if stages[1]["facts"]["stage 1"] != digest:
        raise AubenchError(f"{files[1]} belongs to another stage I", "train --stage 2 again")
    if len(stages) > 2 and stages[2]["facts"]["stage 1"] != digest:
        stages.pop()  # stage 3 of an earlier stage I
    if len({stage["settings"]["preset"] for stage in stages}) > 1:
        raise AubenchError(f"the stages in {out} have different presets", "train them again")
    return stages


def _command(settings: dict[str, Any]) -> str:
    """Return the command of a stage: what differs from its preset's settings."""
    name, stage = settings["preset"], settings["stage"]
    words = f"aubench train vqauface --preset {name} --stage {stage}"
    usual = asdict(SCHEDULES[name][stage - 1])
    for key, value in settings.items():
        if (
            key in usual
            and key not in UNCHECKED - {"accumulate"}
            and _listed(value) != _listed(usual[key])
        ):
            if key == "data":
                words += f" --data {Path(value).name}"
            elif key in {"steps", "seed", "fold"}:
                words += f" --{key} {value}"
            else:
                words += f" --set {key}={Path(value).name if key.endswith('file') else value}"
    return words


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def load(path: Path | None) -> tuple[RQVAE, Model, Preset, dict[str, Any], str]:
    """Load both stages.

    Args:
        path: Safetensors with its card beside it; None is the shipped nano model.

    Returns:
        Stage I, stage II, the preset, the card, and the digest of the weights.

    Raises:
        AubenchError: Missing, truncated or foreign weights, wrong digest.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = path or FOLDER / "nano.safetensors"
    card_path = file.with_name(file.name.removesuffix(".safetensors") + ".card.json")
    if not file.is_file() or not card_path.is_file():
        raise AubenchError(
            f"no VQ-AUFace weights with a card at {file}", "train them: docs/vqauface.md"
        )
    digest = sha256_file(file)
    try:
        card = read_json(card_path)
        shape = read_preset(card["preset"])
        expected = card["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise AubenchError(f"{card_path} is not a card of VQ-AUFace weights") from error
    if digest != expected:
        raise AubenchError(
            f"{file} has sha256 {digest[:12]}, its card says {expected[:12]}", "restore the file"
        )
    codec, transformer = RQVAE(shape), make_transformer(shape)
    try:
        state = unpacked(load_file(file))
        _fill(codec, state, "stage1.")
        _fill(transformer, state, "stage2.")
    except (SafetensorError, RuntimeError, OSError) as error:
        first = first_line(error)
        raise AubenchError(f"{file} does not hold VQ-AUFace weights: {first}") from error
    for layer in codec.quantiser.layers:
        layer._codebook.initted.fill_(1)
    codec.eval().requires_grad_(False)
    transformer.eval().requires_grad_(False)
    return codec, transformer, shape, card, digest


def _fill(model: torch.nn.Module, state: dict[str, torch.Tensor], prefix: str) -> None:
    part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    missing, unexpected = model.load_state_dict(part, strict=False)
    wrong = [key for key in missing if not key.endswith(UNUSED)] + unexpected
    if wrong:
        raise RuntimeError(f"tensor {prefix}{wrong[0]} does not fit")
