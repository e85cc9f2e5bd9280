"""What every network is to the harness: from images to arrays with a row an image."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Arrays = dict[str, npt.NDArray[np.float32]]


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
