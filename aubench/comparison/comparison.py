"""Two run folders side by side: metrics, AUs, combinations, and the samples that differ most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aubench.comparison.difference import (
    Difference,
    Vector,
    corrected,
    of_f1,
    of_means,
    of_replicates,
    of_sums,
    of_terms,
)
from aubench.comparison.runs import Run
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.metrics import registry
from aubench.metrics.action_units.au_scores import AuScores
from aubench.metrics.action_units.au_skill import AuSkill, reading_of, skill_by_au
from aubench.metrics.evaluation_data import EvaluationData
from aubench.metrics.metric import Metric
from aubench.metrics.statistics.resampling import resamples

FAMILY = ("aaad_second", "aaad")
"""The score by which combinations and strata are compared, the first that there is: AAAD by the
independent detector, or by the only one."""
MINIMUM = 20
"""A combination of fewer samples is not tested."""


@dataclass(frozen=True)
class Comparison:
    """What differs between two runs.

    Attributes:
        metrics: Alone, each with its own p.
        aus: F1 of each AU by the second detector, a family.
        skills: AU skill of each AU by the second detector, a family.
        combinations: AAAD by the second detector of each combination of enough samples, a family.
        strata: The same of each stratum of the protocol, a family.
        skipped: Metrics that cannot be compared, with the reason.
        by_sample: Per-sample values of both runs [N], by metric.
    """

    first: Run
    second: Run
    metrics: list[Difference]
    aus: list[Difference]
    skills: list[Difference]
    combinations: list[Difference]
    strata: list[Difference]
    skipped: dict[str, str]
    by_sample: dict[str, tuple[Vector, Vector]]
    found: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]] | None

    @property
    def names(self) -> tuple[str, str]:
        """What the two runs are called: by model, or by folder where the models have one name."""
        runs = (self.first, self.second)
        ways = (
            [run.name for run in runs],
            [run.folder.path.resolve().name for run in runs],
            [str(run.folder.path) for run in runs],
        )
        one, two = next((pair for pair in ways if pair[0] != pair[1]), ways[1])
        return one, two

    def report(self) -> dict[str, Any]:
        """Return what ``compare.json`` holds."""
        return {
            "first": _about(self.first),
            "second": _about(self.second),
            "protocol": self.first.record.protocol.model_dump(),
            "differences": "first - second; intervals 95 %, by subject, 1000 resamples, seed 2020",
            "metrics": [asdict(d) for d in self.metrics],
            "aus": [asdict(d) for d in self.aus],
            "skills": [asdict(d) for d in self.skills],
            "combinations": [asdict(d) for d in self.combinations],
            "strata": [asdict(d) for d in self.strata],
            "skipped": self.skipped,
        }


def _about(run: Run) -> dict[str, str | None]:
    return {
        "model": run.name,
        "images_sha256": run.record.provenance.images_sha256,
        "weights_sha256": run.record.model.weights_sha256,
    }


def check(first: Run, second: Run, protocol: str | None = None) -> None:
    """Refuse runs that are not of the same samples.

    Raises:
        AubenchError: Says what differs.
    """
    for run in (first, second):
        if protocol is not None and run.protocol.name != protocol:
            raise AubenchError(
                f"{run.folder.path} is of protocol '{run.protocol.name}', not '{protocol}'"
            )
    one, two = first.record.protocol, second.record.protocol
    if one.sha256 != two.sha256:
        raise AubenchError(
            f"protocols differ: {one.name} and {two.name}", "compare runs of one protocol"
        )
    if first.ids != second.ids:
        raise AubenchError(
            "the runs are not of the same samples", "compare runs of one --limit and --seed"
        )


def compare(first: Run, second: Run, minimum: int = MINIMUM) -> Comparison:
    """Return the paired differences of two runs.

    Args:
        first: A run.
        second: Another, of the same samples.
        minimum: Samples of a combination to be tested.

    Raises:
        AubenchError: They are not of the same samples, or features are missing.
    """
    check(first, second)
    shared = set(first.metrics()) & set(second.metrics())
    metrics = [one for one in registry.installed() if one.name in shared and one.comparable]
    names = [one.name for one in metrics]
    a, b = first.evaluation_data(names), second.evaluation_data(names)
    found: list[Difference] = []
    samples: dict[str, tuple[Vector, Vector]] = {}
    for metric in metrics:
        more, values = _compared(metric, a, b)
        found += more
        samples |= values
    skipped = _skipped(first, second, [d.name for d in found])
    samples = {name: pair for name, pair in samples.items() if name not in skipped}
    families: dict[str, list[Difference]] = {"combination": [], "strata": []}
    by = next((name for name in FAMILY if name in samples), None)
    if by is not None:
        frame = first.samples.frame
        for column in families:
            parts = [str(name) for name in frame[column]]
            if len(set(parts)) > 1:
                families[column] = _family(samples[by], parts, a.subjects, minimum)
    seen = _detected(a, b)
    aus: list[Difference] = []
    if seen is not None and AuScores.name in names:
        labels = a.labels_for(a.independent_detector)
        aus = of_f1(*seen, labels, a.subjects, [f"AU{au}" for au in AUS])
    return Comparison(
        first,
        second,
        [d for d in found if d.name not in skipped],
        aus,
        _skills(a, b) if seen is not None and AuSkill.name in names else [],
        families["combination"],
        families["strata"],
        skipped,
        samples,
        seen,
    )


Samples = dict[str, tuple[Vector, Vector]]


def _compared(
    metric: Metric, a: EvaluationData, b: EvaluationData
) -> tuple[list[Difference], Samples]:
    """Return the differences of the scores of one metric, and its per-sample values.

    A score of the whole set has no interval where the generators failed on different samples.
    """
    one, two = metric.per_sample(a), metric.per_sample(b)
    same, out, samples = np.array_equal(a.generated_rows, b.generated_rows), [], Samples()
    for name in (name for name in one if name in two):
        facts, pair = metric.scores[name], (one[name], two[name])
        if not facts.whole_set:
            samples[name] = pair
        elif not same:
            values = [float(np.nanmean(part)) for part in pair]
            out.append(_unpaired(name, values, a, higher=facts.higher_is_better))
            continue
        out.append(_known(name, pair, a.subjects, facts.higher_is_better))
    out += _by_sums(metric, a, b, without=set(one))
    return out + _by_resamples(metric, a, b, same=same), samples


def _unpaired(name: str, values: Sequence[float], a: EvaluationData, *, higher: bool) -> Difference:
    subjects = a.generated_subjects()
    draws = np.zeros(0)
    return of_replicates(
        name, values[0], values[1], draws, len(subjects), len(set(subjects)), higher=higher
    )


def _by_sums(
    metric: Metric, a: EvaluationData, b: EvaluationData, without: set[str]
) -> list[Difference]:
    """Return the differences of scores that are ratios of sums over subjects."""
    one, two = metric.subject_sums(a), metric.subject_sums(b)
    return [
        of_sums(name, one[name], two[name], len(a), higher=metric.scores[name].higher_is_better)
        for name in one
        if name in two and name not in without
    ]


def _by_resamples(
    metric: Metric, a: EvaluationData, b: EvaluationData, *, same: bool
) -> list[Difference]:
    """Return the differences of scores that are no means, with both runs resampled alike."""
    subjects = a.generated_subjects()
    several = len(set(subjects))
    draws = resamples(subjects, 200) if same and several > 1 else []
    one, two = metric.resampled(a, draws), metric.resampled(b, draws)
    out = []
    for name in (name for name in one if name in two):
        values = one[name].value, two[name].value
        gaps = np.zeros(0)
        if draws:
            gaps = one[name].replicates - two[name].replicates
            gaps = values[0] - values[1] + gaps - gaps.mean()
        higher = metric.scores[name].higher_is_better
        out.append(of_replicates(name, *values, gaps, len(subjects), several, higher=higher))
    return out


def _known(
    name: str, pair: tuple[Vector, Vector], subjects: Sequence[str], higher: bool
) -> Difference:
    """Return the difference over the samples that have a value in both runs."""
    rows = np.flatnonzero(np.isfinite(pair[0]) & np.isfinite(pair[1]))
    who = [subjects[int(i)] for i in rows]
    return of_means(name, pair[0][rows], pair[1][rows], who, higher=higher)


def _detected(
    a: EvaluationData, b: EvaluationData
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]] | None:
    """Return the AUs that the independent detector finds, None where none has looked."""
    if a.independent_detector not in a.generated or b.independent_detector not in b.generated:
        return None
    return a.detected(a.independent_detector), b.detected(b.independent_detector)


def _skills(a: EvaluationData, b: EvaluationData) -> list[Difference]:
    """Return the differences of AU skill of each AU by the independent detector."""
    one, two = reading_of(a, a.independent_detector), reading_of(b, b.independent_detector)
    subjects = [a.subjects[i] for i in one.rows]
    sums = [skill_by_au(each.made, each.labels, subjects) for each in (one, two)]
    return of_terms(sums[0], sums[1], one.labels, subjects, [f"AU{au}" for au in AUS])


def _skipped(first: Run, second: Run, names: Sequence[str]) -> dict[str, str]:
    """Return the metrics whose ids differ between the two records."""
    out = {}
    for name in names:
        one, two = first.record.score(name), second.record.score(name)
        if one is not None and two is not None and one.id != two.id:
            out[name] = f"measured differently: {one.id} and {two.id}"
    return out


def _family(
    pair: tuple[Vector, Vector], names: Sequence[str], subjects: Sequence[str], minimum: int
) -> list[Difference]:
    array, out = np.asarray(names), []
    for name in sorted(set(names)):
        rows = [int(i) for i in np.nonzero(array == name)[0]]
        if len(rows) < minimum:
            continue
        who = [subjects[i] for i in rows]
        chosen = pair[0][rows], pair[1][rows]
        if len(set(who)) > 1 and np.isfinite(chosen[0]).any():
            out.append(_known(name, chosen, who, True))
    return corrected(out)


def most_different(pair: tuple[Vector, Vector], count: int) -> list[int]:
    """Return rows by the size of the difference: where the first is higher, then where it is lower.

    Half each, or more of one where the other has too few; rows that do not differ are left out.
    """
    gap = pair[0] - pair[1]
    high = [int(i) for i in np.argsort(-gap, kind="stable") if gap[i] > 0]
    low = [int(i) for i in np.argsort(gap, kind="stable") if gap[i] < 0]
    some = min(len(low), max(count // 2, count - len(high)))
    return high[: count - some] + low[:some]
