"""AU skill: how much nearer a face is to its command than a neutral one, on probabilities.

``1 - Σ(p - t)² / Σ t²`` over samples and AUs, p what a reader sees, t what was commanded: 1 is
perfect, 0 a neutral face by construction, below 0 worse than doing nothing. An added AU costs what
a missing one does; there is no threshold and no constant (the Brier skill score, against the
forecast of nothing).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from aubench.facs import AUS
from aubench.metrics.action_units.aaad import ONE
from aubench.metrics.action_units.au_scores import strata_of
from aubench.metrics.metric import (
    CORRELATION,
    INFINITY,
    Draws,
    Metric,
    Need,
    Resampled,
    ScoreFacts,
    failed_note,
)
from aubench.metrics.statistics.groups import SubjectSums
from aubench.metrics.statistics.means import row_means
from aubench.metrics.statistics.resampling import draw_counts, drawn_with, interval

if TYPE_CHECKING:
    from aubench.metrics.evaluation_data import EvaluationData
    from aubench.records.record import ScoreRow

Probabilities = npt.NDArray[np.floating[Any]]
Labels = npt.NDArray[np.integer[Any]]
Vector = npt.NDArray[np.float64]

RESAMPLES = 1000
LEAST = 0.1
"""A reader to whom the targets themselves show less skill cannot rank anything."""
DISAGREE = "families disagree"
"""How the note of the number that ranks begins where they do."""


def skill(p: Probabilities, labels: Labels) -> float:
    """Return AU skill of probabilities [N, 12] against labels [N, 12], negative ones left out.

    NaN where no AU is commanded.

    >>> skill(np.array([[1.0, 0.0]]), np.array([[1, 0]]))
    1.0
    >>> skill(np.zeros((1, 2)), np.array([[1, 0]])), skill(np.ones((1, 2)), np.array([[1, 0]]))
    (0.0, 0.0)
    """
    return float(skill_sums(p, labels, ["all"] * len(p))(np.ones((1, 1)))[0])


def skill_sums(p: Probabilities, labels: Labels, subjects: Sequence[str]) -> SubjectSums:
    """Return AU skill as sums over subjects; its one term pools all AUs."""
    each = skill_by_au(p, labels, subjects)
    return SubjectSums(each.subjects, each.top.sum(1)[:, None], each.bottom.sum(1)[:, None])


def skill_by_au(p: Probabilities, labels: Labels, subjects: Sequence[str]) -> SubjectSums:
    """Return t² - (p - t)² and t² summed over the samples of each subject, a term an AU."""
    names, member = np.unique(np.asarray(subjects), return_inverse=True)
    top, bottom = (np.zeros((len(names), labels.shape[1])) for _ in range(2))
    known, t = labels >= 0, np.maximum(labels, 0).astype(np.float64)
    np.add.at(top, member, np.where(known, t**2 - (p.astype(np.float64) - t) ** 2, 0))
    np.add.at(bottom, member, t**2)
    return SubjectSums([str(name) for name in names], top, bottom)


@dataclass(frozen=True)
class CorrelationSums:
    """What the correlation of each AU's probabilities with its labels is made of.

    Attributes:
        moments: By subject, sums of 1, p, t, p², t² and pt, float64 [6, S, 12].
    """

    moments: Vector

    @classmethod
    def of(cls, p: Probabilities, labels: Labels, subjects: Sequence[str]) -> CorrelationSums:
        """Return the sums of probabilities [N, 12] and labels [N, 12], negative ones left out."""
        names, member = np.unique(np.asarray(subjects), return_inverse=True)
        known = (labels >= 0).astype(np.float64)
        x, t = p * known, np.maximum(labels, 0).astype(np.float64)
        out = np.zeros((6, len(names), labels.shape[1]))
        for k, values in enumerate((known, x, t, x * x, t * t, x * t)):
            np.add.at(out[k], member, values)
        return cls(out)

    def __call__(self, weights: Vector) -> Vector:
        """Return the mean over AUs of Pearson's r for weights of subjects [R, S]: [R].

        An AU that a reader sees alike in all faces has 0; one that is commanded in none or in all
        has no part in the mean.
        """
        n, x, t, xx, tt, xt = (weights @ part for part in self.moments)
        n = np.maximum(n, 1e-12)
        spread = np.clip(xx - x * x / n, 0, None), np.clip(tt - t * t / n, 0, None)
        flat = spread[0] <= 1e-9 * np.maximum(xx, 1e-12)
        root = np.sqrt(spread[0] * spread[1])
        r = np.divide(xt - x * t / n, root, out=np.zeros_like(root), where=~flat & (root > 0))
        return row_means(np.where(spread[1] > 1e-9, r, np.nan))


def correlation(p: Probabilities, labels: Labels) -> float:
    """Return the mean over AUs of Pearson's r of probabilities and labels, [N, 12] both.

    >>> labels = np.array([[1, 0], [0, 1]])
    >>> correlation(0.1 + 0.2 * labels, labels)  # blind to base rates
    1.0
    """
    sums = CorrelationSums.of(p, labels, ["all"] * len(p))
    return round(float(sums(np.ones((1, 1)))[0]), 12)


@dataclass(frozen=True)
class Reading:
    """What a reader sees of all samples that it can judge, M of N.

    Attributes:
        reader: Its name.
        family: What it was trained on: ``renderer`` or ``photographs``.
        rows: Which samples, int64 [M].
        labels: Commanded AUs [M, 12], -1 where it does not know the AU.
        made: Probabilities of the generated images [M, 12], 0 where the generator failed.
        truth: Of the targets [M, 12].
    """

    reader: str
    family: str
    rows: npt.NDArray[np.int64]
    labels: Labels
    made: Vector
    truth: Vector


def reading_of(data: EvaluationData, reader: str) -> Reading:
    """Return what a reader sees.

    One that holds a face against its reference gives some probability to a face that did not move;
    that is its zero: (p - p₀) / (1 - p₀), at least 0.
    """
    rows = data.readable_rows(reader)
    still = data.unmoved.get(reader)

    def less(p: Probabilities) -> Vector:
        values: Vector = np.asarray(p, np.float64)
        if still is not None:
            zero = still.astype(np.float64)
            values = np.clip((values - zero) / np.maximum(1 - zero, 1e-6), 0, 1)
        return np.where(np.isfinite(values), values, 0.0)[rows]

    labels = data.labels_for(reader)[rows].astype(np.int64)
    family = data.families.get(reader, "")
    made, truth = less(data.probabilities(reader)), less(data.targets[reader]["probabilities"])
    return Reading(reader, family, rows, labels, made, truth)


class AuSkill(Metric):
    """AU skill by each reader, and the smallest share of the targets' over families of readers."""

    name = "skill"
    quick = True
    order = 5
    needs: ClassVar[frozenset[Need]] = frozenset({Need.DETECTORS})
    paper = True
    scores: ClassVar[Mapping[str, ScoreFacts]] = {
        "au_skill": ScoreFacts(
            "AU skill", True, headline=True
        ),  # a share, of more than 1 if clearer
        "au_skill_first": ScoreFacts("AU skill, 1st detector", True, bounds=(-INFINITY, 1.0)),
        "au_skill_second": ScoreFacts(
            "AU skill, 2nd detector", True, headline=True, bounds=(-INFINITY, 1.0)
        ),
        "au_skill_witness": ScoreFacts(
            "AU skill, witness", True, headline=True, bounds=(-INFINITY, 1.0)
        ),
        "au_pearson_first": ScoreFacts("AU correlation, 1st detector", True, bounds=CORRELATION),
        "au_pearson_second": ScoreFacts("AU correlation, 2nd detector", True, bounds=CORRELATION),
        "au_pearson_witness": ScoreFacts("AU correlation, witness", True, bounds=CORRELATION),
    }

    def score(self, data: EvaluationData) -> list[ScoreRow]:
        """Return the number that ranks, then skill and correlation by each reader."""
        out = [self._smallest(data)]
        for tail, reader in data.readers().items():
            out += self._by(data, tail, reading_of(data, reader))
        reason = data.lacks_detector()
        if reason is not None:
            out += self.without_value(data, reason, ("au_skill_first", "au_skill_second"))
        elif data.independent_detector == data.primary_detector:
            out += self.without_value(data, ONE, ("au_skill_second",))
        if not data.witness and "witness" in data.unavailable:
            out += self.without_value(data, data.unavailable["witness"], ("au_skill_witness",))
        return out

    def _by(self, data: EvaluationData, tail: str, seen: Reading) -> list[ScoreRow]:
        subjects, n, id_ = [data.subjects[i] for i in seen.rows], len(seen.rows), _id(data, seen)
        made, truth = (skill_sums(p, seen.labels, subjects) for p in (seen.made, seen.truth))
        notes = [data.detector_note(seen.reader), failed_note(data, "neutral faces")]
        reached = _whole(truth)
        if reached > LEAST:
            share = SubjectSums(made.subjects, made.top, truth.top)
            text = f"targets reach {reached:.3f}; share {_whole(share):.3f}"
            notes.insert(0, text + _brackets(_interval(share)))
        else:
            notes.insert(0, f"targets reach only {reached:.3f}")
        rows = [
            self.row(
                f"au_skill_{tail}",
                f"au-skill|{id_}",
                _whole(made),
                n,
                ci=_interval(made),
                note="; ".join(filter(None, notes)),
            )
        ]
        sums, best = (CorrelationSums.of(p, seen.labels, subjects) for p in (seen.made, seen.truth))
        one = np.ones((1, len(made.subjects)))
        drawn = draw_counts(len(made.subjects), RESAMPLES)
        rows.append(
            self.row(
                f"au_pearson_{tail}",
                f"au-correlation|{id_}",
                float(sums(one)[0]),
                n,
                ci=interval(sums(drawn)) if len(made.subjects) > 1 else None,
                note=f"targets reach {float(best(one)[0]):.3f}",
            )
        )
        return rows

    def _smallest(self, data: EvaluationData) -> ScoreRow:
        """Return the smallest share over families, and where they disagree."""
        found, weak = families_of(data)
        n = len(data)
        if not found:
            reason = data.lacks_detector() or data.unavailable.get("witness", "")
            note = f"the targets show {weak[0]} too little" if weak else reason or "no reader"
            return self.row("au_skill", "au-skill-share", None, n, note=note)
        draws = draw_counts(len(found[0].made), RESAMPLES)
        values = {one.name: float(one(np.ones((1, len(one.made))))[0]) for one in found}
        drawn = {one.name: one(draws) for one in found}
        readers = ",".join(_named(data, name) for one in found for name in one.readers)
        id_ = f"au-skill-share|{readers}|commanded|ref={data.reference_set}|n={n}"
        ci = _ends(np.min(list(drawn.values()), 0), len(found[0].made))
        each = ", ".join(
            f"{name} {values[name]:.3f}{_brackets(_ends(drawn[name], len(draws[0])))}"
            for name in values
        )
        notes = [f"smallest share over families of readers: {each}"]
        if len(found) > 1:
            low, high = min(values, key=lambda k: values[k]), max(values, key=lambda k: values[k])
            ends = _ends(drawn[high] - drawn[low], len(draws[0]))
            if ends is not None and ends[0] > 0:
                notes.insert(0, DISAGREE)
        else:
            notes.append("one family alone")
        notes += [f"the targets show {name} too little" for name in weak]
        if not data.witness and "witness" in data.unavailable:
            notes.append(data.unavailable["witness"])
        return self.row("au_skill", id_, min(values.values()), n, ci=ci, note="; ".join(notes))

    def subject_sums(self, data: EvaluationData) -> Mapping[str, SubjectSums]:
        """Return AU skill by each reader as sums over subjects."""
        out = {}
        for tail, reader in data.readers().items():
            seen = reading_of(data, reader)
            subjects = [data.subjects[i] for i in seen.rows]
            out[f"au_skill_{tail}"] = skill_sums(seen.made, seen.labels, subjects)
        return out

    def resampled(self, data: EvaluationData, draws: Draws) -> Mapping[str, Resampled]:
        """Return the number that ranks on resamples of the subjects."""
        found, _ = families_of(data)
        if not found:
            return {}
        names = sorted(set(data.subjects))
        weights = drawn_with(draws, data.generated_subjects(), names).second
        value = min(float(one(np.ones((1, len(names))))[0]) for one in found)
        return {"au_skill": Resampled(value, np.min([one(weights) for one in found], 0))}

    def strata(self, data: EvaluationData) -> Mapping[str, list[ScoreRow]]:
        """Return AU skill of each AU and in each stratum, by each reader."""
        out: dict[str, list[ScoreRow]] = {}
        for tail, reader in data.readers().items():
            seen = reading_of(data, reader)
            subjects = np.asarray(data.subjects)[seen.rows]
            each = skill_by_au(seen.made, seen.labels, list(subjects))
            for k, au in enumerate(AUS):
                if (seen.labels[:, k] >= 0).any():
                    n = int((seen.labels[:, k] == 1).sum())
                    row = self._part(data, seen, tail, each.term(k), f"AU{au}", n)
                    out.setdefault(f"AU{au}", []).append(row)
            for name, every in strata_of(data).items():
                at = np.flatnonzero(np.isin(seen.rows, every))
                sums = skill_sums(seen.made[at], seen.labels[at], list(subjects[at]))
                row = self._part(data, seen, tail, sums, name, len(at))
                out.setdefault(name, []).append(row)
        return out

    def _part(
        self, data: EvaluationData, seen: Reading, tail: str, sums: SubjectSums, name: str, n: int
    ) -> ScoreRow:
        id_ = f"au-skill/{name}|{_id(data, seen)}"
        if not len(sums.subjects):
            return self.row(f"au_skill_{tail}", id_, None, n, note="no sample that it can judge")
        return self.row(f"au_skill_{tail}", id_, _whole(sums), n, ci=_interval(sums))


