"""Cards of weights: where they come from, how large they are, how they were trained."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aubench.errors import AubenchError
from aubench.storage.text_files import read_json

BESIDES = ("name", "scale", "sha256", "parameters", "licence", "log", "settings", "preset")
"""Keys of a card's file that are shown elsewhere or too long to show."""


@dataclass(frozen=True)
class Card:
    """What ``aubench models show`` prints beyond ``GeneratorInfo``.

    Attributes:
        weights: Where the weights come from.
        scale: ``nano`` or ``paper`` and what that means; empty where nothing is trained.
        parameters: How many, or None where unknown.
        details: Anything else worth a line, such as the command of the training and its scores.
    """

    weights: str = "none shipped"
    scale: str = ""
    parameters: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


def shipped_card(path: Path) -> Card:
    """Return the card of weights in a safetensors file that lies beside ``<name>.card.json``.

    Raises:
        AubenchError: Card or weights are missing or damaged.
    """
    weights = path.with_name(path.name.removesuffix(".card.json") + ".safetensors")
    try:
        data = read_json(path)
        size = weights.stat().st_size / 1e6
        counted = data.get("parameters") or count_parameters(weights)
    except (OSError, ValueError, AttributeError) as error:
        raise AubenchError(f"cannot read the card {path} and its weights") from error
    return Card(
        f"shipped: {weights.name}, {size:.1f} MB, sha256 {str(data.get('sha256'))[:12]}",
        str(data.get("scale", "")),
        int(counted),
        {key: value for key, value in data.items() if key not in BESIDES},
    )


def count_parameters(path: Path) -> int:
    """Return how many numbers a safetensors file holds, from its header alone.

    Scales of packed matrices, named ``…:scale``, are not counted.

    Raises:
        ValueError: It is no safetensors file.
    """
    with path.open("rb") as stream:
        start = stream.read(8)
        if len(start) < 8:
            raise ValueError(f"{path} is cut short")
        (length,) = struct.unpack("<Q", start)
        if length > path.stat().st_size:
            raise ValueError(f"{path} is no safetensors file")
        header = json.loads(stream.read(length))
    return sum(
        math.prod(row["shape"])
        for name, row in header.items()
        if name != "__metadata__" and not name.endswith(":scale")
    )
