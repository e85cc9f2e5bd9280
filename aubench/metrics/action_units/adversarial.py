"""Adversarial gap: what of AU skill is lost when a face is mildly purified.

A pattern that nobody sees can make a detector read any AU. JPEG of quality 75 and a blur of half a
pixel cost a drawn face little and such a pattern most of its effect. The targets lose something
too; what is lost beyond that is suspect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from aubench.metrics.action_units.au_skill import skill_sums
from aubench.metrics.metric import Metric, Need, ScoreFacts
from aubench.metrics.statistics.groups import SubjectSums
from aubench.metrics.statistics.resampling import draw_counts, interval
from aubench.networks.purification import PURIFIED

if TYPE_CHECKING:
    from aubench.metrics.evaluation_data import EvaluationData, PurifiedReadings
    from aubench.records.record import ScoreRow

MARGIN = 0.10
"""Loss of skill beyond the targets' that is flagged, three times what targets themselves were seen
to lose; a copy of the reference, which has no skill, loses none."""
SUSPECT = "suspect"
"""How the note of a flagged gap begins."""


@dataclass(frozen=True)
class Gap:
    """The loss of skill by purification, of generated images and of targets, by subject."""

    made: SubjectSums
    truth: SubjectSums

    @property
    def excess(self) -> SubjectSums:
        """What the generated images lose beyond the targets."""
        return SubjectSums(self.made.subjects, self.made.top - self.truth.top, self.made.bottom)


def gap_of(data: EvaluationData, reader: str, found: PurifiedReadings) -> Gap:
    """Return the loss of skill by one detector over the samples that it can judge."""
    rows, labels = data.readable_rows(reader), data.labels_for(reader).astype(np.int64)
    subjects = [data.subjects[i] for i in rows]
    made = np.zeros(labels.shape)
    made[data.generated_rows] = found.generated
    pairs = (
        (data.probabilities(reader), made),
        (data.targets[reader]["probabilities"], found.targets),
    )
    sides = []
    for plain, purified in pairs:
        before, after = (skill_sums(p[rows], labels[rows], subjects) for p in (plain, purified))
        sides.append(SubjectSums(before.subjects, before.top - after.top, before.bottom))
    return Gap(*sides)


class AdversarialGap(Metric):
    """AU skill lost by purification, by each detector that sees single faces."""

    name = "adversarial"
    order = 62
    needs: ClassVar[frozenset[Need]] = frozenset({Need.DETECTORS, Need.PURIFIED})
    scores: ClassVar[Mapping[str, ScoreFacts]] = {
        "adversarial_gap": ScoreFacts("adversarial gap", False),
        "adversarial_gap_second": ScoreFacts("adversarial gap, 2nd detector", False),
    }

    def score(self, data: EvaluationData) -> list[ScoreRow]:
        """Return the gap by both detectors; the note has the targets' and flags what is beyond."""
        reason = data.lacks_detector()
        if reason is not None:
            return self.without_value(data, reason)
        out = []
        readers = dict.fromkeys((data.primary_detector, data.independent_detector))
        for name, reader in zip(self.scores, readers, strict=False):
            found = data.purified.get(reader)
            if found is None:
                note = f"{reader} holds faces against references, which no purified ones are"
                out += self.without_value(data, note, (name,))
                continue
            out.append(self._row_of(data, name, reader, gap_of(data, reader, found)))
        return out

    def _row_of(self, data: EvaluationData, name: str, reader: str, gap: Gap) -> ScoreRow:
        count, n = len(gap.made.subjects), len(data.readable_rows(reader))
        one, draws = np.ones((1, count)), draw_counts(count, 1000)
        beyond = interval(gap.excess(draws)) if count > 1 else None
        note = f"targets lose {float(gap.truth(one)[0]):.3f}"
        if beyond is not None and beyond[0] > MARGIN:
            excess = float(gap.excess(one)[0])
            note = f"{SUSPECT}: {excess:.3f} more than the targets; {note}"
        return self.row(
            name,
            f"adversarial-gap|{data.network_id(reader)}|{PURIFIED}|commanded"
            f"|ref={data.reference_set}|n={n}",
            float(gap.made(one)[0]),
            n,
            ci=interval(gap.made(draws)) if count > 1 else None,
            note=note,
        )