@dataclass(frozen=True)
class Family:
    """The readers of one family, each as the share of the targets' skill that a run reaches.

    Attributes:
        name: Of the family.
        readers: Names of its readers.
        made: Skill of the generated images times its norm, float64 [S, K], a column a reader.
        truth: The same of the targets.
    """

    name: str
    readers: tuple[str, ...]
    made: Vector
    truth: Vector

    def __call__(self, weights: Vector) -> Vector:
        """Return the smallest share over its readers for weights of subjects [R, S]: [R]."""
        top, bottom = weights @ self.made, weights @ self.truth
        share = np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)
        return np.asarray(share.min(1), np.float64)


def families_of(data: EvaluationData) -> tuple[list[Family], list[str]]:
    """Return the families of readers, and the readers to whom the targets show too little."""
    names, weak = sorted(set(data.subjects)), []
    place = {name: i for i, name in enumerate(names)}
    columns: dict[str, list[tuple[str, Vector, Vector]]] = {}
    for reader in data.readers().values():
        seen = reading_of(data, reader)
        subjects = [data.subjects[i] for i in seen.rows]
        truth = skill_sums(seen.truth, seen.labels, subjects)
        if not _whole(truth) > LEAST:
            weak.append(reader)
            continue
        made = skill_sums(seen.made, seen.labels, subjects)
        at = [place[name] for name in made.subjects]
        sides = np.zeros((2, len(names)))
        sides[0, at], sides[1, at] = made.top[:, 0], truth.top[:, 0]
        columns.setdefault(seen.family or reader, []).append((reader, sides[0], sides[1]))
    found = [
        Family(
            name,
            tuple(reader for reader, _, _ in parts),
            np.stack([one for _, one, _ in parts], 1),
            np.stack([other for _, _, other in parts], 1),
        )
        for name, parts in columns.items()
    ]
    return found, weak


def _whole(sums: SubjectSums) -> float:
    return float(sums(np.ones((1, len(sums.subjects))))[0])


def _interval(sums: SubjectSums) -> tuple[float, float] | None:
    return _ends(sums(draw_counts(len(sums.subjects), RESAMPLES)), len(sums.subjects))


def _ends(values: Vector, subjects: int) -> tuple[float, float] | None:
    return interval(values) if subjects > 1 else None


def _brackets(ends: tuple[float, float] | None) -> str:
    return f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else ""


def _named(data: EvaluationData, reader: str) -> str:
    """Return the id of a reader, with the AUs that it does not know and what its zero is."""
    masked = [str(au) for au, known in zip(AUS, data.knows(reader), strict=True) if not known]
    without = f"-without-AU{'+'.join(masked)}" if masked else ""
    return data.network_id(reader) + without + ("-less-unmoved" if reader in data.unmoved else "")


def _id(data: EvaluationData, seen: Reading) -> str:
    about = f"commanded|ref={data.reference_set}|n={len(seen.rows)}"
    return f"{_named(data, seen.reader)}|{about}"
