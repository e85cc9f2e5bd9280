"""AUs from text: a T5 encoder with a perceptron, and its trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aubench.textau.classifier import TextAU

__all__ = ["load_text_au", "text_au_identity"]


def load_text_au(name: str = "nano", device: str = "cpu") -> TextAU:
    """Load a shipped classifier; see `aubench.textau.classifier.load`."""
    from aubench.textau.classifier import load

    return load(name, device)


def text_au_identity(name: str = "nano") -> tuple[str, str]:
    """Return id and digest of a shipped classifier, which loads nothing."""
    from aubench.textau.classifier import identity

    return identity(name)
