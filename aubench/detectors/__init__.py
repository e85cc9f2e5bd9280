"""AU detectors: images to the probabilities of the twelve AUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aubench.detectors.detector import Detector

__all__ = ["load_detector"]


def load_detector(name: str = "nano-a", device: str = "cpu") -> Detector:
    """Load a shipped detector; see `aubench.detectors.detector.load`."""
    from aubench.detectors.detector import load

    return load(name, device)
