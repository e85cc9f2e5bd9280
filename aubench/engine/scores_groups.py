"""Scores in groups of subjects: age, sex, skin tone, whatever the data set knows of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aubench.engine.measured import Measured
from aubench.engine.rows import row
from aubench.engine.scores_identity import identity_cosines
from aubench.metrics import aaad as aaad_module
from aubench.metrics import au_scores
from aubench.metrics.frechet import frechet_distance, frechet_influence
from aubench.metrics.groups import (
    GroupScore,
    SubjectSums,
    compare_group,
    f1_sums,
    holm,
    mean_sums,
)
from aubench.metrics.prdc import neighbourhoods
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
    for split in _splits(m, metrics):
        who = dict(zip(m.subjects, range(len(m.subjects)), strict=True))
        for attribute, groups in m.attributes.items():
            own = np.array([groups[who[name]] for name in split.sums.subjects])
            names = sorted(set(groups))
            # Of two groups the second repeats the first with the sign turned: no second test.
            for name in names:
                found.append((f"{attribute}={name}", split, compare_group(split.sums, own == name)))
    tested = _distinct([name for name, _, _ in found], [score.p for _, _, score in found])
    out: dict[str, list[ScoreRow]] = {}
    for (name, split, score), p in zip(found, tested, strict=True):
        out.setdefault(name, []).append(_row(m, name, split, score, p))
    return out


def _distinct(names: Sequence[str], p: Sequence[float]) -> list[float]:
    """Return p adjusted by Holm, counting the two halves of an attribute as one comparison."""
    attributes = [name.split("=")[0] for name in names]
    halves = {a for a in attributes if len({n for n in names if n.startswith(f"{a}=")}) == 2}
    first = [
        a not in halves or name == min(n for n in names if n.startswith(f"{a}="))
        for a, name in zip(attributes, names, strict=True)
    ]
    adjusted = holm([value if own else float("nan") for value, own in zip(p, first, strict=True)])
    last: dict[str, list[float]] = {}
    out = []
    for attribute, own, value in zip(attributes, first, adjusted, strict=True):
        if own:
            last.setdefault(attribute, []).append(value)
            out.append(value)
        else:
            out.append(last[attribute][-1])
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
        yield from SPLITS.get(group, _none)(m)


def _none(m: Measured) -> Iterator[_Split]:
    yield from ()


def _fid(m: Measured) -> Iterator[_Split]:
    if not m.missing:
        made, real = m.extracted("features")
        values = frechet_distance(made, real) + frechet_influence(made, real)
        yield _Split("fid", False, mean_sums(values, m.subjects_kept()), "contribution")


def _prdc(m: Measured) -> Iterator[_Split]:
    if not m.missing:
        made, real = m.extracted("features")
        near = neighbourhoods(real, made)
        yield _Split("precision", True, mean_sums(near.precision(), m.subjects_kept()))
        yield _Split("density", True, mean_sums(near.density(), m.subjects_kept()))


def _aaad(m: Measured) -> Iterator[_Split]:
    rows = aaad_module.comparable(m.wanted)
    subjects = [m.subjects[i] for i in rows]
    for network, name in ((m.first, "aaad"), (m.second, "aaad_second")):
        scale, _ = m.scale(network)
        cosine = aaad_module.cosines(m.whole(network)[rows], m.wanted[rows])
        values = (cosine - scale.low) / (scale.high - scale.low)
        yield _Split(name, True, mean_sums(values, subjects))


def _au(m: Measured) -> Iterator[_Split]:
    found = m.whole(m.second) >= m.thresholds[m.second]
    yield _Split("au_f1", True, f1_sums(found, m.labels, m.subjects))
    leak = au_scores.off_target(found, m.labels)
    leak[np.setdiff1d(np.arange(len(leak)), m.kept)] = 1
    yield _Split("off_target", False, mean_sums(leak, m.subjects))


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
