"""Control: how often AUs are found that were not commanded, beyond those of real faces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from aubench.facs import AUS
from aubench.metrics.action_units.au_scores import (
    average_precision,
    commanded_id,
    leakage_matrix,
    precision_replicates,
    ranked_interval,
)
from aubench.metrics.metric import SHARE, Metric, Need, ScoreFacts
from aubench.metrics.statistics.means import mean_of
from aubench.metrics.statistics.resampling import bootstrap
from aubench.storage.files import write_text

if TYPE_CHECKING:
    from aubench.metrics.evaluation_data import EvaluationData
    from aubench.records.record import ScoreRow


class Control(Metric):
    """Average precision of commanded AUs, and the leakage beyond that of the targets."""

    name = "control"
    order = 80
    needs: ClassVar[frozenset[Need]] = frozenset({Need.DETECTORS})
    files: ClassVar[tuple[str, ...]] = ("leakage.csv",)
    scores: ClassVar[Mapping[str, ScoreFacts]] = {
        "au_ap": ScoreFacts("AU average precision", True, bounds=SHARE),
        "leakage": ScoreFacts("leakage beyond targets", False),
    }

    def score(self, data: EvaluationData) -> list[ScoreRow]:
        """Return average precision and leakage by the independent detector."""
        reason = data.lacks_detector()
        if reason is not None:
            return self.without_value(data, reason)
        judge = data.independent_detector
        judged, id_ = data.judged(judge), commanded_id(data, judge)
        found, truth = found_and_truth(data)
        n = len(judged)

        def excess(rows: npt.NDArray[np.int64]) -> float:
            labels = judged.labels[rows]
            gap = leakage_matrix(found[rows], labels) - leakage_matrix(truth[rows], labels)
            return mean_of(gap[~np.eye(len(AUS), dtype=bool)])

        return [
            self.row(
                "au_ap",
                f"ap|{id_}",
                mean_of(average_precision(judged.probabilities, judged.labels)),
                n,
                ci=ranked_interval(data, judge, precision_replicates),
                note=data.detector_note(judge),
            ),
            self.row(
                "leakage",
                f"leakage-beyond-targets|{id_}",
                excess(np.arange(n)),
                n,
                ci=bootstrap(excess, judged.subjects, count=200),
                note="by pair: leakage.csv",
            ),
        ]

    def artefacts(self, data: EvaluationData, folder: Path) -> list[Path]:
        """Write ``leakage.csv``, where a detector has looked."""
        if data.lacks_detector():
            return []
        write_text(folder / "leakage.csv", leakage_table(data))
        return [folder / "leakage.csv"]


def found_and_truth(data: EvaluationData) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return what the independent detector finds in generated images and targets, bool [M, 12].

    Of the samples that it can judge. A failed one shows none of what was asked for and all of what
    was not.
    """
    judged = data.judged(data.independent_detector)
    found = judged.found.copy()
    found[judged.failed] = judged.labels[judged.failed] == 0
    return found, judged.found_in_targets


def leakage_table(data: EvaluationData) -> str:
    """Return the matrices as text: a row for each commanded AU, of images and of targets."""
    labels = data.judged(data.independent_detector).labels
    lines = ["of,commanded," + ",".join(f"AU{au}" for au in AUS)]
    for of, found in zip(("generated", "targets"), found_and_truth(data), strict=True):
        for au, rates in zip(AUS, leakage_matrix(found, labels), strict=True):
            cells = ("" if np.isnan(value) else f"{value:.4f}" for value in rates)
            lines.append(f"{of},AU{au}," + ",".join(cells))
    return "\n".join(lines) + "\n"
