"""LoRA on a Stable Diffusion base: put in, written, and read back strictly."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.errors import AubenchError, first_line
from aubench.storage.files import atomic_path
from aubench.storage.text_files import read_json
from aubench_baselines.stable_diffusion.base import quiet

if TYPE_CHECKING:
    from torch import Tensor

NAME = "default_0"
"""What diffusers calls the first adapter."""

TARGETS: dict[str, tuple[str, ...]] = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0"),
    "all": (
        "to_q",
        "to_k",
        "to_v",
        "to_out.0",
        "proj_in",
        "proj_out",
        "ff.net.0.proj",
        "ff.net.2",
    ),
}
"""Layers of the denoiser that get LoRA; ``attention`` is diffusers' usual choice."""

OLD_PROCESSOR = re.compile(r"\.processor\.(to_q|to_k|to_v|to_out)_lora\.(down|up)\.")

TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")


def add_adapters(pipe: Any, rank: int, targets: str, *, text_encoder: bool) -> None:
    """Freeze a pipeline and put LoRA in; B starts at zero, so nothing changes at first."""
    # Through peft alone: diffusers and transformers refuse versions of it that serve us well.
    from peft import LoraConfig, inject_adapter_in_model

    for part in (pipe.unet, pipe.text_encoder, pipe.vae):
        part.requires_grad_(False)
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(TARGETS[targets]))
    inject_adapter_in_model(config, pipe.unet, NAME)
    if text_encoder:
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(TEXT_TARGETS))
        inject_adapter_in_model(config, pipe.text_encoder, NAME)
    for part in (pipe.unet, pipe.text_encoder):
        for value in part.parameters():
            if value.requires_grad:
                value.data = value.data.float()


def adapter_state(pipe: Any) -> dict[str, Tensor]:
    """Return the LoRA of a pipeline by canonical name; see ``canonical``."""
    from peft.utils import get_peft_model_state_dict

    state = {}
    for prefix in ("unet", "text_encoder"):
        part = getattr(pipe, prefix)
        if not getattr(part, "peft_config", None):
            continue
        found = get_peft_model_state_dict(part, adapter_name=NAME)
        state.update({canonical(f"{prefix}.{key}"): v.detach() for key, v in found.items()})
    return state


def canonical(key: str) -> str:
    """Return the name of a LoRA tensor in today's layout, whichever layout it has.

    That is ``unet.<layer>.lora_A.weight`` and ``text_encoder.text_model.<layer>.lora_B.weight``.
    Older files say ``lora.down``, ``lora_linear_layer.down`` or ``processor.to_q_lora.down``; the
    text encoder of recent transformers lacks ``text_model.``.
    """
    for old in ("lora_linear_layer", "lora"):
        key = key.replace(f".{old}.down.", ".lora_A.").replace(f".{old}.up.", ".lora_B.")
    match = OLD_PROCESSOR.search(key)
    if match:
        layer = "to_out.0" if match[1] == "to_out" else match[1]
        key = key.replace(match[0], f".{layer}.lora_{'A' if match[2] == 'down' else 'B'}.")
    prefix = "text_encoder."
    if key.startswith(prefix) and not key.startswith(prefix + "text_model."):
        key = prefix + "text_model." + key.removeprefix(prefix)
    return key


def write_adapter(pipe: Any, path: Path, dtype: Any) -> None:
    """Write the LoRA of a pipeline as one safetensors file that diffusers and peft read."""
    from safetensors.torch import save_file

    state = {key: value.to(dtype).contiguous() for key, value in adapter_state(pipe).items()}
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata={"format": "pt"})


def read_adapter(pipe: Any, path: Path) -> None:
    """Put the LoRA of a file into a pipeline, strictly.

    Raises:
        AubenchError: The file is damaged, holds no LoRA, or some of it does not fit the base.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise AubenchError(f"{path} cannot be read: {error}", "restore the file") from error
    if not any("lora" in key for key in state):
        raise AubenchError(f"{path} holds no LoRA weights", "a file of save_lora_weights")
    try:
        with quiet():  # it tells of what is not there; what does not fit is told below
            read, alphas = pipe.lora_state_dict(dict(state))  # converts kohya's layout
            wanted = {canonical(k): v for k, v in read.items() if not k.endswith(".alpha")}
            strengths = {_layer(key): float(value) for key, value in (alphas or {}).items()}
            for prefix in ("unet", "text_encoder"):
                _put_in(getattr(pipe, prefix), prefix, wanted, strengths)
    except Exception as error:
        raise AubenchError(
            f"the LoRA of {path} does not fit the base: {first_line(error)[:200]}"
        ) from error
    _check_taken(pipe, wanted, path)


def _layer(key: str) -> str:
    """Return the canonical layer of an alpha, which some versions name by its tensor."""
    return canonical(key.removesuffix(".alpha")).removesuffix(".lora_A.weight")


def _put_in(part: Any, prefix: str, state: dict[str, Tensor], alphas: dict[str, float]) -> None:
    """Give the layers of one part of a pipeline the LoRA that a file has for them.

    Args:
        part: Denoiser or text encoder.
        prefix: Prefix of its tensors in ``state``.
        state: Tensors by canonical name.
        alphas: Alphas by canonical name of the layer; one that is not there is the rank of its
            layer.
    """
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict

    shed = f"{prefix}."
    if prefix == "text_encoder" and not hasattr(part, "text_model"):
        shed += "text_model."  # recent transformers lack that level
    found = {k.removeprefix(shed): v for k, v in state.items() if k.startswith(shed)}
    end = ".lora_B.weight"
    ranks = {k.removesuffix(end): v.shape[1] for k, v in found.items() if k.endswith(end)}
    if not ranks:
        return
    given = {layer: alphas.get(shed + layer, rank) for layer, rank in ranks.items()}
    rank = next(iter(ranks.values()))
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=list(ranks),
        rank_pattern={layer: r for layer, r in ranks.items() if r != rank},
        alpha_pattern={layer: alpha for layer, alpha in given.items() if alpha != rank},
    )
    inject_adapter_in_model(config, part, NAME)
    set_peft_model_state_dict(part, found, adapter_name=NAME)
    part.to(dtype=part.dtype)


def _check_taken(pipe: Any, wanted: dict[str, Tensor], path: Path) -> None:
    """Refuse a file of which peft dropped something, which it does in silence."""
    import torch

    taken = adapter_state(pipe)
    lost = sorted(set(wanted) - set(taken))
    invented = sorted(set(taken) - set(wanted))
    if lost or invented:
        raise AubenchError(
            f"the LoRA of {path} does not fit the base: "
            f"{'tensor ' + lost[0] + ' has no place' if lost else 'no ' + invented[0]}"
        )
    for key, value in wanted.items():
        if not torch.equal(value.cpu().to(taken[key].dtype), taken[key].cpu()):
            raise AubenchError(f"tensor {key} of {path} was not taken over")


def read_card(path: Path) -> dict[str, Any]:
    """Return the card beside LoRA weights; empty where there is none.

    Raises:
        AubenchError: It is damaged.
    """
    card = path.with_name(path.name.removesuffix(".safetensors") + ".card.json")
    if not card.is_file():
        return {}
    try:
        found = read_json(card)
    except ValueError as error:
        raise AubenchError(f"{card} is not a card", "restore the file") from error
    if not isinstance(found, dict):
        raise AubenchError(f"{card} is not a card", "restore the file")
    return found
