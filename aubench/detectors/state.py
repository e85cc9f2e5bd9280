"""Reading the checkpoint of a training that goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from aubench.errors import AubenchError

KEYS = frozenset({"epoch", "step", "seconds", "total", "history", "best", "network", "optimiser"})


def read_checkpoint(
    path: Path, settings: Mapping[str, Any], facts: Mapping[str, tuple[object, str]]
) -> dict[str, Any]:
    """Return the state in a checkpoint.

    Args:
        path: the file.
        settings: that it must have.
        facts: what else it must hold, by key: the value, and the words for another one.

    Raises:
        AubenchError: it is damaged, or of other settings or facts.
    """
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        told = dict(state["settings"])
        if not state.keys() >= KEYS:
            raise KeyError(*(KEYS - state.keys()))
    except Exception as error:
        raise AubenchError(f"{path} is damaged", "remove it") from error
    other = sorted(k for k in settings.keys() | told.keys() if settings.get(k) != told.get(k))
    if other:
        raise AubenchError(f"{path} has other settings ({', '.join(other)})", "use another --out")
    for key, (value, words) in facts.items():
        if state.get(key) != value:
            raise AubenchError(f"{path} is of {words}", "use another --out")
    return state
