"""What a training leaves behind: weights, card, report."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from aubench import __version__
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.networks.textau.corpus import UNKNOWN_AU
from aubench.networks.textau.report import scores, write_report
from aubench.storage.files import atomic_path, sha256_file, write_text

if TYPE_CHECKING:
    from aubench.networks.textau.train import Trainer


def export(
    trainer: Trainer, report: dict[str, Any], command: str, cut: int, temperature: float = 1.0
) -> Path:
    """Write half-precision safetensors, the card and the report; return the weights.

    Args:
        trainer: At its last step.
        report: See `report.measure`.
        command: That was given.
        cut: Training texts over the token limit.
        temperature: Of the probabilities.
    """
    from safetensors.torch import save_file

    name = trainer.settings.encoder
    path = trainer.out / f"{name}.safetensors"
    state, seen = {}, set()
    for key, value in trainer.network.state_dict().items():
        if value.data_ptr() not in seen:  # T5 shares its embedding under two names
            seen.add(value.data_ptr())
            state[key] = value.half().contiguous().cpu()
            if not state[key].isfinite().all():
                raise AubenchError(f"{key} does not fit half precision", "use a smaller --rate")
    with atomic_path(path) as temporary:
        save_file(state, temporary)
    digest = sha256_file(path)
    card = _card(trainer, report, command, cut) | {"sha256": digest}
    card["calibration"] = {"temperature": temperature}
    write_text(trainer.out / f"{name}.card.json", json.dumps(card, indent=1) + "\n")
    about = {"classifier": f"{name}@{digest[:12]}", "data": card["data"]}
    write_report(trainer.out / "report.json", report, about)
    return path


def _start(trainer: Trainer) -> str:
    if trainer.settings.checkpoint:
        return f"the pretrained encoder {trainer.settings.checkpoint}"
    return "random weights and a tokenizer of its own, not the paper's pretrained T5-large"


def _card(trainer: Trainer, report: dict[str, Any], command: str, cut: int) -> dict[str, Any]:
    s, device = trainer.settings, trainer.accelerator.device
    known = (trainer.corpus.labels != UNKNOWN_AU).any(0)
    where = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{torch.get_num_threads()} CPU threads"
    )
    return {
        "name": s.encoder,
        "scale": f"{s.encoder}, started from {_start(trainer)}",
        "sha256": "",
        "tokenizer": sha256_file(trainer.tokenizer_path),
        "shape": asdict(trainer.shape),
        "pretrained": trainer.pretrained,
        "command": command,
        "settings": asdict(s),
        "data": {
            "name": Path(s.data).name,
            **({"fold": s.fold} if s.fold else {}),
            "source": trainer.corpus.name,
            "sha256": trainer.corpus.fingerprint,
            "AU sets": len(trainer.corpus.labels),
            "held out": trainer.corpus.held_out,
            "training texts cut at the token limit": cut,
            "AUs never labelled": [au for au, seen in zip(AUS, known, strict=True) if not seen],
        },
        "hardware": f"{trainer.accelerator.num_processes} x {where}",
        "seconds": round(trainer.seconds, 1),
        "torch": torch.__version__,
        "aubench": __version__,
        "scores": scores(report),
        "F1 by AU": {name: row["AUs"] for name, row in report.items()},
        "history": [line["loss"] for line in trainer.log],
    }
