"""Arrays in a file, with what they depend on and a digest of them: whole, or made again."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.storage.files import ClosedError, atomic_path, home

Arrays = dict[str, npt.NDArray[np.float32]]


def content_key(*parts: str) -> str:
    """Return a sha256 over everything the features depend on."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def arrays_digest(key: str, arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Return a sha256 over names, types, shapes and bytes of arrays, and their key."""
    whole = hashlib.sha256(key.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        whole.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        whole.update(array.data if array.size else b"")
    return whole.hexdigest()


def read_whole(path: Path) -> tuple[str, Arrays] | None:
    """Return key and arrays of a file of ``write_arrays``; None where it is absent or damaged.

    safetensors checks the layout alone: a flipped bit in the numbers would pass.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as stream:
            about = stream.metadata() or {}
            arrays = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (OSError, ValueError, TypeError, LookupError, AttributeError, SafetensorError):
        return None
    key = about.get("key", "")
    return (key, arrays) if about.get("sha256") == arrays_digest(key, arrays) else None


def read_arrays(path: Path, key: str, rows: int) -> Arrays | None:
    """Return cached arrays if the file is whole, has this key and this many rows.

    Otherwise it was cut short by a kill, is damaged or foreign: to be computed again.
    """
    found = read_whole(path)
    if found is None or found[0] != key:
        return None
    return found[1] if all(len(array) == rows for array in found[1].values()) else None


def write_arrays(path: Path, key: str, arrays: Mapping[str, Any]) -> None:
    """Write arrays with their key and digest, atomically.

    A cache that cannot be written to keeps nothing: that costs time, no result.
    """
    from safetensors.numpy import save_file

    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    try:
        with atomic_path(path) as temporary:
            about = {"key": key, "sha256": arrays_digest(key, whole)}
            save_file(whole, temporary, metadata=about)
    except ClosedError as error:
        if not path.is_relative_to(home() / "features"):
            raise
        _warn_once(f"{error.message}: measured features are not kept; {error.hint}")


@cache
def _warn_once(line: str) -> None:
    sys.stderr.write(line + "\n")
