"""One pass a network: each image is decoded once and seen once by every network that needs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from aubench.progress import bar

if TYPE_CHECKING:
    from aubench.detectors.detector import Detector

Images = npt.NDArray[np.uint8]
Arrays = dict[str, npt.NDArray[np.float32]]

CHUNK = 128
"""Images in memory at a time."""


class Network(Protocol):
    """Anything from images to arrays with a row an image."""

    @property
    def name(self) -> str:
        """Short name."""

    @property
    def id(self) -> str:
        """What it does, including how it resizes."""

    @property
    def sha256(self) -> str:
        """Digest of the weights."""

    def __call__(self, images: Images) -> Arrays:
        """Return float32 arrays with N rows for uint8 [N, H, W, 3]."""


@dataclass(frozen=True)
class DetectorNetwork:
    """A detector as a network that gives ``probabilities`` [N, 12]."""

    detector: Detector

    @property
    def name(self) -> str:
        """Name of the detector."""
        return self.detector.name

    @property
    def id(self) -> str:
        """Name and digest of the detector."""
        return self.detector.id

    @property
    def sha256(self) -> str:
        """Digest of its weights."""
        return self.detector.sha256

    def __call__(self, images: Images) -> Arrays:
        """Return the probabilities."""
        return {"probabilities": self.detector.probabilities(images)}


def measure(
    keys: Sequence[str],
    load: Callable[[Sequence[str]], Images],
    networks: Sequence[Network],
    *,
    label: str = "measure",
) -> dict[str, Arrays]:
    """Return for each network its arrays, with a row a key.

    Args:
        keys: what to load, in the order of the rows.
        load: returns uint8 [B, H, W, 3] for some keys.
        networks: that see every image.
        label: of the progress bar.
    """
    parts: dict[str, dict[str, list[npt.NDArray[np.float32]]]] = {n.name: {} for n in networks}
    with bar(len(keys), label, "img") as progress:
        for i in range(0, len(keys), CHUNK):
            images = load(keys[i : i + CHUNK])
            for network in networks:
                for name, value in network(images).items():
                    parts[network.name].setdefault(name, []).append(value)
            progress.update(len(images))
    return {
        network: {name: np.concatenate(values) for name, values in arrays.items()}
        for network, arrays in parts.items()
    }
