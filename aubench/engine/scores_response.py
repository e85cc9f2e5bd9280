"""Scores of how a face follows commanded intensities, by the second detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from aubench.detectors.intensity import IntensityScale, evidence
from aubench.engine.choices import SECOND
from aubench.engine.commanded import Commanded
from aubench.engine.measured import Measured
from aubench.engine.rows import failed_note, row
from aubench.facs import AUS, parse_aus
from aubench.metrics import response as curves
from aubench.metrics.au_scores import mean_of
from aubench.metrics.bootstrap import bootstrap, bootstrap_mean
from aubench.record import ScoreRow

Vector = npt.NDArray[np.float64]

SWEEP, GRID = tuple(range(6)), (0, 1, 3, 5)
"""Levels of a sweep, and of each side of a grid."""
NO_SCALE = f"no scale of intensities for these weights; python -m aubench.calibration {SECOND}"
WORST = "farthest from the command"
RISING = {"spearman": True, "linearity": True, "violations": False}
"""Metrics of the shape of a sweep, and whether higher is better."""


@dataclass(frozen=True)
class Read:
    """What the detector reads in one set of faces.

    Attributes:
        logits: evidence float64 [N, 12].
        levels: estimated intensities float64 [N, 12].
    """

    logits: Vector
    levels: Vector


@dataclass(frozen=True)
class Series:
    """Samples that differ in commanded levels alone.

    Attributes:
        rows: of the samples int64 [S, L] or [S, A, B], -1 where there is none.
        subjects: of each [S].
    """

    rows: npt.NDArray[np.int64]
    subjects: list[str]

    def of(self, values: Vector) -> Vector:
        """Return values [N] in the shape of the series, NaN where there is no sample."""
        return np.where(self.rows >= 0, values[self.rows], np.nan)


def response(m: Measured) -> list[ScoreRow]:
    """Return agreement with known intensities; on a graded protocol also sweeps and grids."""
    c = m.commanded
    if c is None or not np.isfinite(c.intensities).any():
        return []
    if c.scale is None:
        return [row("intensity_icc", "intensity-icc", None, len(m.kept), up=True, note=NO_SCALE)]
    made, truth = _read(m, c, c.scale)
    rows = _agreement(m, c, c.scale, made, truth)
    if c.graded:
        rows += _sweeps(m, c, c.scale, made, truth) + _grids(m, c, c.scale, made, truth)
    return rows


def strata(m: Measured) -> dict[str, list[ScoreRow]]:
    """Return the response of each sweep and each grid of a graded protocol."""
    c = m.commanded
    if c is None or not c.graded or c.scale is None:
        return {}
    made, truth = _read(m, c, c.scale)
    out = {}
    for name in sorted(set(m.strata)):
        part = replace(m, strata=[s if s == name else "" for s in m.strata])
        if name.startswith("sweep "):
            found = _sweeps(part, c, c.scale, made, truth)
            out[name] = [r for r in found if r.metric in ("spearman", "response_icc")]
        else:
            out[name] = _grids(part, c, c.scale, made, truth)
    return out


def _read(m: Measured, c: Commanded, scale: IntensityScale) -> tuple[Read, Read]:
    """Return what is read in generated faces and in targets.

    A sample that the generator could not make shows each AU as far from the command as can be.
    """
    p = m.whole(m.second)
    made, truth = Read(evidence(p), scale(p)), m.targets[m.second]["probabilities"]
    failed = np.setdiff1d(np.arange(len(m.labels)), m.kept)
    weak = np.nan_to_num(c.intensities[failed], nan=0.0) < 2.5
    made.logits[failed] = np.where(weak, evidence(np.ones(1)), evidence(np.zeros(1)))
    made.levels[failed] = np.where(weak, 5.0, 0.0)
    return made, Read(evidence(truth), scale(truth))


def _about(m: Measured, scale: IntensityScale | None, n: int) -> str:
    suffix = f"+intensity@{scale.id}" if scale else "+logit"
    return f"{m.tags[m.second].split(' ')[0]}{suffix}|ref={m.ref}|n={n}"


def _note(m: Measured, *parts: str) -> str:
    return "; ".join(part for part in (*parts, failed_note(m, WORST)) if part)


def _agreement(
    m: Measured, c: Commanded, scale: IntensityScale, made: Read, truth: Read
) -> list[ScoreRow]:
    """Return ICC and error over all AUs whose intensity is known, in whatever protocol."""
    n, known = len(m.labels), c.intensities.astype(np.float64)
    by_au = curves.agreement(made.levels, known)
    lost = int(np.isnan(by_au).sum())
    error, reached = (curves.distance(read.levels, known) for read in (made, truth))
    told = "" if c.graded else "the texts tell no intensity"
    icc = f"targets reach {mean_of(curves.agreement(truth.levels, known)):.3f}"
    few = f"{lost} AUs of one intensity left out" if lost else ""

    def again(rows: npt.NDArray[np.int64]) -> float:
        return mean_of(curves.agreement(made.levels[rows], known[rows]))

    about = f"{_about(m, scale, n)}"
    return [
        row("intensity_icc", f"intensity-icc|{about}", mean_of(by_au), n, up=True,
            ci=bootstrap(again, m.subjects, count=200), note=_note(m, icc, few, told)),
        row("intensity_mae", f"intensity-mae|{about}", mean_of(error), n, up=False,
            ci=_interval(error, m.subjects),
            note=_note(m, f"targets reach {mean_of(reached):.3f}", told)),
    ]  # fmt: skip


def _interval(values: Vector, subjects: Sequence[str]) -> tuple[float, float] | None:
    kept = np.isfinite(values)
    if not kept.any():
        return None
    return bootstrap_mean(values[kept], [s for s, keep in zip(subjects, kept, strict=True) if keep])


def _series(m: Measured, c: Commanded, stratum: str) -> Series:
    """Return the series of a stratum, one for each subject and scene."""
    parts = [parse_aus(part) for part in stratum.partition(" ")[2].split(" x ")]
    levels, members = (SWEEP if len(parts) == 1 else GRID), [AUS.index(aus[0]) for aus in parts]
    here = [i for i, name in enumerate(m.strata) if name == stratum]
    scenes = {scene: k for k, scene in enumerate(dict.fromkeys(c.scenes[i] for i in here))}
    rows = np.full((len(scenes), *[len(levels)] * len(parts)), -1, np.int64)
    subjects = [""] * len(scenes)
    for i in here:
        cell = tuple(levels.index(int(c.intensities[i, k])) for k in members)
        at = scenes[c.scenes[i]]
        rows[(at, *cell)], subjects[at] = i, m.subjects[i]
    return Series(rows, subjects)


def _sweeps(
    m: Measured, c: Commanded, scale: IntensityScale, made: Read, truth: Read
) -> list[ScoreRow]:
    read = {"logits": made.logits, "levels": made.levels,
            "true logits": truth.logits, "true": truth.levels}  # fmt: skip
    parts: dict[str, list[Vector]] = {key: [] for key in read}
    subjects: list[str] = []
    aus: list[int] = []
    for name in sorted({s for s in m.strata if s.startswith("sweep ")}):
        k, series = AUS.index(int(name.split()[1])), _series(m, c, name)
        for key, values in read.items():
            parts[key].append(series.of(values[:, k]))
        subjects += series.subjects
        aus += [k] * len(series.subjects)
    if not aus:
        return []
    found = {key: np.concatenate(arrays) for key, arrays in parts.items()}
    shapes = _curves(m, scale, found, subjects)
    return shapes + _swept(m, scale, found["levels"], found["true"], np.array(aus), subjects)


@dataclass(frozen=True)
class _Shapes:
    """Shapes of sweeps: by metric one value a series [S], and the slope of each."""

    values: dict[str, Vector]
    slope: Vector

    @classmethod
    def of(cls, logits: Vector, levels: Vector) -> _Shapes:
        commanded = np.array(SWEEP, np.float64)
        slope, share = curves.line(levels, commanded)
        order, down = curves.rank_correlation(logits, commanded), curves.violations(logits)
        return cls({"spearman": order, "linearity": share, "violations": down}, slope)

    def reached(self, name: str) -> str:
        told = f"targets reach {mean_of(self.values[name]):.3f}"
        return told + (f", slope {mean_of(self.slope):.3f}" if name == "linearity" else "")


def _curves(
    m: Measured,
    scale: IntensityScale,
    found: dict[str, Vector],
    subjects: list[str],
) -> list[ScoreRow]:
    """Return order, line and steps down of all sweeps [S, 6]; flat ones count as no order."""
    made = _Shapes.of(found["logits"], found["levels"])
    truth = _Shapes.of(found["true logits"], found["true"])
    still = curves.flat(found["logits"])
    idle = f"{int(still.sum())} of {len(still)} series do not respond" if still.any() else ""
    rows = []
    for name, values in made.values.items():
        kept = np.isfinite(values)
        n = int(np.isfinite(found["levels"][kept]).sum())
        ordered = name == "violations" or not still.all()  # else an order of nothing
        value = float(values[kept].mean()) if kept.any() and ordered else None
        slope = f"slope {mean_of(made.slope):.3f}" if name == "linearity" else ""
        note = _note(m, slope, truth.reached(name), idle)
        used = scale if name == "linearity" else None
        rows.append(
            row(name, f"{name}|sweeps={int(kept.sum())}|{_about(m, used, n)}", value, n,
                up=RISING[name], note=note if kept.any() else "no series of enough levels",
                ci=_interval(values, subjects) if value is not None else None)
        )  # fmt: skip
    return rows


def _swept(
    m: Measured,
    scale: IntensityScale,
    levels: Vector,
    truth: Vector,
    aus: npt.NDArray[np.int64],
    subjects: list[str],
) -> list[ScoreRow]:
    """Return ICC and error of the swept AU alone, all levels equally often."""
    commanded = np.broadcast_to(np.array(SWEEP, np.float64), levels.shape)
    n = int(np.isfinite(levels).sum())

    def icc(values: Vector) -> Callable[[npt.NDArray[np.int64]], float]:
        def of(rows: npt.NDArray[np.int64]) -> float:
            parts = [rows[aus[rows] == k] for k in np.unique(aus)]
            return mean_of(np.concatenate([
                curves.agreement(values[part].reshape(-1, 1), commanded[part].reshape(-1, 1))
                for part in parts
            ]))  # fmt: skip

        return of

    every = np.arange(len(levels))
    error, reached = (curves.distance(values, commanded) for values in (levels, truth))
    about = _about(m, scale, n)
    return [
        row("response_icc", f"response-icc|{about}", icc(levels)(every), n, up=True,
            ci=bootstrap(icc(levels), subjects, count=200),
            note=_note(m, f"targets reach {icc(truth)(every):.3f}")),
        row("response_mae", f"response-mae|{about}", mean_of(error), n, up=False,
            ci=_interval(error, subjects), note=_note(m, f"targets reach {mean_of(reached):.3f}")),
    ]  # fmt: skip


def _grids(
    m: Measured, c: Commanded, scale: IntensityScale, made: Read, truth: Read
) -> list[ScoreRow]:
    errors: list[Vector] = []
    sizes: list[Vector] = []
    subjects: list[str] = []
    n = 0
    for name in sorted({s for s in m.strata if s.startswith("grid ")}):
        series = _series(m, c, name)
        n += int((series.rows >= 0).sum())
        for au in parse_aus(name.partition(" ")[2].replace(" x ", "+")):
            k = AUS.index(au)
            found, real = series.of(made.levels[:, k]), series.of(truth.levels[:, k])
            errors.append(curves.interaction_error(found, real))
            sizes.append(curves.interaction_size(real))
            subjects += series.subjects
    if not errors:
        return []
    values = np.concatenate(errors)
    size = mean_of(np.concatenate(sizes))
    note = (f"a face in which AUs only add up has {size:.3f}" if np.isfinite(values).any()
            else "no complete grid")  # fmt: skip
    return [
        row("interaction", f"interaction|{_about(m, scale, n)}", mean_of(values), n, up=False,
            ci=_interval(values, subjects), note=_note(m, note))
    ]  # fmt: skip
