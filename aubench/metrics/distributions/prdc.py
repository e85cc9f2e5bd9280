"""Precision, recall, density and coverage of generated images among the targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from aubench.metrics.distributions.fid import distribution_id
from aubench.metrics.distributions.grams import grams_of
from aubench.metrics.distributions.neighbourhoods import Neighbourhoods, gram_neighbourhoods
from aubench.metrics.metric import DISTANCE, SHARE, Metric, Need, ScoreFacts, Tolerance
from aubench.metrics.statistics.resampling import bootstrap_mean, recentred, resamples

if TYPE_CHECKING:
    from aubench.metrics.evaluation_data import EvaluationData
    from aubench.records.record import ScoreRow

Vector = npt.NDArray[np.float64]


class PRDC(Metric):
    """Precision and recall, density and coverage, by the fifth neighbour."""

    name = "prdc"
    order = 70
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXTRACTOR})
    paper = True
    scores: ClassVar[Mapping[str, ScoreFacts]] = {
        "precision": ScoreFacts(
            "precision", True, tolerance=Tolerance(0, 5e-3, counted=True), bounds=SHARE
        ),
        "recall": ScoreFacts(
            "recall", True, tolerance=Tolerance(0, 0.01, counted=True), bounds=SHARE
        ),
        "density": ScoreFacts(
            "density", True, tolerance=Tolerance(0, 5e-3, counted=True), bounds=DISTANCE
        ),
        "coverage": ScoreFacts(
            "coverage", True, tolerance=Tolerance(0, 0.01, counted=True), bounds=SHARE
        ),
    }

    def score(self, data: EvaluationData) -> list[ScoreRow]:
        """Return the four shares with their intervals."""
        if "extractor" in data.unavailable:
            return self.without_value(data, data.unavailable["extractor"])
        near, subjects = neighbourhoods_of(data), data.generated_subjects()
        values = near.scores()
        draws = resamples(subjects, 200) if len(set(subjects)) > 1 else []
        recall, coverage = near.replicates(draws) if draws else (np.zeros(0), np.zeros(0))
        intervals = {
            "precision": bootstrap_mean(near.precision(), subjects),
            "density": bootstrap_mean(near.density(), subjects),
            "recall": recentred(recall, values["recall"]),
            "coverage": recentred(coverage, values["coverage"]),
        }
        n, id_ = len(data.generated_rows), distribution_id(data)
        return [
            self.row(name, f"{name}|{id_}|k=5", values[name], n, ci=intervals[name])
            for name in self.scores
        ]

    def per_sample(self, data: EvaluationData) -> Mapping[str, Vector]:
        """Return precision and density of each generated image."""
        if "extractor" in data.unavailable:
            return {}
        near = neighbourhoods_of(data)
        return {
            "precision": data.spread(near.precision(), np.nan),
            "density": data.spread(near.density(), np.nan),
        }


def neighbourhoods_of(data: EvaluationData) -> Neighbourhoods:
    """Return which generated images and targets lie near each other."""
    return data.once("neighbourhoods", lambda: gram_neighbourhoods(grams_of(data)))
