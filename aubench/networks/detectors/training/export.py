"""What a training leaves behind: weights, card, report, reliability curves."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from aubench import __version__
from aubench.errors import AubenchError
from aubench.networks.detectors.calibration import (
    best_thresholds,
    logit_scale,
    measure,
    write_report,
)
from aubench.networks.detectors.detector import calibrated
from aubench.networks.detectors.graphau import checkpoints
from aubench.storage.files import atomic_path, sha256_file, write_text

if TYPE_CHECKING:
    from aubench.networks.detectors.training.train import Trainer


def export(trainer: Trainer, command: str) -> Path:
    """Write the best weights, their card, ``report.json`` and ``calibration.svg``.

    Of a nano ``<preset>.safetensors`` in half precision, else a checkpoint of the published form.
    All processes take part; the first writes. Returns the weights.
    """
    suffix = "safetensors" if trainer.settings.nano else "pth"
    path = trainer.out / f"{trainer.settings.name}.{suffix}"
    trainer.network.load_state_dict(trainer.best["state"])
    thresholds = np.array(trainer.best["thresholds"], np.float32)
    report, scale = {}, None
    for name in ("validation", "test"):
        faces = getattr(trainer.parts, name)
        p = trainer.predict(faces)
        if name == "validation" and trainer.settings.texture:
            scale = logit_scale(p, faces.labels)
            thresholds = best_thresholds(calibrated(p, scale), faces.labels)
            trainer.best["thresholds"] = thresholds.tolist()
        p = p if scale is None else calibrated(p, scale)
        report[name] = measure(p, faces.labels, thresholds, faces.subjects)
    if not trainer.is_first:
        return path
    _write_weights(trainer, path)
    digest = sha256_file(path)
    card = _card(trainer, report, command) | {"sha256": digest}
    if scale is not None:
        card["calibration"] = [[round(float(v), 5) for v in row] for row in scale]
    write_text(path.with_suffix(".card.json"), json.dumps(card, indent=1) + "\n")
    about = {"detector": f"{card['name']}@{digest[:12]}", "data": card["data"]}
    write_report(trainer.out, report, about)
    return path


def _write_weights(trainer: Trainer, path: Path) -> None:
    settings = trainer.settings
    if not settings.nano:
        checkpoints.save(trainer.network, settings.layout, path, trainer.best["epoch"])
        return
    from safetensors.torch import save_file

    state = {
        k: (v.half() if v.is_floating_point() else v).contiguous()
        for k, v in trainer.best["state"].items()
    }
    for key, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise AubenchError(f"{key} does not fit half precision", "use a smaller --rate")
    with atomic_path(path) as temporary:
        save_file(state, temporary)


def _scale(trainer: Trainer) -> str:
    s = trainer.settings
    if s.nano:
        return f"nano: trained on {Path(s.data).name}, not the paper's detector"
    begin = "random weights" if not trainer.started_from else ", ".join(trainer.started_from)
    return f"ME-GraphAU, stage {s.stage}, trained by aubench on {Path(s.data).name} from {begin}"


def _card(trainer: Trainer, report: dict[str, Any], command: str) -> dict[str, Any]:
    s, parts, device = trainer.settings, trainer.parts, trainer.accelerator.device
    where = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{torch.get_num_threads()} CPU threads"
    )
    test = report["test"]
    return {
        "name": s.architecture,
        "scale": _scale(trainer),
        "sha256": "",
        "command": command,
        "settings": asdict(s),
        "started from": trainer.started_from or "random weights",
        "data": {
            **parts.about,
            "sha256": parts.fingerprint,
            "train images": str(len(parts.train)),
            "train subjects": len(np.unique(parts.train.subjects)),
            "validation images": len(parts.validation),
        },
        "AU weights": [round(float(w), 6) for w in trainer.weight],
        "hardware": f"{trainer.accelerator.num_processes} x {where}",
        "seconds": round(trainer.seconds, 1),
        "epochs": trainer.epoch,
        "best epoch": trainer.best["epoch"],
        "torch": torch.__version__,
        "aubench": __version__,
        "thresholds": [round(t, 4) for t in trainer.best["thresholds"]],
        "scores": {
            "test subjects": test["subjects"],
            "test images": test["images"],
            "mean F1": _short(test["mean"]["F1"]),
            "mean F1 at 0.5": _short(test["mean"]["F1 at 0.5"]),
            "F1": {au: _short(row["F1"]) for au, row in test["AUs"].items()},
        },
        "history": trainer.log,
    }


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
