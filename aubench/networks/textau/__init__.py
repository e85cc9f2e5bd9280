"""AUs from text: a T5 encoder with a perceptron, and its trainer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aubench.networks.textau.classifier import TextAU

__all__ = ["find_text_au", "load_text_au", "text_au_identity"]


def load_text_au(name: str | None = None, device: str = "cpu") -> TextAU:
    """Load a classifier of AUs from text.

    Args:
        name: Of a shipped one, or a folder that ``aubench train-text-au`` wrote; None is the one
            that scores.
        device: Torch device.

    Raises:
        AubenchError: No such classifier, or damaged files.
    """
    from aubench.networks.textau.classifier import load_named

    return load_named(name, device)


def text_au_identity(name: str | None = None) -> tuple[str, str]:
    """Return id and digest of a classifier, as `load_text_au` finds it; it loads nothing."""
    from aubench.networks.textau.classifier import named_identity

    return named_identity(name)


def find_text_au(metric_ids: Iterable[str]) -> str | None:
    """Return the shipped classifier that metric ids name, None where they name none.

    Args:
        metric_ids: Such as ``aaad|…|target=text-nano@92712e5bde36|…``.
    """
    from aubench.networks.textau.classifier import shipped_identities

    told = {part.removeprefix("target=text-") for id_ in metric_ids for part in id_.split("|")}
    return next((name for name, id_ in shipped_identities().items() if id_ in told), None)
