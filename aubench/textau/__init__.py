"""AUs from text: a T5 encoder with a perceptron, and its trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aubench.textau.classifier import TextAU

__all__ = ["load_text_au"]


def load_text_au(name: str = "nano", device: str = "cpu") -> TextAU:
    """Load a shipped classifier; see `aubench.textau.classifier.load`."""
    from aubench.textau.classifier import load

    return load(name, device)
