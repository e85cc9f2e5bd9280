"""Images to features: one pass a network over generated images and over targets, both cached."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aubench import stage_times as costs
from aubench.errors import AubenchError
from aubench.networks.inference import CHUNK
from aubench.storage.files import ClosedError, atomic_path, home
from aubench.storage.run_folder import pixel_digest

if TYPE_CHECKING:
    from aubench.datasets.samples import ImageSource, SampleSet
    from aubench.networks.inference import Network

Arrays = dict[str, npt.NDArray[np.float32]]
Images = npt.NDArray[np.uint8]


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


class PixelReader:
    """Images of a data set at one size, and the digests of those that were read.

    Caches of what is measured of them are told apart by these digests: what a picture was named, or
    was before, makes no difference.

    Args:
        images: Of the data set.
        size: Side in pixels.
    """

    def __init__(self, images: ImageSource, size: int) -> None:
        self.images: ImageSource = images
        self.size: int = size
        self._digests: dict[str, str] = {}

    def load(self, keys: Sequence[str]) -> Images:
        """Return uint8 [B, size, size, 3].

        Raises:
            AubenchError: One is not what it was when it was read before.
        """
        images = self.images.load_many(keys, self.size)
        for key, image in zip(keys, images, strict=True):
            digest = pixel_digest(image)
            if self._digests.setdefault(key, digest) != digest:
                raise AubenchError(
                    f"image {key} changed while it was measured",
                    "let nothing write to the data set or the cache; run it again",
                )
        return images

    def digest(self, keys: Sequence[str]) -> str:
        """Return a sha256 over the pixels of some images, in order; reads those not read yet."""
        new = list(dict.fromkeys(key for key in keys if key not in self._digests))
        for start in range(0, len(new), CHUNK):
            self.load(new[start : start + CHUNK])
        return hashlib.sha256("\n".join(self._digests[key] for key in keys).encode()).hexdigest()


def features(
    keys: Sequence[str],
    load: Callable[[Sequence[str]], Images],
    networks: Sequence[Network],
    paths: Mapping[str, Path],
    content: Callable[[], str],
    label: str,
) -> dict[str, Arrays]:
    """Return the features of images, computing only what no cache holds.

    Args:
        keys: Image keys, N of them, in the order of the rows returned.
        load: Returns uint8 [B, H, W, 3] for some of the keys.
        networks: Each sees each image once; an image is decoded once for all of them.
        paths: Cache file of each network.
        content: Returns a digest of the pixels that the keys stand for; called where a cache has to
            be compared with it, or once they were read.
        label: Label of the progress bar.

    Returns:
        For each network name its arrays, float32 with N rows.
    """
    from aubench.evaluate.measured_blocks import measure_in_blocks

    found: dict[str, Arrays] = {}
    wanted = []
    for network in networks:
        cached = None
        if paths[network.name].is_file():
            key = content_key(content(), network.id, network.sha256)
            cached = read_arrays(paths[network.name], key, len(keys))
        if cached is None:
            wanted.append(network)
        else:
            found[network.name] = cached
    if wanted:
        for name, arrays in measure_in_blocks(keys, load, wanted, paths, label).items():
            network = next(n for n in wanted if n.name == name)
            key = content_key(content(), network.id, network.sha256)
            write_arrays(paths[name], key, arrays)
            found[name] = arrays
        costs.count(len(keys))
    return found


@dataclass(frozen=True)
class FeatureCache:
    """A folder that keeps features by content.

    Attributes:
        folder: What is computed is kept here.
        also: A folder that is read besides, and written to only where a file of it is damaged.
    """

    folder: Path = field(default_factory=lambda: home() / "features")
    also: Path | None = None

    def path(self, key: str) -> Path:
        """Return where the cache keeps what a key stands for."""
        name = f"{key[:32]}.safetensors"
        if self.also is not None and (self.also / name).is_file():
            return self.also / name
        return self.folder / name

    def reference_path(self, content: str, network: Network) -> Path:
        """Return where the features of a reference set are kept, by content."""
        return self.path(content_key(content, network.id, network.sha256))


def reference_path(content: str, network: Network) -> Path:
    """Return where the user's cache keeps the features of a reference set."""
    return FeatureCache().reference_path(content, network)


def content_of(images: ImageSource, size: int, samples: SampleSet) -> str:
    """Return what names the targets of some samples, before any is read."""
    return f"{images.fingerprint}|{size}|{samples.sha256}"
