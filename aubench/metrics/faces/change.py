"""Change against the reference face: how much of it lies where the commanded AUs act.

A generator that edits locally changes the skin that the commanded muscles move and little else. The
regions are read off the geometry of synfacs (``aubench._maintain.change_regions``) and hold for
every crop aligned to the template of ``aubench.datasets.alignment``. Blur and colour shifts of a
codec count as change, and so they should; a reference that shows another scene than the target
makes both numbers meaningless.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.metrics.metric import SHARE, Metric, Need, PairBatch, PairStep, ScoreFacts
from aubench.metrics.statistics.groups import SubjectSums, mean_sums
from aubench.metrics.statistics.resampling import bootstrap_mean
from aubench.storage.files import sha256_file

if TYPE_CHECKING:
    from aubench.metrics.evaluation_data import Arrays, EvaluationData
    from aubench.records.record import ScoreRow

Images = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

REGIONS = Path(__file__).with_name("regions.json")


@lru_cache(maxsize=1)
def regions() -> Mask:
    """Return where each AU acts, bool [12, G, G], in the order of ``AUS``.

    Raises:
        AubenchError: The table is damaged.
    """
    try:
        table = json.loads(REGIONS.read_text(encoding="utf-8"))["regions"]
        rows = [[[cell == "1" for cell in line] for line in table[f"AU{au}"]] for au in AUS]
        return np.array(rows, bool)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AubenchError(f"{REGIONS} holds no regions of AUs", "install aubench again") from error


def commanded_regions(labels: npt.NDArray[np.uint8]) -> Mask:
    """Return where the commanded AUs act, bool [N, G, G], for labels uint8 [N, 12]."""
    return np.asarray(np.tensordot(labels.astype(np.int64), regions().astype(np.int64), 1) > 0)


def cell_change(made: Images, reference: Images) -> Vector:
    """Return the absolute difference of cell means, mean over colours, 0..255, [N, G, G].

    The mean over a cell takes out sensor noise, which is change of no one's making.

    Args:
        made: uint8 [N, H, W, 3], H and W at least G.
        reference: Reference of the same shape.

    Raises:
        ValueError: Shapes or types differ, or the images are smaller than the grid.

    >>> grey = np.full((1, 64, 64, 3), 100, np.uint8)
    >>> cell_change(grey + 5, grey).mean().item()
    5.0
    """
    if made.shape != reference.shape or made.dtype != np.uint8 or reference.dtype != np.uint8:
        raise ValueError(f"want two uint8 [N, H, W, 3], got {made.shape} and {reference.shape}")
    gap, count = made.astype(np.int16) - reference, regions().shape[1]
    if min(gap.shape[1:3]) < count:
        raise ValueError(f"want at least {count} px, got {made.shape[1:3]}")
    sums: npt.NDArray[np.int64] = gap
    sizes = []
    for axis in (1, 2):
        edges = np.arange(count) * made.shape[axis] // count
        sums = np.add.reduceat(sums, edges, axis, dtype=np.int64)
        sizes.append(np.diff(np.append(edges, made.shape[axis])))
    means = sums / (sizes[0][:, None, None] * sizes[1][None, :, None])
    return np.asarray(np.abs(means).mean(3), np.float64)


def outside_change(change: Vector, inside: Mask) -> Vector:
    """Return the mean change of the cells outside the regions, grey levels 0..255, [N].

    NaN where the regions fill the image.

    Args:
        change: [N, G, G] of ``cell_change``.
        inside: bool [N, G, G] of ``commanded_regions``.

    Raises:
        ValueError: Shapes differ.

    >>> inside = np.zeros((1, 4, 4), bool)
    >>> outside_change(np.full((1, 4, 4), 3.0), inside).tolist()
    [3.0]
    """
    _check(change, inside)
    return _ratio((change * ~inside).sum((1, 2)), (~inside).sum((1, 2)))


def locality(change: Vector, inside: Mask) -> Vector:
    """Return the share of all change that lies inside the regions, 0..1, [N].

    NaN where the image equals its reference: there is no change to be placed.

    Args:
        change: [N, G, G] of ``cell_change``.
        inside: bool [N, G, G] of ``commanded_regions``.

    Raises:
        ValueError: Shapes differ.

    >>> inside = np.arange(16).reshape(1, 4, 4) < 4
    >>> locality(np.ones((1, 4, 4)), inside).tolist()
    [0.25]
    """
    _check(change, inside)
    return _ratio((change * inside).sum((1, 2)), change.sum((1, 2)))


def _check(change: Vector, inside: Mask) -> None:
    if change.shape != inside.shape or change.ndim != 3:
        raise ValueError(f"regions {inside.shape} for change {change.shape}")


def _ratio(top: Vector, bottom: npt.NDArray[np.generic]) -> Vector:
    out = np.full(len(top), np.nan)
    return np.asarray(np.divide(top, bottom, out=out, where=np.asarray(bottom, float) > 0))


class Change(Metric):
    """Change outside the commanded AUs' regions, and the share of change inside."""

    name = "change"
    order = 100
    needs: ClassVar[frozenset[Need]] = frozenset({Need.PAIRS})
    scores: ClassVar[Mapping[str, ScoreFacts]] = {
        "outside_change": ScoreFacts(
            "change outside", False, unit="grey levels", bounds=(0.0, 255.0)
        ),
        "locality": ScoreFacts("change inside", True, unit="share", bounds=SHARE),
    }

    def score(self, data: EvaluationData) -> list[ScoreRow]:
        """Return the means over samples that ask for an AU and whose change has a place."""
        n, out = len(data.generated_rows), []
        for name, values, truth in self._values(data):
            known, truth = np.isfinite(values), truth[np.isfinite(truth)]
            who = [s for s, keep in zip(data.generated_subjects(), known, strict=True) if keep]
            notes = [f"targets reach {truth.mean():.3g}"] if len(truth) else []
            if n - known.sum():
                notes.append(f"undefined in {n - int(known.sum())} of {n}")
            mean = float(values[known].mean()) if known.any() else None
            ci = bootstrap_mean(values[known], who) if known.any() else None
            id_ = f"{name}|synfacs-regions-32|to=reference|n={int(known.sum())}"
            out.append(self.row(name, id_, mean, int(known.sum()), ci=ci, note=", ".join(notes)))
        return out

    def _values(self, data: EvaluationData) -> Iterator[tuple[str, Vector, Vector]]:
        """Yield each score, its values of the generated images and of their targets, [K] both."""
        asked = data.labels[data.generated_rows].any(1)  # a neutral face commands no region
        for name, array in (("outside_change", "outside"), ("locality", "locality")):
            values, truth = (
                np.where(asked, data.pairs[key].astype(np.float64), np.nan)
                for key in (array, f"{array}_of_target")
            )
            yield name, values, truth

    def per_sample(self, data: EvaluationData) -> Mapping[str, Vector]:
        """Return both scores of each sample; none where no AU is asked for."""
        return {name: data.spread(values, np.nan) for name, values, _ in self._values(data)}

    def subject_sums(self, data: EvaluationData) -> Mapping[str, SubjectSums]:
        """Return the same by subject, those without a value included."""
        subjects = data.generated_subjects()
        return {name: mean_sums(values, subjects) for name, values, _ in self._values(data)}

    def pair_step(self, size: int, device: str) -> PairStep:
        """Return change against the reference face, of generated images and of targets."""
        return PairStep(_change_of, f"cells, regions {sha256_file(REGIONS)}", reference=True)


def _change_of(batch: PairBatch) -> Arrays:
    assert batch.reference is not None
    inside, out = commanded_regions(batch.labels), {}
    for tail, images in (("", batch.generated), ("_of_target", batch.target)):
        change = cell_change(images, batch.reference)
        out[f"outside{tail}"] = outside_change(change, inside).astype(np.float32)
        out[f"locality{tail}"] = locality(change, inside).astype(np.float32)
    return out
