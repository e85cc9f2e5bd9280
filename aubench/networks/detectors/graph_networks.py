"""ME-GraphAU and OpenGraphAU from the checkpoints of their authors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.networks.detectors.detector import Detector, NetworkDetector
from aubench.networks.detectors.graphau import checkpoints
from aubench.networks.detectors.graphau.checkpoints import Layout
from aubench.networks.detectors.graphau.megraphau import Graph
from aubench.networks.detectors.graphau.opengraphau import MAIN
from aubench.networks.detectors.preparation import PAPER
from aubench.storage.files import read_card, sha256_file

PAPER_MICRO_BATCH = 16

CLASSES: dict[int, tuple[int, ...]] = {12: AUS, 8: (1, 2, 4, 6, 9, 12, 25, 26)}
"""AU numbers by number of classes: BP4D's twelve, DISFA's eight."""


def _known_aus(layout: Layout, aus: Sequence[int] | None, path: Path) -> tuple[int, ...]:
    """Return the AU numbers of a network's main outputs."""
    if layout.family == "open-graphau":
        return MAIN
    named = tuple(aus) if aus is not None else CLASSES.get(layout.classes)
    if named is None:
        raise AubenchError(
            f"{path} has {layout.classes} classes, neither BP4D's 12 nor DISFA's 8",
            "name their AUs",
        )
    if len(named) != layout.classes or len(set(named)) < len(named):
        raise AubenchError(
            f"{path} has {layout.classes} classes, {len(named)} AUs were named",
            "name each class's AU once",
        )
    if not set(named).intersection(AUS):
        raise AubenchError(f"{path} knows none of the AUs {', '.join(map(str, AUS))}")
    return named


def load(
    name: str,
    device: str,
    *,
    weights: Path | None = None,
    aus: Sequence[int] | None = None,
    neighbours: int | None = None,
    **options: Any,
) -> Detector:
    """Load a graph network from a published checkpoint or one of the same form.

    Args:
        name: ``me-graphau[:backbone[:stage]]`` or ``open-graphau[:backbone[:stage]]``; what is
            left out is taken from the file.
        device: Torch device.
        weights: The file.
        aus: AU numbers of a ``me-graphau`` file's classes, if neither BP4D's 12 nor DISFA's 8.
        neighbours: K of the first stage's graph, which the file does not hold; 4, or 3 for 8 AUs.
        options: None; those of other detectors are passed over.

    Raises:
        AubenchError: No file, a truncated or foreign one, or a wrong number of classes.
    """
    checkpoints.parse(name)
    path = weights
    if path is None:
        raise AubenchError(
            f"detector '{name}' needs its checkpoint", "give weights=PATH, a file of its authors"
        )
    network, layout = checkpoints.load(path, name, neighbours)
    known = _known_aus(layout, aus, path)
    columns = tuple(known.index(au) for au in AUS if au in known)
    digest, beside = sha256_file(path), path.with_suffix(".card.json")
    gnn = network.head.gnn
    card: dict[str, Any] = {
        "name": layout.name,
        "scale": "paper",
        "sha256": digest,
        "input": PAPER.id,
        "classes": [f"AU{au}" for au in known],
        "neighbours": gnn.neighbours if isinstance(gnn, Graph) else None,
        "thresholds": [0.5] * len(AUS),
    }
    if beside.is_file():
        card |= read_card(beside, digest)
    graph = f"|k={gnn.neighbours}" if isinstance(gnn, Graph) else ""
    identity = f"{layout.name}@{digest[:12]}{graph}|{PAPER.id}"
    thresholds = np.array(card["thresholds"], np.float32)
    mask = np.array([au in known for au in AUS], np.bool_)
    return NetworkDetector(
        layout.name,
        identity,
        digest,
        thresholds,
        card,
        mask,
        network.to(device),
        device,
        columns,
        PAPER,
        PAPER_MICRO_BATCH,
    )
