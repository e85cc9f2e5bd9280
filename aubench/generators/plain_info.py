"""What a generator says of itself as JSON holds it, and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aubench.generators.contract import GeneratorInfo


def info_of(data: dict[str, Any]) -> GeneratorInfo:
    """Return what ``plain_info`` was given."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    return GeneratorInfo(**{**fields, "inputs": frozenset(data["inputs"])})


def plain_info(info: GeneratorInfo) -> dict[str, Any]:
    """Return what a generator says of itself, as JSON holds it."""
    data = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(info).items()}
    return {**data, "inputs": sorted(info.inputs)}
