"""How a face follows a commanded intensity: order, line, steps down, and what two AUs do together.

Functions of responses in series: [S, L] holds S series of L rising levels, each one subject in one
scene; [S, A, B] holds S grids of two groups of AUs. NaN is a sample that was not asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from aubench.facs import AUS, parse_aus
from aubench.metrics.action_units.au_scores import icc
from aubench.metrics.evaluation_data import CommandedIntensities, EvaluationData
from aubench.metrics.metric import (
    CORRELATION,
    DISTANCE,
    SHARE,
    Metric,
    Need,
    ProtocolFacts,
    ScoreFacts,
    failed_note,
)
from aubench.metrics.statistics.means import mean_of, row_means
from aubench.metrics.statistics.resampling import bootstrap, bootstrap_mean
from aubench.storage.files import write_text

if TYPE_CHECKING:
    from aubench.networks.detectors.intensity import IntensityScale
    from aubench.records.record import ScoreRow

Floats = npt.NDArray[np.floating[Any]]
Vector = npt.NDArray[np.float64]

FLAT = 1e-4
"""Responses that differ by no more are equal: far under any step, over the rounding of float32."""


def flat(response: Floats) -> npt.NDArray[np.bool_]:
    """Return which series [S] do not respond at all: all their values [S, L] are equal.

    >>> flat(np.array([[1.0, 1.0], [1.0, 2.0]])).tolist()
    [True, False]
    """
    known = np.isfinite(response)
    high = np.where(known, response, -np.inf).max(1)
    low = np.where(known, response, np.inf).min(1)
    return np.asarray((known.sum(1) > 0) & (high - low <= FLAT))


def rank_correlation(response: Floats, levels: Floats) -> Vector:
    """Return Spearman's correlation of each series with its levels, float64 [S] in -1..1.

    Equal values share the mean of their ranks. 0 for a flat series, which orders nothing; NaN
    for one of fewer than three samples.

    Args:
        response: [S, L], NaN where there is no sample.
        levels: Commanded intensities [L].

    >>> rank_correlation(np.array([[0.0, 1.0, 5.0]]), np.arange(3)).round(6).tolist()
    [1.0]
    """
    from scipy.stats import rankdata

    out = np.full(len(response), np.nan)
    for i, values in enumerate(np.asarray(response, np.float64)):
        known = np.isfinite(values)
        if known.sum() >= 3:
            a, b = rankdata(_stepped(values[known])), rankdata(np.asarray(levels)[known])
            out[i] = np.corrcoef(a, b)[0, 1] if np.ptp(a) and np.ptp(b) else 0.0
    return out


def _stepped(values: Vector) -> Vector:
    """Return values [L] in which those that differ by no more than FLAT are the same."""
    order = np.argsort(values, kind="stable")
    step = np.cumsum(np.diff(values[order], prepend=values[order[:1]]) > FLAT)
    out = np.empty(len(values))
    out[order] = step
    return out


def line(response: Floats, levels: Floats) -> tuple[Vector, Vector]:
    """Return slope and share of variance R² of a straight line through each series, both [S].

    R² is in 0..1; 0 for a flat series and for one that falls, which no line up explains. NaN for
    a series of fewer than three samples.

    Args:
        response: Intensities [S, L], NaN where there is no sample.
        levels: Commanded intensities [L].

    >>> slope, share = line(np.array([[0.0, 2.0, 4.0]]), np.arange(3))
    >>> slope.tolist(), share.tolist()
    ([2.0], [1.0])
    """
    known = np.isfinite(response)
    count = known.sum(1)
    enough = count >= 3
    n = np.maximum(count, 1)[:, None]
    x = np.where(known, np.asarray(levels, np.float64)[None], 0.0)
    y = np.where(known, response, 0.0).astype(np.float64)
    dx = np.where(known, x - x.sum(1, keepdims=True) / n, 0.0)
    dy = np.where(known, y - y.sum(1, keepdims=True) / n, 0.0)
    sxx, sxy, syy = (dx * dx).sum(1), (dx * dy).sum(1), (dy * dy).sum(1)
    slope = np.divide(sxy, sxx, out=np.full(len(sxx), np.nan), where=enough & (sxx > 0))
    moves = enough & (sxx > 0) & ~flat(response)
    share = np.divide(sxy**2, sxx * syy, out=np.zeros(len(sxx)), where=moves & (sxy > 0))
    return slope, np.where(enough, share, np.nan)


def violations(response: Floats) -> Vector:
    """Return the share of adjacent levels at which each series goes down, [S] in 0..1.

    A step that changes nothing counts half, so that a flat series gets 0.5 as a random one does.
    NaN for a series without two adjacent samples.

    Args:
        response: [S, L], levels rising, NaN where there is no sample.

    >>> violations(np.array([[0.0, 2.0, 1.0]])).tolist()
    [0.5]
    """
    step = np.diff(np.asarray(response, np.float64), axis=1)
    known = np.isfinite(step)
    bad = np.where(step < -FLAT, 1.0, np.where(step <= FLAT, 0.5, 0.0)) * known
    count = known.sum(1)
    out = np.full(len(count), np.nan)
    return np.asarray(np.divide(bad.sum(1), count, out=out, where=count > 0))


def interaction(response: Floats) -> Vector:
    """Return what two groups do together beyond the sum of both: [S, A-1, B-1] of [S, A, B].

    R(a, b) - R(a, 0) - R(0, b) + R(0, 0), the interaction contrast of a two-way layout.

    >>> interaction(np.array([[[0.0, 1.0], [2.0, 5.0]]])).tolist()
    [[[2.0]]]
    """
    r = np.asarray(response, np.float64)
    return np.asarray(r[:, 1:, 1:] - r[:, 1:, :1] - r[:, :1, 1:] + r[:, :1, :1])


def interaction_error(response: Floats, truth: Floats) -> Vector:
    """Return the mean distance of the interactions of grids [S, A, B] from the truth's, [S].

    In levels of intensity; 0 is best. NaN where a grid has no complete contrast.

    >>> flat, both = np.zeros((1, 2, 2)), np.array([[[0.0, 0.0], [0.0, 3.0]]])
    >>> interaction_error(flat, both).tolist()
    [3.0]
    """
    return _means(np.abs(interaction(response) - interaction(truth)))


def interaction_size(truth: Floats) -> Vector:
    """Return the error [S] of a face in which groups only add up, for grids [S, A, B]."""
    return _means(np.abs(interaction(truth)))


def _means(values: Vector) -> Vector:
    """Return the mean of each entry of the first axis over what is known, [S]."""
    return row_means(values.reshape(len(values), -1))


def agreement(found: Floats, intensities: Floats) -> Vector:
    """Return ICC(3,1) of estimated and commanded intensities of each AU, [K].

    Two-way mixed, consistency, single rater (Shrout and Fleiss, 1979): a constant offset costs
    nothing. NaN for an AU whose commanded intensity is unknown, or the same in all samples.

    Args:
        found: Estimates [N, K], NaN where there is none.
        intensities: Commanded [N, K], 0 to 5, NaN where unknown.

    >>> levels = np.array([[0.0], [3.0], [5.0]])
    >>> agreement(levels + 1, levels).round(6).tolist()
    [1.0]
    """
    out = np.full(found.shape[1], np.nan)
    for k in range(found.shape[1]):
        known = np.isfinite(found[:, k]) & np.isfinite(intensities[:, k])
        x, y = found[known, k].astype(np.float64), intensities[known, k].astype(np.float64)
        if len(y) > 1 and np.ptp(y) > 0:
            out[k] = icc(x, y)
    return out


def distance(found: Floats, intensities: Floats) -> Vector:
    """Return the mean absolute error of each sample over its known AUs, [N] in 0..5.

    Args:
        found: Estimates [N, K], NaN where there is none.
        intensities: Commanded [N, K], 0 to 5, NaN where unknown.

    >>> distance(np.array([[1.0, 4.0]]), np.array([[0.0, np.nan]])).tolist()
    [1.0]
    """
    return _means(np.abs(np.asarray(found, np.float64) - intensities))


SWEEP, GRID = tuple(range(6)), (0, 1, 3, 5)
"""Levels of a sweep, and of each side of a grid."""
NO_SCALE = (
    "no scale of intensities for these weights; python -m aubench._maintain.intensity_scale nano-b"
)
WORST = "farthest from the command"


@dataclass(frozen=True)
class Curve:
    """What a reader sees of one AU along its sweeps.

    Attributes:
        au: Number of the AU.
        made: Probabilities of the generated faces [S, 6], NaN where there is no sample.
        truth: Of the targets [S, 6].
        subjects: Subjects of the sweeps [S].
    """

    au: int
    made: Vector
    truth: Vector
    subjects: list[str]


def curves_of(data: EvaluationData, c: CommandedIntensities, reader: str) -> list[Curve]:
    """Return the sweeps of AUs that a reader knows as it sees them; a failed sample shows none."""
    out = []
    made, truth = data.probabilities(reader), data.targets[reader]["probabilities"]
    readable = np.isin(np.arange(len(data)), data.readable_rows(reader))
    for name in sorted({s for s in data.strata if s.startswith("sweep ")}):
        au = int(name.split()[1])
        k, series = AUS.index(au), _series(data, c, name)
        if data.knows(reader)[k]:
            shown, real = (
                series.of(np.where(readable, p[:, k].astype(np.float64), np.nan))
                for p in (made, truth)
            )
            out.append(Curve(au, shown, real, series.subjects))
    return out


def response_table(data: EvaluationData, c: CommandedIntensities) -> str:
    """Return the mean probability of each swept AU by level and reader, as CSV."""
    lines = ["reader,AU,level,generated,target"]
    readers = dict.fromkeys((data.primary_detector, data.independent_detector, data.witness))
    for reader in filter(None, readers):
        for one in curves_of(data, c, reader):
            for level in SWEEP:
                cells = (one.made[:, level], one.truth[:, level])
                means = ",".join("" if np.isnan(v) else f"{v:.4f}" for v in map(mean_of, cells))
                lines.append(f"{reader},AU{one.au},{level},{means}")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Read:
    """What the detector reads in one set of faces.

    Attributes:
        logits: Evidence float64 [N, 12].
        levels: Estimated intensities float64 [N, 12].
    """

    logits: Vector
    levels: Vector


@dataclass(frozen=True)
class Series:
    """Samples that differ in commanded levels alone.

    Attributes:
        rows: Rows of the samples int64 [S, L] or [S, A, B], -1 where there is none.
        subjects: Subjects of each [S].
    """

    rows: npt.NDArray[np.int64]
    subjects: list[str]

    def of(self, values: Vector) -> Vector:
        """Return values [N] in the shape of the series, NaN where there is no sample."""
        return np.where(self.rows >= 0, values[self.rows], np.nan)


NO_INTENSITIES = "no intensities are known for its samples"


class Response(Metric):
    """Agreement with known intensities; on a graded protocol also sweeps and grids."""

    name = "response"
    order = 140
    needs: ClassVar[frozenset[Need]] = frozenset({Need.DETECTORS, Need.INTENSITIES})
    with_intensities = True
    unprobed = "the response to graded intensities"
    scores: ClassVar[Mapping[str, ScoreFacts]] = {
        "intensity_icc": ScoreFacts("intensity ICC(3,1)", True, bounds=CORRELATION),
        "intensity_mae": ScoreFacts("intensity MAE", False, unit="levels", bounds=DISTANCE),
        "spearman": ScoreFacts("response: Spearman", True, bounds=CORRELATION),
        "linearity": ScoreFacts("response: linearity R²", True),
        "violations": ScoreFacts("response: steps down", False, bounds=SHARE),
        "response_icc": ScoreFacts("response: ICC(3,1)", True, bounds=CORRELATION),
        "response_mae": ScoreFacts("response: MAE", False, unit="levels", bounds=DISTANCE),
        "interaction": ScoreFacts(
            "response: interaction error", False, unit="levels", bounds=DISTANCE
        ),
        "spearman_witness": ScoreFacts("response: Spearman, witness", True, bounds=CORRELATION),
        "violations_witness": ScoreFacts("response: steps down, witness", False, bounds=SHARE),
    }
    files: ClassVar[tuple[str, ...]] = ("response.csv",)

    def applies(self, protocol: ProtocolFacts) -> str | None:
        """Return why nothing can be said of a protocol whose samples tell no intensities."""
        known = np.isfinite(protocol.samples().intensities()).any()
        return None if known else NO_INTENSITIES

    def score(self, data: EvaluationData) -> list[ScoreRow]:
        """Return agreement; where the protocol is graded, the shapes of sweeps and grids too."""
        c = data.commanded
        if c is None or not np.isfinite(c.intensities).any():
            return self.without_value(data, NO_INTENSITIES, ("intensity_icc",))
        reason = data.lacks_detector()
        if reason is not None:
            return self.without_value(data, reason, ("intensity_icc",))
        if c.scale is None:
            n = len(data.generated_rows)
            bare = self.row("intensity_icc", "intensity-icc", None, n, note=NO_SCALE)
            return [bare, *(self._by_witness(data, c) if c.graded else [])]
        made, truth = _read(data, c, c.scale)
        rows = self._agreement(data, c, c.scale, made, truth)
        if c.graded:
            rows += self._sweeps(data, c, c.scale, made, truth)
            rows += self._grids(data, c, c.scale, made, truth)
            rows += self._by_witness(data, c)
        return rows

    def _by_witness(self, data: EvaluationData, c: CommandedIntensities) -> list[ScoreRow]:
        """Return order and steps down of the sweeps of AUs that the witness knows."""
        from aubench.networks.detectors.intensity import evidence

        names = ("spearman_witness", "violations_witness")
        if not data.witness:
            reason = data.unavailable.get("witness")
            return self.without_value(data, reason, names) if reason else []
        curves = [one for one in curves_of(data, c, data.witness) if len(one.made)]
        if not curves:
            return []
        levels = np.array(SWEEP, np.float64)
        # Evidence, as of the detectors: probabilities near 1 would tie.
        made, truth = (
            evidence(np.concatenate([getattr(o, side) for o in curves]))
            for side in ("made", "truth")
        )
        subjects = [subject for one in curves for subject in one.subjects]
        id_ = f"{data.network_id(data.witness)}|sweeps={len(made)}|ref={data.reference_set}"
        still, notes = flat(made), [data.detector_note(data.witness)]
        if still.any():
            notes.append(f"{int(still.sum())} of {len(still)} series do not respond")
        out = []
        for name, values, best in (
            (names[0], rank_correlation(made, levels), rank_correlation(truth, levels)),
            (names[1], violations(made), violations(truth)),
        ):
            reached = f"targets reach {mean_of(best):.3f}"
            out.append(
                self.row(
                    name,
                    f"{name.replace('_', '-')}|{id_}",
                    mean_of(values),
                    int(np.isfinite(made).sum()),
                    ci=_interval(values, subjects),
                    note=_note(data, reached, *notes),
                )
            )
        return out

    def artefacts(self, data: EvaluationData, folder: Path) -> list[Path]:
        """Write ``response.csv``, the mean curves by reader, of a protocol with sweeps."""
        c = data.commanded
        if c is None or not c.graded or data.lacks_detector():
            return []
        write_text(folder / "response.csv", response_table(data, c))
        return [folder / "response.csv"]

    def strata(self, data: EvaluationData) -> dict[str, list[ScoreRow]]:
        """Return the response of each sweep and each grid of a graded protocol."""
        c = data.commanded
        if c is None or not c.graded or c.scale is None:
            return {}
        made, truth = _read(data, c, c.scale)
        out = {}
        for name in sorted(set(data.strata)):
            part = replace(data, strata=[s if s == name else "" for s in data.strata])
            if name.startswith("sweep "):
                found = self._sweeps(part, c, c.scale, made, truth)
                out[name] = [r for r in found if r.metric in ("spearman", "response_icc")]
            else:
                out[name] = self._grids(part, c, c.scale, made, truth)
        return out

    def _agreement(
        self,
        data: EvaluationData,
        c: CommandedIntensities,
        scale: IntensityScale,
        made: Read,
        truth: Read,
    ) -> list[ScoreRow]:
        """Return ICC and error over all AUs whose intensity is known, in whatever protocol."""
        n, known = len(data.labels), c.intensities.astype(np.float64)
        by_au = agreement(made.levels, known)
        lost = int(np.isnan(by_au).sum())
        error, reached = (distance(read.levels, known) for read in (made, truth))
        remark = "" if c.graded else "the texts tell no intensity"
        icc = f"targets reach {mean_of(agreement(truth.levels, known)):.3f}"
        few = f"{lost} AUs of one intensity left out" if lost else ""

        def again(rows: npt.NDArray[np.int64]) -> float:
            return mean_of(agreement(made.levels[rows], known[rows]))

        about = f"{_about(data, scale, n)}"
        return [
            self.row(
                "intensity_icc",
                f"intensity-icc|{about}",
                mean_of(by_au),
                n,
                ci=bootstrap(again, data.subjects, count=200),
                note=_note(data, icc, few, remark),
            ),
            self.row(
                "intensity_mae",
                f"intensity-mae|{about}",
                mean_of(error),
                n,
                ci=_interval(error, data.subjects),
                note=_note(data, f"targets reach {mean_of(reached):.3f}", remark),
            ),
        ]

    def _sweeps(
        self,
        data: EvaluationData,
        c: CommandedIntensities,
        scale: IntensityScale,
        made: Read,
        truth: Read,
    ) -> list[ScoreRow]:
        read = {
            "logits": made.logits,
            "levels": made.levels,
            "true logits": truth.logits,
            "true": truth.levels,
        }
        parts: dict[str, list[Vector]] = {key: [] for key in read}
        subjects: list[str] = []
        aus: list[int] = []
        for name in sorted({s for s in data.strata if s.startswith("sweep ")}):
            k, series = AUS.index(int(name.split()[1])), _series(data, c, name)
            for key, values in read.items():
                parts[key].append(series.of(values[:, k]))
            subjects += series.subjects
            aus += [k] * len(series.subjects)
        if not aus:
            return []
        found = {key: np.concatenate(arrays) for key, arrays in parts.items()}
        shapes = self._curves(data, scale, found, subjects)
        return shapes + self._swept(
            data, scale, found["levels"], found["true"], np.array(aus), subjects
        )

    def _curves(
        self,
        data: EvaluationData,
        scale: IntensityScale,
        found: dict[str, Vector],
        subjects: list[str],
    ) -> list[ScoreRow]:
        """Return order, line and steps down of all sweeps [S, 6]; flat ones count as no order."""
        made = _Shapes.of(found["logits"], found["levels"])
        truth = _Shapes.of(found["true logits"], found["true"])
        still = flat(found["logits"])
        idle = f"{int(still.sum())} of {len(still)} series do not respond" if still.any() else ""
        rows = []
        for name, values in made.values.items():
            kept = np.isfinite(values)
            n = int(np.isfinite(found["levels"][kept]).sum())
            ordered = name == "violations" or not still.all()  # else an order of nothing
            value = float(values[kept].mean()) if kept.any() and ordered else None
            slope = f"slope {mean_of(made.slope):.3f}" if name == "linearity" else ""
            note = _note(data, slope, truth.reached(name), idle)
            used = scale if name == "linearity" else None
            id_ = f"{name}|sweeps={int(kept.sum())}|{_about(data, used, n)}"
            rows.append(
                self.row(
                    name,
                    id_,
                    value,
                    n,
                    note=note if kept.any() else "no series of enough levels",
                    ci=_interval(values, subjects) if value is not None else None,
                )
            )
        return rows

    def _swept(
        self,
        data: EvaluationData,
        scale: IntensityScale,
        levels: Vector,
        truth: Vector,
        aus: npt.NDArray[np.int64],
        subjects: list[str],
    ) -> list[ScoreRow]:
        """Return ICC and error of the swept AU alone, all levels equally often."""
        commanded = np.broadcast_to(np.array(SWEEP, np.float64), levels.shape)
        n = int(np.isfinite(levels).sum())

        def mean_icc(values: Vector) -> Callable[[npt.NDArray[np.int64]], float]:
            def of(rows: npt.NDArray[np.int64]) -> float:
                parts = [rows[aus[rows] == k] for k in np.unique(aus)]
                return mean_of(
                    np.concatenate(
                        [
                            agreement(values[part].reshape(-1, 1), commanded[part].reshape(-1, 1))
                            for part in parts
                        ]
                    )
                )

            return of

        every = np.arange(len(levels))
        error, reached = (distance(values, commanded) for values in (levels, truth))
        about = _about(data, scale, n)
        return [
            self.row(
                "response_icc",
                f"response-icc|{about}",
                mean_icc(levels)(every),
                n,
                ci=bootstrap(mean_icc(levels), subjects, count=200),
                note=_note(data, f"targets reach {mean_icc(truth)(every):.3f}"),
            ),
            self.row(
                "response_mae",
                f"response-mae|{about}",
                mean_of(error),
                n,
                ci=_interval(error, subjects),
                note=_note(data, f"targets reach {mean_of(reached):.3f}"),
            ),
        ]

    def _grids(
        self,
        data: EvaluationData,
        c: CommandedIntensities,
        scale: IntensityScale,
        made: Read,
        truth: Read,
    ) -> list[ScoreRow]:
        errors: list[Vector] = []
        sizes: list[Vector] = []
        subjects: list[str] = []
        n = 0
        for name in sorted({s for s in data.strata if s.startswith("grid ")}):
            series = _series(data, c, name)
            n += int((series.rows >= 0).sum())
            for au in parse_aus(name.partition(" ")[2].replace(" x ", "+")):
                k = AUS.index(au)
                found, real = series.of(made.levels[:, k]), series.of(truth.levels[:, k])
                errors.append(interaction_error(found, real))
                sizes.append(interaction_size(real))
                subjects += series.subjects
        if not errors:
            return []
        values = np.concatenate(errors)
        size = mean_of(np.concatenate(sizes))
        note = (
            f"a face in which AUs only add up has {size:.3f}"
            if np.isfinite(values).any()
            else "no complete grid"
        )
        return [
            self.row(
                "interaction",
                f"interaction|{_about(data, scale, n)}",
                mean_of(values),
                n,
                ci=_interval(values, subjects),
                note=_note(data, note),
            )
        ]


def _read(
    data: EvaluationData, c: CommandedIntensities, scale: IntensityScale
) -> tuple[Read, Read]:
    """Return what is read in generated faces and in targets.

    A sample that the generator could not make shows each AU as far from the command as can be.
    """
    from aubench.networks.detectors.intensity import evidence

    p = data.probabilities(data.independent_detector)
    made, truth = (
        Read(evidence(p), scale(p)),
        data.targets[data.independent_detector]["probabilities"],
    )
    failed = data.failed_rows
    weak = np.nan_to_num(c.intensities[failed], nan=0.0) < 2.5
    made.logits[failed] = np.where(weak, evidence(np.ones(1)), evidence(np.zeros(1)))
    made.levels[failed] = np.where(weak, 5.0, 0.0)
    return made, Read(evidence(truth), scale(truth))


def _about(data: EvaluationData, scale: IntensityScale | None, n: int) -> str:
    suffix = f"+intensity@{scale.id}" if scale else "+logit"
    return f"{data.network_id(data.independent_detector)}{suffix}|ref={data.reference_set}|n={n}"


def _note(data: EvaluationData, *parts: str) -> str:
    return "; ".join(part for part in (*parts, failed_note(data, WORST)) if part)


def _interval(values: Vector, subjects: Sequence[str]) -> tuple[float, float] | None:
    kept = np.isfinite(values)
    if not kept.any():
        return None
    return bootstrap_mean(values[kept], [s for s, keep in zip(subjects, kept, strict=True) if keep])


def _series(data: EvaluationData, c: CommandedIntensities, stratum: str) -> Series:
    """Return the series of a stratum, one for each subject and scene."""
    parts = [parse_aus(part) for part in stratum.partition(" ")[2].split(" x ")]
    levels, members = (SWEEP if len(parts) == 1 else GRID), [AUS.index(aus[0]) for aus in parts]
    here = [i for i, name in enumerate(data.strata) if name == stratum]
    scenes = {scene: k for k, scene in enumerate(dict.fromkeys(c.scenes[i] for i in here))}
    rows = np.full((len(scenes), *[len(levels)] * len(parts)), -1, np.int64)
    subjects = [""] * len(scenes)
    for i in here:
        cell = tuple(levels.index(int(c.intensities[i, k])) for k in members)
        at = scenes[c.scenes[i]]
        rows[(at, *cell)], subjects[at] = i, data.subjects[i]
    return Series(rows, subjects)


@dataclass(frozen=True)
class _Shapes:
    """Shapes of sweeps: by metric one value a series [S], and the slope of each."""

    values: dict[str, Vector]
    slope: Vector

    @classmethod
    def of(cls, logits: Vector, levels: Vector) -> _Shapes:
        commanded = np.array(SWEEP, np.float64)
        slope, share = line(levels, commanded)
        order, down = rank_correlation(logits, commanded), violations(logits)
        return cls({"spearman": order, "linearity": share, "violations": down}, slope)

    def reached(self, name: str) -> str:
        remark = f"targets reach {mean_of(self.values[name]):.3f}"
        return remark + (f", slope {mean_of(self.slope):.3f}" if name == "linearity" else "")
