"""Images to features: one pass a network over generated images and over targets, both cached."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aubench.files import atomic_path, home

if TYPE_CHECKING:
    from aubench.metrics.measure import Network

Arrays = dict[str, npt.NDArray[np.float32]]
Images = npt.NDArray[np.uint8]


def content_key(*parts: str) -> str:
    """Return a sha256 over everything the features depend on."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def read_arrays(path: Path, key: str, rows: int) -> Arrays | None:
    """Return cached arrays if the file is whole, has this key and this many rows."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as stream:
            if (stream.metadata() or {}).get("key") != key:
                return None
            arrays = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (OSError, ValueError, SafetensorError):
        return None  # truncated by a kill or foreign: computed again
    return arrays if all(len(array) == rows for array in arrays.values()) else None


def write_arrays(path: Path, key: str, arrays: Mapping[str, Any]) -> None:
    """Write arrays with their key, atomically."""
    from safetensors.numpy import save_file

    with atomic_path(path) as temporary:
        save_file(dict(arrays), temporary, metadata={"key": key})


def features(
    keys: Sequence[str],
    load: Callable[[Sequence[str]], Images],
    networks: Sequence[Network],
    paths: Mapping[str, Path],
    content: str,
    label: str,
) -> dict[str, Arrays]:
    """Return the features of images, computing only what no cache holds.

    Args:
        keys: image keys, N of them, in the order of the rows returned.
        load: returns uint8 [B, H, W, 3] for some of the keys.
        networks: each sees each image once; an image is decoded once for all of them.
        paths: cache file of each network.
        content: digest of the pixels that the keys stand for.
        label: of the progress bar.

    Returns:
        For each network name its arrays, float32 with N rows.
    """
    from aubench.metrics.measure import measure

    found: dict[str, Arrays] = {}
    wanted = []
    for network in networks:
        key = content_key(content, network.id, network.sha256)
        cached = read_arrays(paths[network.name], key, len(keys))
        if cached is None:
            wanted.append(network)
        else:
            found[network.name] = cached
    if wanted:
        for name, arrays in measure(keys, load, wanted, label=label).items():
            network = next(n for n in wanted if n.name == name)
            key = content_key(content, network.id, network.sha256)
            write_arrays(paths[name], key, arrays)
            found[name] = arrays
    return found


def reference_path(content: str, network: Network) -> Path:
    """Return where the features of a reference set are cached, by content."""
    key = content_key(content, network.id, network.sha256)
    return home() / "features" / f"{key[:32]}.safetensors"
