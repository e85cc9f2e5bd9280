"""Checkpoints of trainings: written atomically, read without code, refused where they differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from aubench.errors import AubenchError
from aubench.storage.files import atomic_path

_ABSENT = "absent"


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint; the former one stays until the new one is whole, on the disk too.

    Args:
        path: The file.
        state: Tensors, numbers, words, and containers of them.

    Raises:
        AubenchError: The disk is full or the folder cannot be written.
    """
    with atomic_path(path, durable=True) as temporary:
        torch.save(dict(state), temporary)


def read_checkpoint(path: Path, needed: Collection[str] = ()) -> dict[str, Any]:
    """Return the state in a checkpoint, its tensors on the processor.

    Args:
        path: The file; only tensors and plain values are read from it, never code.
        needed: Keys that it must hold beside ``settings`` and ``step``.

    Raises:
        AubenchError: There is none, or it is damaged or lacks a key.
    """
    if not path.is_file():
        raise AubenchError(f"no {path}", "train the earlier stage first")
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        if not {"settings", "step", *needed} <= state.keys():
            raise KeyError(path.name)
    except Exception as error:
        raise damaged(path) from error
    return state


def damaged(path: Path) -> AubenchError:
    """Return the error of a checkpoint that cannot be read."""
    return AubenchError(f"{path} is damaged", "remove it")


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], unchecked: Collection[str] = ()
) -> list[str]:
    """Return what two trainings differ in, each as ``NAME was OLD, now NEW``.

    Args:
        old: Settings or facts of the checkpoint; a mapping within is compared name by name.
        new: Those of the training that would go on from it.
        unchecked: Names that may differ.

    Example:
        >>> differences({"rate": 0.1, "save_every": 5}, {"rate": 0.2}, {"save_every"})
        ['rate was 0.1, now 0.2']
    """
    before, now = _flat(old), _flat(new)
    return [
        f"{name} was {before.get(name, _ABSENT)}, now {now.get(name, _ABSENT)}"
        for name in sorted(before.keys() | now.keys())
        if name not in unchecked and before.get(name, _ABSENT) != now.get(name, _ABSENT)
    ]


def refuse_other_training(path: Path, other: Sequence[str]) -> None:
    """Refuse a checkpoint of other settings, data or weights to start from.

    Args:
        path: Of the checkpoint.
        other: What `differences` returned, of settings and of facts.

    Raises:
        AubenchError: There are differences; it names each with both values.
    """
    if other:
        raise AubenchError(
            f"{path} is of another training ({'; '.join(other)})", "use another --out"
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a mapping without mappings in it, and with lists for tuples."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return found
