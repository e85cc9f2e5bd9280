"""Memorisation: are generated faces nearer to training faces than new faces are?

Distances are Euclidean, between features of an extractor. Held-out targets say how near a face that
was never seen comes to the training set; a generator that stores training faces comes nearer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from aubench.metrics.contact_sheet import write_rows
from aubench.metrics.distributions.ties import direct, error
from aubench.metrics.evaluation_data import Neighbours, TrainNeighbours
from aubench.metrics.metric import DISTANCE, SHARE, Metric, Need, ScoreFacts
from aubench.metrics.statistics.resampling import bootstrap, bootstrap_mean
from aubench.networks.threads import one_thread

if TYPE_CHECKING:
    from aubench.metrics.evaluation_data import EvaluationData
    from aubench.records.record import ScoreRow

Features = npt.NDArray[np.floating[Any]]
Vector = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Statistic = Callable[[Vector, Vector], float]

BY_EXTRACTOR, BY_IDENTITY = "memorisation", "lookalikes"
"""Names of the nearest training faces by the extractor and by the identity network."""

QUANTILE = 0.01
"""Of the targets' distances; nearer than that counts as memorised."""

MINIMUM = 100
"""Fewer targets have no 1st percentile."""

CHUNK = 256
"""Queries whose distances to the whole training set are in memory at a time."""


@one_thread
def nearest(queries: Features, base: Features, own: Rows | None = None) -> Neighbours:
    """Return for each query its nearest row of ``base``, exactly; ties go to the first.

    Neither row nor distance depends on the processor, see ``metrics.ties``.

    Args:
        queries: [M, D].
        base: [T, D].
        own: A row of ``base`` for each query that does not count, since it is the query itself.

    Raises:
        ValueError: Shapes do not fit, nothing to compare with, or a value is not finite.

    >>> found = nearest(np.array([[0.0], [9.0]]), np.array([[1.0], [7.0]]))
    >>> found.index.tolist(), found.distance.tolist()
    ([0, 1], [1.0, 2.0])
    """
    if queries.ndim != 2 or base.ndim != 2 or queries.shape[1] != base.shape[1]:
        raise ValueError(f"want [M, D] and [T, D], got {queries.shape} and {base.shape}")
    if len(base) < (1 if own is None else 2):
        raise ValueError("there is nothing to compare with")
    # Centred: a common offset would cost digits of the squared distances.
    centre = base.mean(0, dtype=np.float64)
    wide = base - centre
    squares = np.einsum("td,td->t", wide, wide)
    if not np.isfinite(squares).all() or not np.isfinite(queries).all():
        raise ValueError("features are not finite")
    index, distance = np.empty(len(queries), np.int64), np.empty(len(queries))
    for i in range(0, len(queries), CHUNK):
        part = queries[i : i + CHUNK] - centre
        # |q|² is the same for all and left out.
        gap = squares[None] - 2 * part @ wide.T
        if own is not None:
            gap[np.arange(len(part)), own[i : i + CHUNK]] = np.inf
        off = error(np.einsum("td,td->t", part, part), squares, base.shape[1])
        low = gap.min(1) + 2 * off
        at, row = np.nonzero(gap <= low[:, None])  # query by query, rows rising
        away = direct(queries, i + at, base, row)
        first = np.lexsort((row, away, at))[np.searchsorted(at, np.arange(len(part)))]
        index[i : i + CHUNK], distance[i : i + CHUNK] = row[first], np.sqrt(away[first])
    return Neighbours(index, distance)


def memorised_share(made: Vector, targets: Vector) -> float:
    """Return the share of images nearer to a training face than 99 % of the targets are.

    NaN for fewer than ``MINIMUM`` targets, which have no 1st percentile.

    Args:
        made: Distances of generated images to the training set [K].
        targets: Distances of held-out faces to it [N].

    >>> memorised_share(np.array([0.5, 9.0]), np.arange(1.0, 201))  # 1st percentile 2.99
    0.5
    """
    if len(targets) < MINIMUM or not len(made):
        return float("nan")
    return float((made < np.quantile(targets, QUANTILE)).mean())


def distance_ratio(made: Vector, targets: Vector) -> float:
    """Return the mean distance of generated images over that of targets; NaN if targets are copies.

    Args:
        made: Distances of generated images to the training set [K].
        targets: Distances of held-out faces to it [N].

    >>> distance_ratio(np.array([1.0, 3.0]), np.array([4.0, 4.0]))
    0.5
    """
    below = float(targets.mean()) if len(targets) else 0.0
    return float(made.mean()) / below if below > 0 and len(made) else float("nan")


def authentic(found: Neighbours, gaps: Vector) -> npt.NDArray[np.bool_]:
    """Return which images count as new, bool [M] (Alaa et al. 2022).

    An image is not new if it is nearer to its nearest training face than that face's own nearest
    neighbour in the training set is.

    Args:
        found: Nearest training faces of M images.
        gaps: Distance of each training face to its nearest other one [T].

    >>> found = Neighbours(np.array([0, 1]), np.array([1.0, 3.0]))
    >>> authentic(found, np.array([2.0, 2.0])).tolist()
    [False, True]
    """
    return np.asarray(found.distance > gaps[found.index])


