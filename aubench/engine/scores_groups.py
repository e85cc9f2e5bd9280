"""Scores in groups of subjects: age, sex, skin tone, whatever the data set knows of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aubench.engine.measured import Measured
from aubench.engine.rows import row
from aubench.engine.scores_au import off_target_shares, scaled_cosines
from aubench.engine.scores_identity import identity_cosines
from aubench.metrics.aaad import comparable
from aubench.metrics.groups import (
    GroupScore,
    SubjectSums,
    compare_group,
    f1_sums,
    holm,
    mean_sums,
)
from aubench.record import ScoreRow

Vector = npt.NDArray[np.float64]

LEVEL = 0.05
"""Adjusted p below which a difference is marked."""


@dataclass(frozen=True)
class _Split:
    metric: str
    up: bool
    sums: SubjectSums
    note: str = ""


def group_scores(m: Measured, metrics: Sequence[str]) -> dict[str, list[ScoreRow]]:
    """Return the scores of each group, by ``attribute=group``.

    Each group is compared with all other subjects; p-values are adjusted for all comparisons of
    the run. Distances have no value of their own in a group, whose reference set is smaller: a
    group's is the mean of its samples' contributions to the distance of all.
    """
    found: list[tuple[str, _Split, GroupScore]] = []
    tests: dict[tuple[str, ...], float] = {}
    places = []
    where = {name: i for i, name in enumerate(m.subjects)}
    for split in _splits(m, metrics):
        for attribute, groups in m.attributes.items():
            own = np.array([groups[where[name]] for name in split.sums.subjects])
            names = sorted(set(groups))
            for name in names:
                score = compare_group(split.sums, own == name)
                found.append((f"{attribute}={name}", split, score))
                # Of two groups the second repeats the first with the sign turned: one test.
                places.append((split.metric, attribute, *([name] if len(names) != 2 else [])))
                tests.setdefault(places[-1], score.p)
    adjusted = dict(zip(tests, holm(list(tests.values())), strict=True))
    out: dict[str, list[ScoreRow]] = {}
    for (name, split, score), place in zip(found, places, strict=True):
        out.setdefault(name, []).append(_row(m, name, split, score, adjusted[place]))
    return out


def _row(m: Measured, name: str, split: _Split, score: GroupScore, p: float) -> ScoreRow:
    n = _samples(m, name)
    note = score.reason or (
        f"{score.difference:+.3g} against the others, adjusted p {p:.3f}, {score.subjects} subjects"
    )
    if np.isfinite(p) and p < LEVEL:
        note = f"differs: {note}"
    id_ = f"{split.metric}|{name}|ref={m.ref}|n={n}"
    words = f"{note}; {split.note}" if split.note else note
    return row(split.metric, id_, score.value, n, up=split.up, ci=score.ci, note=words)


def _samples(m: Measured, name: str) -> int:
    attribute, _, group = name.partition("=")
    return m.attributes[attribute].count(group)


def _splits(m: Measured, metrics: Sequence[str]) -> Iterator[_Split]:
    """Yield every metric that was measured as sums over subjects."""
    for group in metrics:
        if group in SPLITS:
            yield from SPLITS[group](m)


def _fid(m: Measured) -> Iterator[_Split]:
    if not m.missing:
        values = m.frechet + m.frechet_influence
        yield _Split("fid", False, mean_sums(values, m.subjects_kept()), "contribution")


def _prdc(m: Measured) -> Iterator[_Split]:
    if not m.missing:
        near = m.near
        yield _Split("precision", True, mean_sums(near.precision(), m.subjects_kept()))
        yield _Split("density", True, mean_sums(near.density(), m.subjects_kept()))


def _aaad(m: Measured) -> Iterator[_Split]:
    asking = comparable(m.wanted)
    subjects = [m.subjects[i] for i in asking]
    for network, name in ((m.first, "aaad"), (m.second, "aaad_second")):
        values = scaled_cosines(m, network)[asking]
        yield _Split(name, True, mean_sums(values, subjects))


def _au(m: Measured) -> Iterator[_Split]:
    found = m.whole(m.second) >= m.thresholds[m.second]
    yield _Split("au_f1", True, f1_sums(found, m.labels, m.subjects))
    yield _Split("off_target", False, mean_sums(off_target_shares(m), m.subjects))


def _lpips(m: Measured) -> Iterator[_Split]:
    if "lpips" in m.pairs.values:
        yield _Split("lpips", False, mean_sums(m.paired("lpips", 1.0), m.subjects))


def _pixels(m: Measured) -> Iterator[_Split]:
    yield _Split("rms", False, mean_sums(m.paired("rms", 255.0), m.subjects))
    yield _Split("ssim", True, mean_sums(m.paired("ssim", 0.0), m.subjects))


def _change(m: Measured) -> Iterator[_Split]:
    asked = m.labels[m.kept].any(1)
    for name, metric, up in (("outside", "outside_change", False), ("locality", "locality", True)):
        values = np.where(asked, m.pairs.values[name], np.nan)
        yield _Split(metric, up, mean_sums(values, m.subjects_kept()))


def _identity(m: Measured) -> Iterator[_Split]:
    if m.references is not None:
        yield _Split("identity", True, mean_sums(identity_cosines(m), m.subjects))


SPLITS: dict[str, Callable[[Measured], Iterator[_Split]]] = {
    "fid": _fid, "prdc": _prdc, "lpips": _lpips, "pixels": _pixels, "change": _change,
    "aaad": _aaad, "au": _au, "identity": _identity,
}  # fmt: skip
"""How each metric group falls apart over subjects; KID, IS and rates over pairs do not."""
