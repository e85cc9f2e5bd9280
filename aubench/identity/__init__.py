"""Identity: face images to embeddings whose cosine tells whether they show one person."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aubench.errors import AubenchError, suggest

if TYPE_CHECKING:
    from aubench.identity.network import Identity

__all__ = ["NAMES", "identity_of", "load_identity"]

NAMES = ("nano-id", "facenet-vggface2", "facenet-casia-webface")


def identity_of(dataset: str) -> str:
    """Return the network that tells the persons of a data set apart."""
    return "nano-id" if dataset == "synfacs" else "facenet-vggface2"


def load_identity(
    name: str = "nano-id", device: str = "cpu", *, folder: Path | None = None
) -> Identity:
    """Load an identity network.

    Args:
        name: ``nano-id``, trained on synfacs and shipped, or a facenet for photographs.
        device: torch device.
        folder: of ``nano-id``'s weights and card, in place of the shipped ones.

    Raises:
        AubenchError: unknown name; damaged or foreign weights.
        MissingWeightsError: a facenet's weights are not on this machine.
    """
    if name not in NAMES:
        raise AubenchError(
            f"unknown identity network '{name}'{suggest(name, NAMES)}",
            f"choose from {', '.join(NAMES)}",
        )
    if name != "nano-id":
        from aubench.identity.facenet import load_facenet

        return load_facenet(name, device)
    from aubench.identity.network import WEIGHTS, load

    return load(name, device, folder or WEIGHTS)
