"""What intensities the samples command, and what reads intensities from faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from aubench.datasets.samples import SampleSet
    from aubench.detectors.detector import Detector
    from aubench.detectors.intensity import IntensityScale
    from aubench.protocol import Protocol

RESPONSE = "response"


@dataclass(frozen=True)
class Commanded:
    """Commanded intensities of the samples.

    Attributes:
        intensities: float32 [N, 12] in 0..5, NaN where unknown.
        scenes: key of the reference face [N]; samples of a series share it.
        graded: whether the protocol tells intensities and holds sweeps and grids.
        scale: from the detector's probabilities to intensities, None where it has none.
    """

    intensities: npt.NDArray[np.float32]
    scenes: list[str]
    graded: bool
    scale: IntensityScale | None


def commanded(
    samples: SampleSet, protocol: Protocol, detectors: Sequence[Detector], metrics: Sequence[str]
) -> Commanded | None:
    """Return what ``response`` needs beside the detector's answers, None where not asked for.

    Args:
        samples: of the run.
        protocol: of the run.
        detectors: in use; the last one judges responses.
        metrics: asked for.
    """
    if RESPONSE not in metrics:
        return None
    from aubench.detectors.intensity import load_scale

    return Commanded(
        intensities=samples.intensities(),
        scenes=[str(key) for key in samples.frame["reference"]],
        graded=protocol.definition.graded,
        scale=load_scale(detectors[-1]) if detectors else None,
    )
