"""LoRA on a Stable Diffusion base: put in, written, and read back strictly."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.errors import AubenchError, first_line
from aubench.files import atomic_path
from aubench_baselines.sd_base import quiet

if TYPE_CHECKING:
    from torch import Tensor

NAME = "default_0"
"""What diffusers calls the first adapter."""

TARGETS: dict[str, tuple[str, ...]] = {
    "attention": ("to_q", "to_k", "to_v", "to_out.0"),
    "all": (
        "to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2",
    ),
}  # fmt: skip
"""Layers of the denoiser that get LoRA; ``attention`` is diffusers' usual choice."""

OLD_PROCESSOR = re.compile(r"\.processor\.(to_q|to_k|to_v|to_out)_lora\.(down|up)\.")

TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")


def add_adapters(pipe: Any, rank: int, targets: str, *, text_encoder: bool) -> None:
    """Freeze a pipeline and put LoRA in; B starts at zero, so nothing changes at first."""
    from peft import LoraConfig

    for part in (pipe.unet, pipe.text_encoder, pipe.vae):
        part.requires_grad_(False)
    pipe.unet.add_adapter(
        LoraConfig(r=rank, lora_alpha=rank, target_modules=list(TARGETS[targets])), NAME
    )
    if text_encoder:
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(TEXT_TARGETS))
        pipe.text_encoder.add_adapter(config, NAME)
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
        AubenchError: the file is damaged, holds no LoRA, or some of it does not fit the base.
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
            pipe.load_lora_weights(dict(state), adapter_name=NAME)
    except Exception as error:
        raise AubenchError(
            f"the LoRA of {path} does not fit the base: {first_line(error)[:200]}"
        ) from error
    _check_taken(pipe, dict(state), path)


def _check_taken(pipe: Any, state: dict[str, Tensor], path: Path) -> None:
    """Refuse a file of which diffusers dropped something, which it only logs."""
    import torch

    read, *_ = pipe.lora_state_dict(dict(state))  # converts kohya's layout
    wanted = {canonical(key): value for key, value in read.items() if not key.endswith(".alpha")}
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
        AubenchError: it is damaged.
    """
    card = path.with_name(path.name.removesuffix(".safetensors") + ".card.json")
    if not card.is_file():
        return {}
    try:
        found = json.loads(card.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AubenchError(f"{card} is not a card", "restore the file") from error
    if not isinstance(found, dict):
        raise AubenchError(f"{card} is not a card", "restore the file")
    return found
