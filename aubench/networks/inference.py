"""One pass a network: each image is decoded once and seen once by every network that needs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError
from aubench.networks.network import Arrays, Images, Network
from aubench.plugins import behind_wall
from aubench.plugins.group import raised
from aubench.progress import bar

if TYPE_CHECKING:
    from aubench.networks.detectors.detector import Detector, PairedDetector
    from aubench.networks.identity.network import Identity

__all__ = ["Arrays", "DetectorNetwork", "IdentityNetwork", "Images", "Network", "measure"]

CHUNK = 128
"""Images in memory at a time."""


@dataclass(frozen=True)
class DetectorNetwork:
    """A detector as a network that gives ``probabilities`` [N, 12], 0 where it knows nothing.

    Of a detector that looks for the face itself ``found`` [N] says by 1 or 0 whether there was one.
    """

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
        p = self.detector.probabilities(images)
        if not self.detector.mask.all():
            p = np.where(self.detector.mask, p, np.float32(0))
        return with_found(p) if self.detector.finds_faces else {"probabilities": p}


def readings(detector: PairedDetector, faces: Arrays, references: Arrays) -> Arrays:
    """Return ``probabilities``, 0 where it knows nothing, and ``found`` of a paired detector."""
    p = detector.compare(faces, references)
    return with_found(np.asarray(np.where(detector.mask, p, 0), np.float32))


def with_found(probabilities: npt.NDArray[np.float32]) -> Arrays:
    """Return ``probabilities`` [N, 12] with 0 in rows that hold NaN, and ``found`` [N]."""
    found = np.asarray(np.isfinite(probabilities).all(1))
    filled = np.asarray(np.where(found[:, None], probabilities, 0), np.float32)
    return {"probabilities": filled, "found": np.asarray(found, np.float32)}


@dataclass(frozen=True)
class IdentityNetwork:
    """An identity network that gives unit ``embeddings`` [N, D]."""

    identity: Identity

    @property
    def name(self) -> str:
        """Name of the network."""
        return self.identity.name

    @property
    def id(self) -> str:
        """Name, digest and size of the input."""
        return self.identity.id

    @property
    def sha256(self) -> str:
        """Digest of its weights."""
        return self.identity.sha256

    def __call__(self, images: Images) -> Arrays:
        """Return the embeddings."""
        return {"embeddings": self.identity.embeddings(images)}


def measure(
    keys: Sequence[str],
    load: Callable[[Sequence[str]], Images],
    networks: Sequence[Network],
    *,
    label: str | None = "measure",
) -> dict[str, Arrays]:
    """Return for each network its arrays, with a row a key.

    Args:
        keys: What to load, in the order of the rows.
        load: Returns uint8 [B, H, W, 3] for some keys.
        networks: Networks that see every image.
        label: Label of the progress bar, None for none.

    Raises:
        AubenchError: A network gave a value that is not finite; names the network and the key.
        ValueError: A wrong number of images or rows, or two networks of one name.
    """
    names = [network.name for network in networks]
    if len(set(names)) < len(names):
        raise ValueError(f"two networks of one name: {', '.join(names)}")
    out: dict[str, Arrays] = {name: {} for name in names}
    with bar(len(keys), label, "img") if label else nullcontext() as progress:
        for i in range(0, len(keys), CHUNK):
            asked = keys[i : i + CHUNK]
            images = load(asked)
            if len(images) != len(asked):
                raise ValueError(f"asked for {len(asked)} images, got {len(images)}")
            for network in networks:
                for name, value in _look(network, images).items():
                    _check(network.name, name, value, asked)
                    rows = out[network.name]
                    if i == 0:  # whole at once: parts to be joined would be there twice
                        rows[name] = np.empty((len(keys), *value.shape[1:]), value.dtype)
                    rows[name][i : i + len(value)] = value
            if progress is not None:
                progress.update(len(images))
    return out


def _look(network: Network, images: Images) -> Arrays:
    """Return what a network gives for images of its own; one of a plug-in runs behind the wall."""
    own = images.copy()  # what it writes there is not what the next one sees
    top = type(network).__module__.partition(".")[0]
    if top == __name__.partition(".")[0]:
        return network(own)
    with behind_wall(top, raised(f"network '{network.name}'", "a pass")):
        return network(own)


def _check(network: str, name: str, value: npt.NDArray[np.float32], keys: Sequence[str]) -> None:
    if len(value) != len(keys):
        raise ValueError(f"{network} gave {len(value)} rows of {name} for {len(keys)} images")
    bad = ~np.isfinite(value.reshape(len(value), -1)).all(1)
    if bad.any():
        raise AubenchError(
            f"{network} gave {name} that are not finite for {keys[int(np.argmax(bad))]}",
            "check the image, and the device it was measured on",
        )
