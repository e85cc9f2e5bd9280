"""FID: the Fréchet distance of generated images to the targets, and its limit for infinite N."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from aubench.metrics.distributions.frechet import Frechet, frechet, gram_frechet_infinity
from aubench.metrics.distributions.grams import grams_of
from aubench.metrics.metric import DISTANCE, Metric, Need, ScoreFacts, Tolerance
from aubench.metrics.statistics.resampling import interval, resample_both

if TYPE_CHECKING:
    from aubench.metrics.distributions.kernel import KernelDistances
    from aubench.metrics.evaluation_data import EvaluationData
    from aubench.records.record import ScoreRow

Vector = npt.NDArray[np.float64]


class FID(Metric):
    """The Fréchet distance, whole and extrapolated."""

    name = "fid"
    quick = True
    order = 10
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXTRACTOR})
    paper = True
    scores: ClassVar[Mapping[str, ScoreFacts]] = {
        "fid": ScoreFacts(
            "FID",
            False,
            digits=2,
            headline=True,
            in_paper=True,
            whole_set=True,
            tolerance=Tolerance(1e-4, 0.01),
            bounds=DISTANCE,
        ),
        "fd_inf": ScoreFacts("FD∞", False, digits=2, tolerance=Tolerance(1e-4, 0.02)),
    }

    def score(self, data: EvaluationData) -> list[ScoreRow]:
        """Return the distance and its limit."""
        if "extractor" in data.unavailable:
            return self.without_value(data, data.unavailable["extractor"])
        n, found = len(data.generated_rows), distance_of(data)
        limit, id_ = _limit(data), distribution_id(data)
        ends, note = both_sided(data, found)
        return [
            self.row(
                "fid",
                f"fid|{id_}",
                found.value,
                n,
                note="; ".join(filter(None, ("biased at this N", note))),
                ci=ends(found.value),
            ),
            # Samples move both alike; the noise of the fitted line comes on top.
            self.row(
                "fd_inf",
                f"fd-inf|{id_}|points=8|seed=2020",
                limit,
                n,
                ci=ends(limit),
                note="; ".join(filter(None, (note, "without the fit's noise"))),
            ),
        ]

    def per_sample(self, data: EvaluationData) -> Mapping[str, Vector]:
        """Return what each sample contributes, its image and its target; the mean is the distance.

        NaN where the generator failed.
        """
        if "extractor" in data.unavailable:
            return {}
        found = distance_of(data)
        effect = found.influence + found.other_influence[data.generated_rows]
        return {"fid": data.spread(found.value + effect - effect.mean(), np.nan)}


def both_sided(
    data: EvaluationData, found: Frechet | KernelDistances
) -> tuple[Callable[[float], tuple[float, float] | None], str]:
    """Return the interval of a value by the influences of a distance, and what it resamples."""
    both = resample_both(data.generated_subjects(), data.subjects, 1000)
    if both is None:
        return (lambda _: None), ""
    spread = both.moved(0.0, found.influence, found.other_influence)
    return (lambda value: interval(value + spread)), both.note


def distribution_id(data: EvaluationData) -> str:
    """Return the part of a metric id that names extractor, reference set and N."""
    return f"{data.extractor}|ref={data.reference_set}|n={len(data.generated_rows)}"


def distance_of(data: EvaluationData) -> Frechet:
    """Return the Fréchet distance to the targets, and what each image and target adds to it."""
    return data.once("frechet", lambda: frechet(*data.extracted("features")))


def _limit(data: EvaluationData) -> float:
    return gram_frechet_infinity(grams_of(data), whole=distance_of(data).value)
