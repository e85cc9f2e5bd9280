"""Images to features: one pass a network over generated images and over targets, both cached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from aubench import stage_times as costs
from aubench.errors import AubenchError
from aubench.networks.inference import CHUNK
from aubench.storage.array_files import Arrays, content_key, read_arrays, write_arrays
from aubench.storage.files import home
from aubench.storage.run_folder import pixel_digest

if TYPE_CHECKING:
    from aubench.datasets.samples import ImageSource, SampleSet
    from aubench.networks.inference import Network

Images = npt.NDArray[np.uint8]


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
        return content_key(*(self._digests[key] for key in keys))


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