class Memorisation(Metric):
    """How near images come to training faces, by the extractor and as persons."""

    name = "memorisation"
    order = 120
    needs: ClassVar[frozenset[Need]] = frozenset(
        {Need.EXTRACTOR, Need.IDENTITY, Need.TRAINING_FACES}
    )
    unprobed = "the search among the training faces"
    files: ClassVar[tuple[str, ...]] = ("memorised.png",)
    shown = 16
    scores: ClassVar[Mapping[str, ScoreFacts]] = {
        "memorised": ScoreFacts("memorised", False, bounds=SHARE),
        "memory_ratio": ScoreFacts("memory ratio", True, bounds=DISTANCE),
        "authenticity": ScoreFacts("authenticity", True, bounds=SHARE),
        "memorised_person": ScoreFacts("memorised persons", False, bounds=SHARE),
    }

    def score(self, data: EvaluationData) -> list[ScoreRow]:
        """Return scores by the extractor, and the share of memorised persons."""
        return [*self._images(data), self._persons(data)]

    def _images(self, data: EvaluationData) -> list[ScoreRow]:
        """Return the share of memorised images, the ratio of distances, and authenticity."""
        found = data.train_neighbours.get(BY_EXTRACTOR)
        if found is None:
            names = ("memorised", "memory_ratio", "authenticity")
            return self.without_value(data, data.unavailable[BY_EXTRACTOR], names)
        n, subjects = len(data.generated_rows), data.generated_subjects()
        new = authentic(found.generated, found.gaps).astype(np.float64)
        ceiling = authentic(found.targets, found.gaps).mean()
        tail = f"{data.extractor}|train={len(found.keys)}|ref={data.reference_set}|n={n}"
        share, around = _compared(data, found, memorised_share)
        ratio, about = _compared(data, found, distance_ratio)
        return [
            self.row(
                "memorised", f"memorised|1st percentile|{tail}", share, n, note=_few(n), ci=around
            ),
            self.row(
                "memory_ratio",
                f"distance-to-train-ratio|{tail}",
                ratio,
                n,
                note="of new faces 1",
                ci=about,
            ),
            self.row(
                "authenticity",
                f"authenticity|{tail}",
                float(new.mean()),
                n,
                note=f"targets reach {ceiling:.3f}",
                ci=bootstrap_mean(new, subjects),
            ),
        ]

    def _persons(self, data: EvaluationData) -> ScoreRow:
        """Return the share of images more like a training face, as persons, than new ones are."""
        name, found = "memorised_person", data.train_neighbours.get(BY_IDENTITY)
        if found is None:
            return self.without_value(data, data.unavailable[BY_IDENTITY], (name,))[0]
        n = len(data.generated_rows)
        share, around = _compared(data, found, memorised_share)
        tail = f"{found.network_id}|train={len(found.keys)}|ref={data.reference_set}|n={n}"
        id_ = f"memorised-person|1st percentile|{tail}"
        return self.row(name, id_, share, n, note=_few(n), ci=around)

    def artefacts(self, data: EvaluationData, folder: Path) -> list[Path]:
        """Write ``memorised.png``: the images nearest to a training face, nearest first."""
        found, faces = data.train_neighbours.get(BY_EXTRACTOR), data.faces
        if found is None or faces is None:
            return []
        rows, captions = [], []
        for k in np.argsort(found.generated.distance, kind="stable")[: self.shown]:
            sample, key = int(data.generated_rows[k]), found.keys[found.generated.index[k]]
            rows.append((faces.generated(sample), faces.load_dataset(key), faces.target(sample)))
            away, real = found.generated.distance[k], found.targets.distance[sample]
            name = faces.sample_ids[sample]
            captions.append(
                (f"{name}: distance {away:.2f}, of its target {real:.2f}", f"train {key}")
            )
        path = folder / "memorised.png"
        columns = ("generated", "nearest training face", "target")
        title = f"nearest to training faces, {data.extractor}, {data.reference_set}"
        write_rows(path, rows, captions, columns, title)
        return [path]


def _compared(
    data: EvaluationData, found: TrainNeighbours, statistic: Statistic
) -> tuple[float, tuple[float, float] | None]:
    """Return a statistic of distances of images and of their targets, and its interval."""
    made, real = found.generated.distance, found.targets.distance[data.generated_rows]
    subjects = data.generated_subjects()
    ci = bootstrap(lambda rows: statistic(made[rows], real[rows]), subjects, count=200)
    return statistic(made, real), ci


def _few(n: int) -> str:
    return f"needs {MINIMUM} targets" if n < MINIMUM else "of new faces 0.010"
