"""Other metrics in groups of subjects: age, sex, skin tone, whatever the data set knows of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from aubench.metrics.metric import Metric, Need, ScoreFacts
from aubench.metrics.statistics.groups import GroupScore, SubjectSums, compare_group, holm

if TYPE_CHECKING:
    from aubench.metrics.evaluation_data import EvaluationData
    from aubench.records.record import ScoreRow

LEVEL = 0.05
"""Adjusted p below which a difference is marked."""


@dataclass(frozen=True)
class _Split:
    """A score of another metric as sums over subjects."""

    metric: Metric
    name: str
    sums: SubjectSums


class SubjectGroups(Metric):
    """The scores of the other metrics of a run in groups of subjects."""

    name = "groups"
    order = 115
    needs: ClassVar[frozenset[Need]] = frozenset({Need.ATTRIBUTES})
    scores: ClassVar[Mapping[str, ScoreFacts]] = {
        "groups": ScoreFacts("by group of subjects", True)
    }

    def lacks(self, others: Sequence[Metric]) -> str | None:
        """Return what helps where no other metric falls apart over subjects."""
        if any(other.splits for other in others):
            return None
        return "it shows other metrics by group of subjects; name some, such as --metrics au,groups"

    def score(self, data: EvaluationData) -> list[ScoreRow]:
        """Return no row of its own but the reason where nothing is known of the subjects."""
        if data.attributes:
            return []
        return self.without_value(data, "the data set knows no attribute of its subjects")

    def groups(
        self, data: EvaluationData, others: Sequence[Metric]
    ) -> Mapping[str, list[ScoreRow]]:
        """Return the scores of each group, by ``attribute=group``.

        Each group is compared with all other subjects; p-values are adjusted for all comparisons
        of the run. Distances have no value of their own in a group, whose reference set is smaller:
        a group's is the mean of its samples' contributions to the distance of all.
        """
        found: list[tuple[str, _Split, GroupScore]] = []
        tests: dict[tuple[str, ...], float] = {}
        places = []
        where = {name: i for i, name in enumerate(data.subjects)}
        for split in _splits(data, others):
            for attribute, groups in data.attributes.items():
                own = np.array([groups[where[name]] for name in split.sums.subjects])
                names = sorted(set(groups))
                for name in names:
                    score = compare_group(split.sums, own == name)
                    found.append((f"{attribute}={name}", split, score))
                    # Of two groups the second repeats the first with the sign turned: one test.
                    places.append((split.name, attribute, *([name] if len(names) != 2 else [])))
                    tests.setdefault(places[-1], score.p)
        adjusted = dict(zip(tests, holm(list(tests.values())), strict=True))
        out: dict[str, list[ScoreRow]] = {}
        for (name, split, score), place in zip(found, places, strict=True):
            out.setdefault(name, []).append(_row(data, name, split, score, adjusted[place]))
        return out


def _splits(data: EvaluationData, others: Sequence[Metric]) -> Iterator[_Split]:
    """Yield every score that falls apart over subjects."""
    for metric in others:
        for name, sums in metric.subject_sums(data).items():
            yield _Split(metric, name, sums)


def _row(data: EvaluationData, name: str, split: _Split, score: GroupScore, p: float) -> ScoreRow:
    attribute, _, group = name.partition("=")
    n = data.attributes[attribute].count(group)
    note = score.reason or (
        f"{score.difference:+.3g} against the others, adjusted p {p:.3f}, {score.subjects} subjects"
    )
    if np.isfinite(p) and p < LEVEL:
        note = f"differs: {note}"
    if split.metric.scores[split.name].whole_set:
        note = f"{note}; contribution"
    id_ = f"{split.name}|{name}|ref={data.reference_set}|n={n}"
    return split.metric.row(split.name, id_, score.value, n, ci=score.ci, note=note)
