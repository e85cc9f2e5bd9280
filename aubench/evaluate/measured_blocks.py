"""A long pass of networks over images, kept block by block, so that a kill loses one block."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aubench.networks.inference import CHUNK, measure
from aubench.progress import bar
from aubench.storage.array_files import Arrays, content_key, read_arrays, write_arrays
from aubench.storage.run_folder import pixel_digest

if TYPE_CHECKING:
    from aubench.networks.network import Images, Network

BLOCK = 2 * CHUNK
"""Images of a block: whole batches, so that each image is seen in the company it has in one go."""


def measure_in_blocks(
    keys: Sequence[str],
    load: Callable[[Sequence[str]], Images],
    networks: Sequence[Network],
    paths: Mapping[str, Path],
    label: str,
) -> dict[str, Arrays]:
    """Return for each network its arrays, with a row a key, as `measure` does.

    Args:
        keys: What to load, in the order of the rows.
        load: Returns uint8 [B, H, W, 3] for some keys.
        networks: Networks that see every image.
        paths: Where each network's arrays will be kept; blocks lie beside until all are there.
        label: Label of the progress bar.
    """
    starts = range(0, len(keys), BLOCK)
    if len(starts) < 2:
        return measure(keys, load, networks, label=label)
    found: dict[str, list[Arrays]] = {network.name: [] for network in networks}
    with bar(len(keys), label, "img") as progress:
        for start in starts:
            part = keys[start : start + BLOCK]
            for name, arrays in _block(part, load, networks, paths, start).items():
                found[name].append(arrays)
            progress.update(len(part))
    out = {name: _joined(blocks) for name, blocks in found.items()}
    for network in networks:
        for start in starts:
            _path(paths[network.name], start).unlink(missing_ok=True)
    return out


def _block(
    keys: Sequence[str],
    load: Callable[[Sequence[str]], Images],
    networks: Sequence[Network],
    paths: Mapping[str, Path],
    start: int,
) -> dict[str, Arrays]:
    """Return a block's arrays: those that were kept of these very pixels, the others measured."""
    images = np.concatenate([load(keys[i : i + CHUNK]) for i in range(0, len(keys), CHUNK)])
    pixels = content_key(*map(pixel_digest, images))
    found: dict[str, Arrays] = {}
    for network in networks:
        key = content_key(pixels, network.id, network.sha256)
        kept = read_arrays(_path(paths[network.name], start), key, len(keys))
        if kept is not None:
            found[network.name] = kept
    lacking = [network for network in networks if network.name not in found]
    if lacking:
        left = iter(range(0, len(keys), CHUNK))  # asked for in order, once

        def loaded(asked: Sequence[str]) -> Images:
            start = next(left)
            return images[start : start + len(asked)]

        made = measure(keys, loaded, lacking, label=None)
        for network in lacking:
            key = content_key(pixels, network.id, network.sha256)
            write_arrays(_path(paths[network.name], start), key, made[network.name])
        found |= made
    return found


def _path(whole: Path, start: int) -> Path:
    return whole.with_name(f"{whole.stem}-from-{start}.block")


def _joined(blocks: Sequence[Arrays]) -> Arrays:
    return {name: np.concatenate([one[name] for one in blocks]) for name in blocks[0]}
