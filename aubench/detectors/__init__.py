"""AU detectors: images to the probabilities of the twelve AUs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aubench.detectors.detector import Detector

__all__ = ["load_detector", "load_detectors"]


def load_detector(
    name: str = "nano-a", device: str = "cpu", *, weights: Path | str | None = None, **options: Any
) -> Detector:
    """Load a detector; see `aubench.detectors.detector.load` for names and options."""
    from aubench.detectors.detector import load

    return load(name, device, weights=weights, **options)


def load_detectors(words: str, device: str = "cpu") -> tuple[Detector, ...]:
    """Load detectors named ``A,B``, each ``NAME`` or ``NAME=FILE`` of its weights.

    Raises:
        AubenchError: one cannot be loaded, does not know all twelve AUs, or is named twice.
    """
    from aubench.errors import AubenchError

    found: list[Detector] = []
    for word in words.split(","):
        name, _, file = word.strip().partition("=")
        detector = load_detector(name, device, weights=file or None)
        if not detector.mask.all():
            raise AubenchError(f"detector '{name}' does not know all twelve AUs")
        if detector.name in [other.name for other in found]:
            raise AubenchError(f"detector '{detector.name}' is named twice", "name two of a kind")
        found.append(detector)
    return tuple(found)
