"""KID: the kernel distance of generated images to the targets, of all pairs and of subsets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from aubench.metrics.distributions.fid import both_sided, distribution_id
from aubench.metrics.distributions.grams import grams_of
from aubench.metrics.distributions.kernel import KernelDistances, kernel_distances
from aubench.metrics.metric import Draws, Metric, Need, Resampled, ScoreFacts, Tolerance
from aubench.metrics.statistics.resampling import drawn_with

if TYPE_CHECKING:
    from aubench.metrics.evaluation_data import EvaluationData
    from aubench.records.record import ScoreRow


class KID(Metric):
    """The kernel distance: all pairs, and 100 subsets."""

    name = "kid"
    order = 20
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXTRACTOR})
    paper = True
    scores: ClassVar[Mapping[str, ScoreFacts]] = {
        "kid": ScoreFacts(
            "KID",
            False,
            digits=2,
            exponent=3,
            headline=True,
            in_paper=True,
            tolerance=Tolerance(1e-4, 1e-5),
        ),
        "kid_subset": ScoreFacts(
            "KID of subsets", False, digits=2, exponent=3, tolerance=Tolerance(1e-4, 1e-5)
        ),
    }

    def score(self, data: EvaluationData) -> list[ScoreRow]:
        """Return the distance over all pairs, and over subsets as other tools report it."""
        if "extractor" in data.unavailable:
            return self.without_value(data, data.unavailable["extractor"])
        n, found = len(data.generated_rows), distances_of(data)
        k, id_ = min(1000, n, len(data.subjects)), distribution_id(data)
        ends, note = both_sided(data, found)
        deviation = f"deviation of subsets {found.spread:.2g}"
        return [
            self.row("kid", f"kid|{id_}", found.value, n, ci=ends(found.value), note=note),
            # The same quantity; which subsets were drawn adds a tenth of their deviation.
            self.row(
                "kid_subset",
                f"kid-subset|{id_}|100x{k}|seed=2020",
                found.mean,
                n,
                ci=ends(found.mean),
                note="; ".join(filter(None, (deviation, note))),
            ),
        ]

    def resampled(self, data: EvaluationData, draws: Draws) -> Mapping[str, Resampled]:
        """Return the distance over all pairs, on resamples of the images with their targets."""
        if "extractor" in data.unavailable:
            return {}
        both, found = (
            drawn_with(draws, data.generated_subjects(), data.subjects),
            distances_of(data),
        )
        moved = both.moved(found.value, found.influence, found.other_influence)
        return {"kid": Resampled(found.value, moved)}


def distances_of(data: EvaluationData) -> KernelDistances:
    """Return the kernel distance to the targets, and what each image and target adds to it."""
    return data.once("kernel", lambda: kernel_distances(grams_of(data)))
