"""AU detectors: images to the probabilities of the twelve AUs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aubench.detectors.detector import Detector

__all__ = ["load_detector"]


def load_detector(
    name: str = "nano-a", device: str = "cpu", *, weights: Path | str | None = None, **options: Any
) -> Detector:
    """Load a detector; see `aubench.detectors.detector.load` for names and options."""
    from aubench.detectors.detector import load

    return load(name, device, weights=weights, **options)
