"""Motion: how the points of a face moved from its reference, against how the target's moved.

The points are the witness's, a network that was trained on photographs and sees no AU. Motion is
what a face mesh did between reference and face, with the turn of the head taken out, in shares of
the way between the outer corners of the reference's eyes. ``motion_distance`` is an expression
distance that wants no licence: no model of faces, no network of emotions.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from aubench.facs import AUS
from aubench.metrics.faces.own_points import expressive, own_points, regions
from aubench.metrics.metric import DISTANCE, Metric, Need, ScoreFacts, failed_note
from aubench.metrics.statistics.groups import SubjectSums, mean_sums
from aubench.metrics.statistics.resampling import bootstrap_mean, draw_counts, interval
from aubench.storage.files import write_text

if TYPE_CHECKING:
    from aubench.metrics.evaluation_data import EvaluationData
    from aubench.records.record import ScoreRow

Points = npt.NDArray[np.floating[Any]]
Vector = npt.NDArray[np.float64]
Chosen = npt.NDArray[np.bool_]

NETWORK = "mp-face"
STILL = 90.0
"""Direction error of a face that did not move, degrees: it goes neither way."""
LEAST = 1e-4
"""A shift of fewer eye distances is none."""
LEVELS = "ABCDE"


def gain_sums(made: Points, truth: Points, own: Chosen) -> tuple[Vector, Vector]:
    """Return Σ made · truth and Σ truth² over the points chosen of each face, float64 [N] both.

    The ratio of their sums is the gain: 1 as the target moved, 0 lazy, above 1 overdone.

    Args:
        made: Displacements of the generated faces [N, P, 2].
        truth: Of their targets [N, P, 2].
        own: Which points count, bool [N, P].

    >>> truth = np.array([[[0.0, 2.0]]])
    >>> top, bottom = gain_sums(truth / 2, truth, np.array([[True]]))
    >>> (top / bottom).tolist()
    [0.5]
    """
    a, b = np.where(own[..., None], made, 0.0), np.where(own[..., None], truth, 0.0)
    return (a * b).sum((1, 2)), (b * b).sum((1, 2))


def direction_error(made: Points, truth: Points, own: Chosen) -> Vector:
    """Return the angle between the motions of each face over the points chosen, degrees [N].

    90 where the face did not move, NaN where the target did not.

    >>> up, along = np.array([[[0.0, 1.0]]]), np.array([[[1.0, 0.0]]])
    >>> one = np.array([[True]])
    >>> direction_error(up, along, one).tolist(), direction_error(-3 * up, up, one).tolist()
    ([90.0], [180.0])
    """
    dot, bottom = gain_sums(made, truth, own)
    length = np.sqrt(gain_sums(made, made, own)[0]), np.sqrt(bottom)
    out = np.full(len(dot), STILL)
    moved = (length[0] > LEAST) & (length[1] > LEAST)
    cosine = np.divide(dot, length[0] * length[1], out=np.zeros(len(dot)), where=moved)
    out[moved] = np.degrees(np.arccos(np.clip(cosine[moved], -1, 1)))
    out[length[1] <= LEAST] = np.nan
    return out


def spill_over(made: Points, truth: Points, outside: Chosen) -> Vector:
    """Return by how much points move more than the target's, mean over the chosen, percent [N].

    Of the way between the eyes; NaN where no point is chosen.
    """
    more = np.clip(
        np.hypot(*np.moveaxis(made, 2, 0)) - np.hypot(*np.moveaxis(truth, 2, 0)), 0, None
    )
    return _mean_of(more, outside)


def distance(made: Points, truth: Points, chosen: Chosen) -> Vector:
    """Return the mean distance of the points chosen after both motions, percent of eyes [N]."""
    return _mean_of(np.hypot(*np.moveaxis(made - truth, 2, 0)), chosen)


def _mean_of(values: Vector, chosen: Chosen) -> Vector:
    count = chosen.sum(1)
    total = np.where(chosen, values, 0.0).sum(1)
    out = np.full(len(total), np.nan)
    return np.asarray(100 * np.divide(total, count, out=out, where=count > 0))


@dataclass(frozen=True)
class Moves:
    """Displacements of the samples whose reference and target show a face, M of N.

    Attributes:
        rows: Which samples, int64 [M].
        made: Of the generated faces [M, 478, 2]; 0 where the generator failed or shows no face.
        truth: Of the targets [M, 478, 2].
        lost: How many generated faces were not found.
    """

    rows: npt.NDArray[np.int64]
    made: Points
    truth: Points
    lost: int


def moves_of(data: EvaluationData) -> Moves | None:
    """Return how the faces moved, None where nobody has looked for their points."""
    if data.reference_arrays is None or NETWORK not in data.generated:
        return None
    return data.once("motion", lambda: _moves(data))


def _moves(data: EvaluationData) -> Moves:
    from aubench.networks.face_landmarker.change import change
    from aubench.networks.face_landmarker.network import geometry_of

    assert data.reference_arrays is not None
    seen = data.reference_arrays.arrays[NETWORK]
    references, at = geometry_of(seen), data.reference_arrays.rows
    truth = change(geometry_of(data.targets[NETWORK]), references, at)
    own = change(geometry_of(data.generated[NETWORK]), references, at[data.generated_rows])
    made = np.zeros((len(data), *truth.points.shape[1:]), np.float64)
    made[data.generated_rows] = np.where(own.found[:, None, None], own.points, 0)
    rows = np.flatnonzero(truth.found)
    readable = np.isin(data.generated_rows, rows)
    lost = int((~own.found)[readable].sum())
    return Moves(rows, made[rows], truth.points[rows].astype(np.float64), lost)


class Motion(Metric):
    """Gain, direction error and spill-over of motion, and the distance of expressions."""

    name = "motion"
    quick = True
    order = 65
    needs: ClassVar[frozenset[Need]] = frozenset({Need.DETECTORS, Need.INTENSITIES})
    paper = True
    files: ClassVar[tuple[str, ...]] = ("motion.csv",)
    scores: ClassVar[Mapping[str, ScoreFacts]] = {
        "motion_gain": ScoreFacts("motion gain", True, ideal=1.0),
        "motion_direction": ScoreFacts(
            "motion: direction error", False, digits=1, unit="°", bounds=(0.0, 180.0)
        ),
        "motion_spill": ScoreFacts("motion: spill-over", False, digits=2, unit="% of eyes"),
        "motion_distance": ScoreFacts(
            "expression distance", False, digits=2, unit="% of eyes", headline=True, bounds=DISTANCE
        ),
    }

    def score(self, data: EvaluationData) -> list[ScoreRow]:
        """Return all four; gain is a ratio of sums, the others are means over samples."""
        moves = moves_of(data)
        if moves is None:
            reason = data.unavailable.get("witness", "no witness has looked for points")
            return self.without_value(data, reason)
        gone, n = len(data) - len(moves.rows), len(moves.rows)
        notes = [
            f"{gone} samples left out: no face found in their reference or target" if gone else "",
            f"no face found in {moves.lost} generated images" if moves.lost else "",
            failed_note(data, "faces that did not move"),
        ]
        note, gain = (
            "; ".join(filter(None, notes)),
            self._gain(data, moves, _commanded(data, moves)),
        )
        rows = [self._gain_row(data, gain, "", n, note)]
        for name, values in self._values(data, moves).items():
            known = np.isfinite(values)
            who = [s for s, keep in zip(_subjects(data, moves), known, strict=True) if keep]
            mean = float(values[known].mean()) if known.any() else None
            ci = bootstrap_mean(values[known], who) if known.any() else None
            id_ = _id(data, name, int(known.sum()))
            rows.append(self.row(name, id_, mean, int(known.sum()), ci=ci, note=note))
        return rows

    def _gain(self, data: EvaluationData, moves: Moves, own: Chosen) -> SubjectSums:
        names, member = np.unique(np.asarray(_subjects(data, moves)), return_inverse=True)
        sums = [
            np.asarray(np.bincount(member, part, len(names)), np.float64)
            for part in gain_sums(moves.made, moves.truth, own)
        ]
        return SubjectSums([str(n) for n in names], sums[0][:, None], sums[1][:, None])

    def _gain_row(
        self, data: EvaluationData, sums: SubjectSums, part: str, n: int, note: str = ""
    ) -> ScoreRow:
        count = len(sums.subjects)
        value = float(sums(np.ones((1, count)))[0]) if count else None
        ci = interval(sums(draw_counts(count, 1000))) if count > 1 else None
        return self.row(
            "motion_gain", _id(data, f"motion_gain{part}", n), value, n, ci=ci, note=note
        )

    def _values(self, data: EvaluationData, moves: Moves) -> dict[str, Vector]:
        """Return the scores that are means over samples [M]; a neutral command has no direction."""
        outside = expressive() & ~_asked(data, moves, regions())
        everywhere = np.broadcast_to(expressive(), outside.shape)
        own = _commanded(data, moves)
        return {
            "motion_direction": direction_error(moves.made, moves.truth, own),
            "motion_spill": spill_over(moves.made, moves.truth, outside),
            "motion_distance": distance(moves.made, moves.truth, everywhere),
        }

    def per_sample(self, data: EvaluationData) -> Mapping[str, Vector]:
        """Return the three that are means of each sample [N]."""
        moves = moves_of(data)
        if moves is None:
            return {}
        out = {}
        for name, values in self._values(data, moves).items():
            out[name] = np.full(len(data), np.nan)
            out[name][moves.rows] = values
        return out

    def subject_sums(self, data: EvaluationData) -> Mapping[str, SubjectSums]:
        """Return the same by subject."""
        return {
            name: mean_sums(values, data.subjects)
            for name, values in self.per_sample(data).items()
            if np.isfinite(values).any()
        }

    def strata(self, data: EvaluationData) -> Mapping[str, list[ScoreRow]]:
        """Return the gain of each AU over its own points, in the samples that command it."""
        moves = moves_of(data)
        if moves is None:
            return {}
        out = {}
        for k, au in enumerate(AUS):
            asked = data.labels[moves.rows, k] == 1
            if asked.any():
                own = asked[:, None] & own_points()[k]
                sums = self._gain(data, moves, own)
                out[f"AU{au}"] = [self._gain_row(data, sums, f"/AU{au}", int(asked.sum()))]
        return out

    def artefacts(self, data: EvaluationData, folder: Path) -> list[Path]:
        """Write ``motion.csv``: gain and direction error by AU and level."""
        moves = moves_of(data)
        if moves is None:
            return []
        write_text(folder / "motion.csv", motion_table(data, moves))
        return [folder / "motion.csv"]


def motion_table(data: EvaluationData, moves: Moves) -> str:
    """Return gain and direction error of each AU, whole and by commanded level, as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["AU", "level", "samples", "gain", "direction error"])
    levels = None if data.commanded is None else data.commanded.intensities[moves.rows]
    for k, au in enumerate(AUS):
        asked = data.labels[moves.rows, k] == 1
        parts = {"": asked}
        if levels is not None:
            step = np.clip(np.ceil(np.nan_to_num(levels[:, k])), 0, 5)
            parts |= {name: asked & (step == i + 1) for i, name in enumerate(LEVELS)}
        for level, rows in parts.items():
            if not rows.any():
                continue
            made, truth = moves.made[rows], moves.truth[rows]
            own = np.broadcast_to(own_points()[k], made.shape[:2])
            top, bottom = (part.sum() for part in gain_sums(made, truth, own))
            angle = direction_error(made, truth, own)
            gain = f"{top / bottom:.4f}" if bottom > 0 else ""
            turned = f"{np.nanmean(angle):.2f}" if np.isfinite(angle).any() else ""
            writer.writerow([f"AU{au}", level, int(rows.sum()), gain, turned])
    return out.getvalue()


def _subjects(data: EvaluationData, moves: Moves) -> Sequence[str]:
    return [data.subjects[i] for i in moves.rows]


def _asked(data: EvaluationData, moves: Moves, table: Chosen) -> Chosen:
    """Return the points that a table [12, P] gives to the commanded AUs of each sample [M, P]."""
    return np.asarray((data.labels[moves.rows] == 1).astype(np.int64) @ table.astype(np.int64) > 0)


def _commanded(data: EvaluationData, moves: Moves) -> Chosen:
    return _asked(data, moves, own_points())


def _id(data: EvaluationData, name: str, n: int) -> str:
    witness = data.network_ids[NETWORK].split(" ")[0]
    return f"{name.replace('_', '-')}|{witness}|to=reference|ref={data.reference_set}|n={n}"
