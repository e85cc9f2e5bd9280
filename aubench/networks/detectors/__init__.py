"""AU detectors: images to the probabilities of the twelve AUs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aubench.networks.detectors.detector import Detector, PairedDetector

__all__ = ["load_detector", "load_detectors"]


def load_detector(
    name: str = "nano-a", device: str = "cpu", *, weights: Path | str | None = None, **options: Any
) -> Detector:
    """Load a detector; see `aubench.networks.detectors.registry.load` for names and options."""
    from aubench.networks.detectors.registry import load

    return load(name, device, weights=weights, **options)


def load_detectors(words: str, device: str = "cpu") -> tuple[Detector | PairedDetector, ...]:
    """Load detectors of either kind named ``A,B``, each ``NAME`` or ``NAME=FILE`` of its weights.

    Raises:
        AubenchError: One cannot be loaded, knows none of the twelve AUs, or is named twice.
    """
    from aubench.errors import AubenchError
    from aubench.networks.detectors.registry import load_any

    found: list[Detector | PairedDetector] = []
    for word in words.split(","):
        name, _, file = word.strip().partition("=")
        detector = load_any(name, device, weights=file or None)
        if not detector.mask.any():
            raise AubenchError(f"detector '{name}' knows none of the twelve AUs", "name another")
        if detector.name in [other.name for other in found]:
            raise AubenchError(f"detector '{detector.name}' is named twice", "name two of a kind")
        found.append(detector)
    return tuple(found)
