"""Identity: face images to embeddings whose cosine tells whether they show one person."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aubench.identity.network import Identity

__all__ = ["load_identity"]


def load_identity(
    name: str = "nano-id", device: str = "cpu", *, folder: Path | None = None
) -> Identity:
    """Load an identity network; see `aubench.identity.network.load`."""
    from aubench.identity.network import WEIGHTS, load

    return load(name, device, folder or WEIGHTS)
