"""The card beside LoRA weights: how they came about, and which base they belong to."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench import __version__
from aubench.datasets import DEFAULT_DATASET
from aubench.storage.files import sha256_file, write_text

if TYPE_CHECKING:
    from aubench_baselines.sd15_lora.train import Adapter

SAMPLING: dict[str, dict[str, Any]] = {
    "nano": {"steps": 12, "guidance": 6.0, "batch": 16},
    "paper": {"steps": 30, "guidance": 7.5, "batch": 4},
}
"""Steps of DPM-Solver++ (2M) and classifier-free guidance, unless ``--weights``' card differs."""


def write_card(path: Path, loop: Adapter, data: str, digest: str) -> None:
    """Write ``<weights>.card.json``.

    Args:
        path: Path of the LoRA weights.
        loop: The finished training.
        data: Fingerprint of what it was trained on.
        digest: Digest of the base, as ``sd_base.base_digest``.
    """
    import torch

    from aubench.datasets.registry import dataset_names, find_dataset
    from aubench_baselines.sd15_lora.train import FOLDER

    s = loop.s
    base = s.base or FOLDER.format(s.preset)
    counts = count_parameters(loop)
    images = find_dataset(s.data).fingerprint if s.data in dataset_names() else None
    card: dict[str, Any] = {
        "name": f"sd15-lora {s.preset}",
        "scale": (
            "nano: base and LoRA trained on synfacs by aubench, not Stable Diffusion 1.5"
            if s.preset == "nano"
            else "LoRA on Stable Diffusion 1.5"
        ),
        "sha256": sha256_file(path),
        "parameters": sum(counts.values()),
        "parameters of": counts,
        "base": base,
        "base sha256": None if s.base else digest,
        "long text": s.long_text,
        "sampling": SAMPLING[s.preset],
        "data": {
            "name": data,
            "split": "train",
            **({"fold": s.fold} if s.fold else {}),
            "images": images,
        },
        "metrics in training": [],
        "settings": [asdict(s)],
        "hardware": f"{torch.get_num_threads()} threads of {loop.device}",
        "seconds": [round(loop.seconds)],
        "log": [loop.log[-1:]],
        "torch": torch.__version__,
        "aubench": __version__,
        "licence": "Apache-2.0",
    }
    for stage in (4, 2, 1):
        _add_stage(card, path.parent / f"stage{stage}.checkpoint.pt", stage, bool(s.base))
    card["commands"] = [_command(row) for row in card["settings"]]
    write_text(path.with_name(f"{path.stem}.card.json"), json.dumps(card, indent=1) + "\n")


def count_parameters(loop: Adapter) -> dict[str, int]:
    """Return how many numbers LoRA, denoiser, text encoder and autoencoder hold."""
    pipe, counts = loop.pipe, {"lora": 0}
    for name in ("unet", "text_encoder", "vae"):
        values = list(getattr(pipe, name).parameters())
        adapter = sum(v.numel() for v in values if v.requires_grad)
        counts["lora"] += adapter
        counts[name] = sum(v.numel() for v in values) - adapter
    return counts


def _add_stage(card: dict[str, Any], checkpoint: Path, stage: int, foreign: bool) -> None:
    """Put another stage in its place, where the base was trained here."""
    from aubench.training.checkpoint import read_checkpoint

    if foreign or not checkpoint.is_file():
        return
    state = read_checkpoint(checkpoint)
    if state["step"] < state["settings"]["steps"]:
        return  # unfinished, so the weights have nothing of it
    place = len(card["settings"]) if stage == 4 else 0
    card["settings"].insert(place, state["settings"])
    card["seconds"].insert(place, round(state["seconds"]))
    card["log"].insert(place, state["log"][-1:])


def _command(s: dict[str, Any]) -> str:
    words = f"aubench train sd15-lora --preset {s['preset']} --seed {s['seed']}"
    if s["data"] != DEFAULT_DATASET:
        words += f" --data {Path(s['data']).name}"
    words += f" --fold {s['fold']}" if s.get("fold") else ""
    words += f" --stage {s['stage']} --steps {s['steps']}"
    return words + (f" --set base={s['base']}" if s["base"] else "")
