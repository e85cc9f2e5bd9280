"""Weights of both stages in one safetensors file, with a card beside it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from aubench import __version__
from aubench.errors import AubenchError
from aubench.files import atomic_path, sha256_file, write_text
from vqauface.presets import Preset, preset
from vqauface.rqvae import RQVAE
from vqauface.transformer import MaskedTransformer

if TYPE_CHECKING:
    from vqauface.train import StageTwo

FOLDER = Path(__file__).with_name("weights")
# Bookkeeping of the quantiser's training that decoding does not read.
UNUSED = ("cluster_size", "embed_avg", "initted")


def _half(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {
        f"{prefix}.{key}": (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in state.items()
        if not key.endswith(UNUSED)
    }


def export(loop: StageTwo, out: Path) -> Path:
    """Write ``<preset>.safetensors`` (half precision) and its card; return the weights."""
    from safetensors.torch import save_file

    from aubench.detectors import load_detector
    from aubench.synfacs.render import renderer_id
    from aubench.textau import load_text_au

    one = torch.load(out / "stage1.checkpoint.pt", weights_only=True)
    name = loop.s.preset
    path = out / f"{name}.safetensors"
    with atomic_path(path) as temporary:
        save_file({**_half(one["average"], "stage1"), **_half(loop.average, "stage2")}, temporary)
    card = {
        "name": f"vqauface {name}",
        "scale": "nano: trained on synfacs by aubench, not the paper's model",
        "sha256": sha256_file(path),
        "preset": asdict(preset(name)),
        "text encoder": load_text_au().id,
        "anatomical loss": load_detector("nano-a").id,
        "data": {"renderer": renderer_id(), "split": "train"},
        "commands": [_command(one["settings"]), _command(asdict(loop.s))],
        "hardware": f"{torch.get_num_threads()} CPU threads",
        "seconds": [round(one["seconds"]), round(loop.seconds)],
        "log": {"stage 1": one["log"][-1:], "stage 2": loop.log[-1:]},
        "torch": torch.__version__,
        "aubench": __version__,
        "licence": "Apache-2.0",
    }
    write_text(out / f"{name}.card.json", json.dumps(card, indent=1) + "\n")
    return path


def _command(settings: dict[str, Any]) -> str:
    words = [
        f"--{key} {settings[key]}" for key in ("stage", "preset", "steps", "batch", "rate", "seed")
    ]
    return "python -m vqauface.train " + " ".join(words)


def load(path: Path | None) -> tuple[RQVAE, MaskedTransformer, Preset, dict[str, Any], str]:
    """Load both stages.

    Args:
        path: safetensors with its card beside it; None is the shipped nano model.

    Returns:
        Stage I, stage II, the preset, the card, and the digest of the weights.

    Raises:
        AubenchError: missing, truncated or foreign weights, wrong digest.
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
        card = json.loads(card_path.read_text(encoding="utf-8"))
        shape = Preset(**{**card["preset"], "widths": tuple(card["preset"]["widths"])})
        expected = card["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise AubenchError(f"{card_path} is not a card of VQ-AUFace weights") from error
    if digest != expected:
        raise AubenchError(
            f"{file} has sha256 {digest[:12]}, its card says {expected[:12]}", "restore the file"
        )
    codec, transformer = RQVAE(shape), MaskedTransformer(shape)
    try:
        state = {k: v.float() if v.is_floating_point() else v for k, v in load_file(file).items()}
        _fill(codec, state, "stage1.")
        _fill(transformer, state, "stage2.")
    except (SafetensorError, RuntimeError, OSError) as error:
        first = str(error).splitlines()[0]
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
