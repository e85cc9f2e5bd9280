"""Features to scores: what is measured, against what, and how the numbers are named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aubench.engine import (
    scores_au,
    scores_distribution,
    scores_identity,
    scores_legibility,
    scores_memorisation,
    scores_pairs,
    scores_response,
)
from aubench.engine.choices import DETECTED, Choices
from aubench.engine.costs import Meter
from aubench.engine.folder import RunFolder, read_png
from aubench.engine.measured import Measured, gather
from aubench.engine.rows import row
from aubench.engine.scores_groups import group_scores
from aubench.engine.sheet import write_grid
from aubench.files import write_text
from aubench.metrics import aaad as aaad_module
from aubench.metrics import au_scores
from aubench.record import ScoreRow

if TYPE_CHECKING:
    from aubench.datasets.samples import ImageSource, SampleSet
    from aubench.generator import GeneratorInfo
    from aubench.protocol import Protocol


@dataclass(frozen=True)
class Scored:
    """Scores of a run and what measured them."""

    rows: list[ScoreRow]
    subsets: dict[str, list[ScoreRow]]
    groups: dict[str, list[ScoreRow]]
    networks: dict[str, str]
    target_source: str


def score(
    folder: RunFolder,
    samples: SampleSet,
    images: ImageSource,
    protocol: Protocol,
    info: GeneratorInfo,
    metrics: Sequence[str],
    size: int,
    device: str,
    choices: Choices,
    meter: Meter | None = None,
) -> Scored:
    """Measure what the metrics need, once, and compute them.

    Writes ``grid.png``, ``leakage.csv`` where ``control`` and ``memorised.png`` where
    ``memorisation`` is asked for.
    """
    meter = meter or Meter(None)
    with meter.stage("measure"):
        found = gather(folder, samples, images, protocol, info, metrics, size, device, choices)
    with meter.stage("score"):
        meter.count(len(found.kept))
        return _scored(folder, samples, images, info, metrics, size, found)


def _scored(
    folder: RunFolder,
    samples: SampleSet,
    images: ImageSource,
    info: GeneratorInfo,
    metrics: Sequence[str],
    size: int,
    found: Measured,
) -> Scored:
    rows: list[ScoreRow] = []
    for metric in metrics:
        rows += SCORERS[metric](found) if metric in SCORERS else []
    subsets = subset_scores(found, metrics)
    for name, extra in scores_response.strata(found).items():
        subsets.setdefault(name, []).extend(extra)
    groups = group_scores(found, metrics) if "groups" in metrics else {}
    if any(metric in DETECTED for metric in metrics):
        _grid(folder, samples, images, found, size, info.name)
    scores_memorisation.write_closest(folder, samples, images, found, size)
    if "control" in metrics:
        write_text(folder.path / "leakage.csv", scores_au.leakage_table(found))
    digests = {name: tag for name, tag in found.tags.items() if tag}
    if found.extractor:
        digests["extractor"] = found.extractor
    return Scored(rows, subsets, groups, digests, found.source)


SCORERS: dict[str, Callable[[Measured], list[ScoreRow]]] = {
    "fid": scores_distribution.fid,
    "kid": scores_distribution.kid,
    "is": scores_distribution.inception,
    "prdc": scores_distribution.prdc,
    "lpips": scores_pairs.lpips,
    "pixels": scores_pairs.pixels,
    "change": scores_pairs.change,
    "identity": scores_identity.identity,
    "aaad": scores_au.aaad,
    "au": scores_au.au,
    "control": scores_au.control,
    "legibility": scores_legibility.legibility,
    "memorisation": scores_memorisation.memorisation,
    "response": scores_response.response,
}
"""Scorer of each metric group; one that does not apply to a protocol returns no rows."""


def subset_scores(m: Measured, metrics: Sequence[str]) -> dict[str, list[ScoreRow]]:
    """Return AU scores of each stratum of the protocol."""
    names = sorted(set(m.strata))
    if len(names) < 2 or not {"aaad", "au"} <= set(metrics):
        return {}
    found = m.whole(m.second) >= m.thresholds[m.second]
    scale, _ = m.scale(m.first)
    cosine = aaad_module.cosines(m.whole(m.first), m.wanted)
    out = {}
    for name in names:
        rows = np.array([i for i, s in enumerate(m.strata) if s == name])
        n = len(rows)
        about = f"{m.ref}/{name}|n={n}"
        asked = m.labels[rows].any(0)  # an AU that the stratum never asks for has no F1
        f1 = au_scores.mean_of(au_scores.f1(found[rows], m.labels[rows])[asked])
        asking = rows[m.wanted[rows].any(1)]  # a sample that asks for no AU has no cosine
        out[name] = [
            row(
                "aaad",
                f"aaad|{about}",
                None if scale.coincide else aaad_module.aaad(cosine[asking], scale),
                len(asking),
                up=True,
                note=scores_au.ALIKE if scale.coincide else "",
            ),
            row("au_f1", f"f1-of-commanded|{about}", f1, n, up=True),
        ]
    return out


def _grid(
    folder: RunFolder, samples: SampleSet, images: ImageSource, m: Measured, size: int, name: str
) -> None:
    rows = m.kept[np.linspace(0, len(m.kept) - 1, min(16, len(m.kept))).astype(int)]
    frame = samples.frame
    found = m.whole(m.second) >= m.thresholds[m.second]
    pictures = [
        (
            images.load(str(frame["reference"].iloc[i]), size),
            images.load(str(frame["target"].iloc[i]), size),
            read_png(folder.image(str(frame["sample_id"].iloc[i]))),
        )
        for i in rows
    ]
    write_grid(
        folder.path / "grid.png", pictures, list(m.labels[rows]), list(found[rows]),
        f"{name}, {m.ref}, detected by {m.second}",
    )  # fmt: skip
