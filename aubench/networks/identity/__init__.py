"""Identity: face images to embeddings whose cosine tells whether they show one person."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aubench.datasets import default_networks
from aubench.errors import AubenchError, suggest

if TYPE_CHECKING:
    from aubench.networks.identity.network import Identity

__all__ = ["NAMES", "identity_of", "load_identity"]

NAMES = ("nano-id", "nano2-id", "dlib-resnet", "facenet-vggface2", "facenet-casia-webface")


def identity_of(dataset: str) -> str:
    """Return the network that tells the persons of a data set apart."""
    return default_networks(dataset).identity


def load_identity(
    name: str = "nano-id", device: str = "cpu", *, folder: Path | None = None
) -> Identity:
    """Load an identity network.

    Args:
        name: ``nano-id`` or ``nano2-id``, trained on synfacs and synfacs 2 and shipped; for
            photographs ``dlib-resnet`` or a facenet.
        device: Torch device.
        folder: Folder of a nano's weights and card, in place of the shipped ones.

    Raises:
        AubenchError: Unknown name; damaged or foreign weights.
        MissingWeightsError: Weights for photographs are not on this machine.
    """
    if name not in NAMES:
        raise AubenchError(
            f"unknown identity network '{name}'{suggest(name, NAMES)}",
            f"choose from {', '.join(NAMES)}",
        )
    if name == "dlib-resnet":
        from aubench.networks.identity.dlib_resnet import load_dlib

        return load_dlib(name, device)
    if not name.startswith("nano"):
        from aubench.networks.identity.facenet import load_facenet

        return load_facenet(name, device)
    from aubench.networks.identity.network import WEIGHTS, load

    return load(name, device, folder or WEIGHTS)
