"""The installed AU detectors, ours and those of other packages, by their entry points.

An entry point of ``aubench.detectors`` holds a function ``(name, device, *, weights, **options)``
that returns a ``Detector``, or a ``PairedDetector`` if it reads a face against a reference. A name
may go on after a colon, ``me-graphau:resnet50``: what stands before it is looked up, the whole is
passed on.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.errors import AubenchError
from aubench.plugins import PluginGroup

if TYPE_CHECKING:
    from aubench.networks.detectors.detector import Detector, PairedDetector

GROUP = PluginGroup("aubench.detectors", "detector")

METHODS = ("probabilities", "features", "compare", "remarks")
"""What a detector is asked."""


def names() -> list[str]:
    """Return the names of the installed detectors, sorted; none is imported."""
    return GROUP.names()


def load(
    name: str = "nano-a", device: str = "cpu", *, weights: Path | str | None = None, **options: Any
) -> Detector:
    """Load a detector of single faces with its weights; as ``load_any``.

    Raises:
        AubenchError: It reads a face against a reference; or as ``load_any``.
    """
    from aubench.networks.detectors.detector import Detector

    found = load_any(name, device, weights=weights, **options)
    if not isinstance(found, Detector):
        raise AubenchError(
            f"detector '{name}' reads a face against its reference, and here faces have none",
            "name one that reads single faces, such as nano-a",
        )
    return found


def load_any(
    name: str, device: str = "cpu", *, weights: Path | str | None = None, **options: Any
) -> Detector | PairedDetector:
    """Load a detector of either kind with its weights.

    Args:
        name: Of an installed detector, perhaps with a variant after a colon.
        device: Torch device.
        weights: The file, where none is shipped or another is meant.
        options: Of the detector; those of our graph networks are ``aus`` and ``neighbours``.

    Raises:
        MissingWeightsError: Weights that are fetched were not.
        AubenchError: Unknown name, missing, truncated or foreign weights, wrong digest, wrong
            number of classes; a package is not installed.
    """
    from aubench.networks.detectors.detector import Detector, PairedDetector

    point = name.partition(":")[0]
    file = Path(weights) if weights is not None else None
    load_point = GROUP.load(point)
    with GROUP.calling(point, "loading"):
        found: Any = load_point(name, device, weights=file, **options)
    if not isinstance(found, Detector | PairedDetector):
        raise GROUP.wrong(point, "a function that returns an aubench Detector or PairedDetector")
    guarded: Detector | PairedDetector = GROUP.guarded(point, found, METHODS)
    return guarded
