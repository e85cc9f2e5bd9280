"""Scores of generated images against the training faces."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from aubench.engine.folder import RunFolder, read_png
from aubench.engine.measured import Measured
from aubench.engine.rows import missing, row
from aubench.engine.sheet import write_rows
from aubench.engine.training import Memory
from aubench.metrics.bootstrap import bootstrap, bootstrap_mean
from aubench.metrics.memorisation import MINIMUM, authentic, distance_ratio, memorised_share
from aubench.record import ScoreRow

if TYPE_CHECKING:
    from aubench.datasets.samples import ImageSource, SampleSet

BY_EXTRACTOR, BY_IDENTITY = "memorisation", "lookalikes"
NAMES = (("memorised", False), ("memory_ratio", True), ("authenticity", True))
PERSON = "memorised_person"
SHOWN = 16

Statistic = Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], float]


def memorisation(m: Measured) -> list[ScoreRow]:
    """Return scores by the extractor, and the share of memorised persons."""
    return [*_images(m), _persons(m)]


def _images(m: Measured) -> list[ScoreRow]:
    """Return the share of memorised images, the ratio of distances, and authenticity."""
    memory = m.memory.get(BY_EXTRACTOR)
    if memory is None:
        return missing(m, NAMES, m.reasons[BY_EXTRACTOR])
    n, subjects = len(m.kept), m.subjects_kept()
    new = authentic(memory.made, memory.gaps).astype(np.float64)
    ceiling = authentic(memory.targets, memory.gaps).mean()
    tail = f"{m.extractor}|train={len(memory.keys)}|ref={m.ref}|n={n}"
    share, around = _compared(m, memory, memorised_share)
    ratio, about = _compared(m, memory, distance_ratio)
    return [
        row("memorised", f"memorised|1st percentile|{tail}", share, n, up=False, note=_few(n),
            ci=around),
        row("memory_ratio", f"distance-to-train-ratio|{tail}", ratio, n, up=True,
            note="of new faces 1", ci=about),
        row("authenticity", f"authenticity|{tail}", float(new.mean()), n, up=True,
            note=f"targets reach {ceiling:.3f}", ci=bootstrap_mean(new, subjects)),
    ]  # fmt: skip


def _persons(m: Measured) -> ScoreRow:
    """Return the share of images more like a training face, as persons, than new persons are."""
    memory = m.memory.get(BY_IDENTITY)
    if memory is None:
        return missing(m, [(PERSON, False)], m.reasons[BY_IDENTITY])[0]
    n = len(m.kept)
    share, around = _compared(m, memory, memorised_share)
    id_ = f"memorised-person|1st percentile|{memory.by}|train={len(memory.keys)}|ref={m.ref}|n={n}"
    return row(PERSON, id_, share, n, up=False, note=_few(n), ci=around)


def _compared(
    m: Measured, memory: Memory, statistic: Statistic
) -> tuple[float, tuple[float, float] | None]:
    """Return a statistic of distances of images and of their targets, and its interval."""
    made, real = memory.made.distance, memory.targets.distance[m.kept]
    ci = bootstrap(lambda rows: statistic(made[rows], real[rows]), m.subjects_kept(), count=200)
    return statistic(made, real), ci


def _few(n: int) -> str:
    return f"needs {MINIMUM} targets" if n < MINIMUM else "of new faces 0.010"


def write_closest(
    folder: RunFolder, samples: SampleSet, images: ImageSource, m: Measured, size: int
) -> None:
    """Write ``memorised.png``: the generated images nearest to a training face, nearest first."""
    memory = m.memory.get(BY_EXTRACTOR)
    if memory is None:
        return
    ids, targets = samples.frame["sample_id"], samples.frame["target"]
    rows, captions = [], []
    for k in np.argsort(memory.made.distance, kind="stable")[:SHOWN]:
        sample, key = int(m.kept[k]), memory.keys[memory.made.index[k]]
        rows.append((
            read_png(folder.image(str(ids.iloc[sample]))),
            images.load(key, size),
            images.load(str(targets.iloc[sample]), size),
        ))  # fmt: skip
        away, real = memory.made.distance[k], memory.targets.distance[sample]
        captions.append((
            f"{ids.iloc[sample]}: distance {away:.2f}, of its target {real:.2f}", f"train {key}",
        ))  # fmt: skip
    write_rows(
        folder.path / "memorised.png", rows, captions,
        ("generated", "nearest training face", "target"),
        f"nearest to training faces, {m.extractor}, {m.ref}",
    )  # fmt: skip
