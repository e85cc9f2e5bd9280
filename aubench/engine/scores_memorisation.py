"""Scores of generated images against the training faces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from aubench.engine.folder import RunFolder, read_png
from aubench.engine.measured import Measured
from aubench.engine.rows import missing, row
from aubench.engine.sheet import write_rows
from aubench.metrics.bootstrap import bootstrap, bootstrap_mean
from aubench.metrics.memorisation import MINIMUM, authentic, distance_ratio, memorised_share
from aubench.record import ScoreRow

if TYPE_CHECKING:
    from aubench.datasets.samples import ImageSource, SampleSet

NAMES = (("memorised", False), ("memory_ratio", True), ("authenticity", True))
SHOWN = 16


def memorisation(m: Measured) -> list[ScoreRow]:
    """Return the share of memorised images, the ratio of distances, and authenticity."""
    if m.memory is None:
        return missing(m, NAMES, m.reasons["memorisation"])
    memory, n, subjects = m.memory, len(m.kept), m.subjects_kept()
    made, real = memory.made.distance, memory.targets.distance[m.kept]

    def share(rows: npt.NDArray[np.int64]) -> float:
        return memorised_share(made[rows], real[rows])

    def ratio(rows: npt.NDArray[np.int64]) -> float:
        return distance_ratio(made[rows], real[rows])

    every = np.arange(n)
    new = authentic(memory.made, memory.gaps).astype(np.float64)
    ceiling = authentic(memory.targets, memory.gaps).mean()
    tail = f"{m.extractor}|train={len(memory.keys)}|ref={m.ref}|n={n}"
    few = f"needs {MINIMUM} targets" if n < MINIMUM else "of new faces 0.010"
    return [
        row("memorised", f"memorised|1st percentile|{tail}", share(every), n, up=False, note=few,
            ci=bootstrap(share, subjects, count=200)),
        row("memory_ratio", f"distance-to-train-ratio|{tail}", ratio(every), n, up=True,
            note="of new faces 1", ci=bootstrap(ratio, subjects, count=200)),
        row("authenticity", f"authenticity|{tail}", float(new.mean()), n, up=True,
            note=f"targets reach {ceiling:.3f}", ci=bootstrap_mean(new, subjects)),
    ]  # fmt: skip


def write_closest(
    folder: RunFolder, samples: SampleSet, images: ImageSource, m: Measured, size: int
) -> None:
    """Write ``memorised.png``: the generated images nearest to a training face, nearest first."""
    if m.memory is None:
        return
    ids, targets = samples.frame["sample_id"], samples.frame["target"]
    rows, captions = [], []
    for k in np.argsort(m.memory.made.distance, kind="stable")[:SHOWN]:
        sample, key = int(m.kept[k]), m.memory.keys[m.memory.made.index[k]]
        rows.append((
            read_png(folder.image(str(ids.iloc[sample]))),
            images.load(key, size),
            images.load(str(targets.iloc[sample]), size),
        ))  # fmt: skip
        away, real = m.memory.made.distance[k], m.memory.targets.distance[sample]
        captions.append((
            f"{ids.iloc[sample]}: distance {away:.2f}, of its target {real:.2f}", f"train {key}",
        ))  # fmt: skip
    write_rows(
        folder.path / "memorised.png", rows, captions,
        ("generated", "nearest training face", "target"),
        f"nearest to training faces, {m.extractor}, {m.ref}",
    )  # fmt: skip
