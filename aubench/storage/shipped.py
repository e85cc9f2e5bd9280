"""Small networks that travel with the package: a file of weights, a card beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.errors import AubenchError
from aubench.storage.files import read_card, sha256_file

if TYPE_CHECKING:
    from torch import nn


def restore(
    network: nn.Module, path: Path, what: str, remedy: str, device: str
) -> tuple[str, dict[str, Any]]:
    """Load weights strictly into a network, ready for inference in float32.

    Args:
        network: Network of the shape that the file has.
        path: ``<name>.safetensors``; ``<name>.card.json`` lies beside it.
        what: The network in words, for errors, such as ``detector 'nano-a'``.
        remedy: Remedy where the files are missing.
        device: Torch device.

    Returns:
        sha256 of the weights, and their card.

    Raises:
        AubenchError: Missing, truncated or foreign weights, or another digest than the card's.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    card_path = path.with_suffix(".card.json")
    if not path.is_file() or not card_path.is_file():
        raise AubenchError(f"no weights of {what} at {path}", remedy)
    digest = sha256_file(path)
    card = read_card(card_path, digest)
    try:
        state = {
            key: value.float() if value.is_floating_point() else value
            for key, value in load_file(path).items()
        }
        network.load_state_dict(state, strict=True)
    except (SafetensorError, RuntimeError, OSError) as error:
        first = str(error).splitlines()[0]
        raise AubenchError(f"{path} does not hold {what}: {first}") from error
    network.eval().requires_grad_(False).to(device)
    return digest, card
