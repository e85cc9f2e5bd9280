"""Draws the protocols of synfacs 2: ``python -m aubench.protocols.synfacs2_draws FOLDER``.

Run it once a version. Each protocol exists in ``studio`` and, with ``-wild`` behind its name, in
``wild``; ``test2k`` also with references of the same scene.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from aubench.facs import AUS, labels_of, parse_aus
from aubench.protocols.protocol import (
    DEFINITION,
    PROOF,
    SAMPLES,
    Definition,
    disjointness,
    load_protocol,
)
from aubench.protocols.synfacs_draws import CONFLICTS, GRIDDED, GRIDS, REGIONS, SWEPT, write_sums
from aubench.storage.files import write_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Sets = tuple[npt.NDArray[np.uint8], list[str]]

DATASET = "synfacs2"
VERSION = "2.0"
STRATA = ("pair", "pair+", "dense")
"""Of ``unseen``: a held-out pair alone, inside sets of three or four AUs, in sets of five on."""


@dataclass(frozen=True)
class Plan:
    """What is drawn.

    Attributes:
        definition: Definition of the protocol.
        draw: Kind of the draw of AU sets.
        condition: ``studio`` or ``wild``.
        same_scene: Whether references share the scene of their targets.
    """

    definition: Definition
    draw: Literal["occurring", "unseen", "conflict", "graded"]
    condition: str
    same_scene: bool = False


def draw_unseen(rng: np.random.Generator, count: int) -> Sets:
    """Return AU sets with held-out pairs, a third of each stratum.

    ``pair+`` and ``dense`` hold several held-out pairs where they can: for each set, AUs of one
    clique or of two (see ``CLIQUES``) are taken, and further AUs are added at random.
    """
    import numpy as np

    from aubench.datasets.synfacs2.occurrence import CLIQUES, HELD_OUT

    pairs = sorted(HELD_OUT)
    strata = [STRATA[i % 3] for i in range(count)]
    rows = []
    for i, stratum in enumerate(strata):
        if stratum == "pair":
            aus: set[int] = set(pairs[i // 3 % len(pairs)])
        elif stratum == "pair+":
            first = set(pairs[i // 3 % len(pairs)])
            home = next((c for c in CLIQUES if first <= set(c)), tuple(first))
            others = [au for au in home if au not in first] or _free(first)
            aus = first | {int(rng.choice(others))}
            if rng.random() < 0.5:
                aus |= {int(rng.choice(_free(aus)))}
        else:
            aus = {int(au) for clique in CLIQUES for au in _some(rng, clique, (2, 4))}
            size = max(5, len(aus)) + int(rng.integers(0, 2))
            while len(aus) < size:
                aus |= {int(rng.choice(_free(aus)))}
        rows.append(labels_of(sorted(aus)))
    order = rng.permutation(count)
    return np.stack(rows)[order], [strata[i] for i in order]


def _free(aus: set[int]) -> list[int]:
    return [au for au in AUS if au not in aus]


def _some(rng: np.random.Generator, clique: tuple[int, ...], sizes: tuple[int, int]) -> list[int]:
    size = int(rng.integers(sizes[0], sizes[1] + 1))
    return sorted(int(au) for au in rng.choice(clique, size, replace=False))


def draw_conflict(rng: np.random.Generator, count: int) -> Sets:
    """Return the six conflicting combinations in equal shares, half with auxiliary AUs."""
    import numpy as np

    from aubench.datasets.synfacs2.occurrence import RATES

    labels, strata = [], []
    for i in range(count):
        name = CONFLICTS[i % len(CONFLICTS)]
        core = parse_aus(name)
        other = REGIONS["rest" if core[0] in REGIONS["brow"] else "brow"]
        extra = [au for au in other if i // len(CONFLICTS) % 2 and rng.random() < RATES[au]]
        labels.append(labels_of((*core, *extra)))
        strata.append(name)
    return np.stack(labels), strata


def _plans() -> dict[str, Plan]:
    rows: tuple[tuple[str, Any, dict[str, Any]], ...] = (
        (
            "test2k",
            "occurring",
            {"seed": 301, "samples": 2000, "paper": "Table 3"}
            | {"description": "2,000 faces of unseen subjects, AU sets as they occur in train."},
        ),
        (
            "unseen",
            "unseen",
            {"seed": 302, "samples": 2000, "paper": "Table 6", "unseen": True}
            | {"description": "2,000 faces with AU pairs that never occur together in train."},
        ),
        (
            "conflict",
            "conflict",
            {"seed": 303, "samples": 1200, "paper": "Table 4"}
            | {"description": "Six conflicting combinations, 200 faces each."},
        ),
        (
            "label-input",
            "occurring",
            {"seed": 301, "samples": 2000, "paper": "Table 5", "input": "labels"}
            | {"description": "The samples of test2k with AU labels in place of text."},
        ),
        (
            "intensity",
            "graded",
            {"seed": 305, "samples": 4416, "paper": "none", "graded": True}
            | {"description": "One AU from 0 to E, and grids of two opposed groups."},
        ),
    )
    common = {"version": VERSION, "dataset": DATASET, "size": 128, "allocation": "conflicts"}
    out = {}
    for name, draw, rest in rows:
        for condition, ending in (("studio", ""), ("wild", "-wild")):
            told = common | {"input": "text"} | rest | {"name": name + ending}
            out[name + ending] = Plan(Definition.model_validate(told), draw, condition)
    told = common | {"input": "text"} | rows[0][2] | {"name": "test2k-same-scene"}
    told["description"] = "The targets of test2k with references of the same scene."
    out["test2k-same-scene"] = Plan(Definition.model_validate(told), "occurring", "studio", True)
    return out


PLANS = _plans()


def frame_of_plan(plan: Plan, seed: int | None = None, people: range | None = None) -> pd.DataFrame:
    """Return the samples of a plan.

    Args:
        plan: What is drawn.
        seed: Seed in place of the protocol's.
        people: Subject numbers in place of the test subjects.
    """
    import numpy as np

    from aubench.datasets.synfacs2.occurrence import draw_intensities, draw_labels
    from aubench.datasets.synfacs2.synfacs2_dataset import SCENES, reference_key
    from aubench.synfacs2.keys import SPLITS

    told, chosen = plan.definition, np.array(people or SPLITS["test"])
    rng = np.random.default_rng(told.seed if seed is None else seed)
    if plan.draw == "graded":
        subjects, scenes, intensities, strata = _graded(rng, chosen, told.samples)
    else:
        drawn = {
            "occurring": lambda r, n: (draw_labels(r, n), ["all"] * n),
            "unseen": draw_unseen,
            "conflict": draw_conflict,
        }[plan.draw]
        labels, strata = drawn(rng, told.samples)
        intensities = draw_intensities(rng, labels)
        rows = np.arange(told.samples)
        subjects = chosen[rows % len(chosen)]
        offset = {"occurring": 100, "unseen": 200, "conflict": 300}[plan.draw]
        scenes = subjects * SCENES + offset + rows // len(chosen)
    frame = _rows(plan, subjects, scenes, intensities)
    frame["strata"] = strata
    if plan.same_scene:
        pairs = zip(frame["subject"], scenes, strict=True)
        frame["reference"] = [
            reference_key(str(s), int(k), plan.condition, same_scene=True) for s, k in pairs
        ]
    return frame


def _rows(plan: Plan, subjects: Any, scenes: Any, intensities: Any) -> pd.DataFrame:
    from aubench.datasets.synfacs2.synfacs2_dataset import frame_of

    prefix = plan.definition.name
    return frame_of(prefix, subjects, scenes, intensities, plan.condition)


def _graded(
    rng: np.random.Generator, people: npt.NDArray[np.int64], count: int
) -> tuple[Any, Any, Any, list[str]]:
    """Return subjects, scenes, levels and strata of sweeps and grids.

    One AU from 0 to E, and grids of two opposed groups of AUs at 0, A, C and E; each sweep and each
    grid of a subject has a scene of its own, which no other protocol uses.
    """
    import numpy as np

    from aubench.datasets.synfacs2.synfacs2_dataset import scene_seed

    swept = np.sort(rng.choice(people, SWEPT, replace=False))
    few = np.sort(rng.choice(swept, GRIDDED, replace=False))
    plans = [(f"sweep {au}", swept, [labels_of((au,)) * k for k in range(6)]) for au in AUS]
    for name in GRIDS:
        first, second = (labels_of(parse_aus(part)) for part in name.split(" x "))
        cells = [a * first + b * second for a, b in product((0, 1, 3, 5), repeat=2)]
        plans.append((f"grid {name}", few, cells))
    rows = [
        (int(subject), scene_seed(int(subject), 400 + i), stratum, levels)
        for i, (stratum, subjects, cells) in enumerate(plans)
        for subject in subjects
        for levels in cells
    ]
    if len(rows) != count:
        raise ValueError(f"the design has {len(rows)} samples, not {count}")
    rows = [rows[i] for i in rng.permutation(len(rows))]  # the first are of every kind
    levels = np.stack([row[3] for row in rows]).astype(np.float32)
    numbers = np.array([row[:2] for row in rows], np.int64)
    return numbers[:, 0], numbers[:, 1], levels, [row[2] for row in rows]


def freeze(name: str, root: Path) -> Path:
    """Write a protocol's definition, samples, proof and digests; return its folder."""
    plan, place = PLANS[name], root / DATASET / name
    rows = frame_of_plan(plan)[["sample_id", "target", "reference", "strata"]]
    write_text(place / SAMPLES, rows.to_csv(index=False, lineterminator="\n"))
    write_text(place / DEFINITION, plan.definition.lines())
    files = [DEFINITION, SAMPLES]
    write_sums(place, files)
    if plan.definition.unseen:
        proof = disjointness(load_protocol(name, DATASET, root))
        write_text(place / PROOF, json.dumps(proof, indent=1) + "\n")
        write_sums(place, [*files, PROOF])
    return place


def held_out_pairs(labels: npt.NDArray[np.uint8]) -> list[int]:
    """Return how many held-out pairs each AU set of uint8 [N, 12] contains."""
    from aubench.datasets.synfacs2.occurrence import HELD_OUT

    sets = [{au for au, on in zip(AUS, row, strict=True) if on} for row in labels]
    return [sum(pair in HELD_OUT for pair in combinations(sorted(s), 2)) for s in sets]


def main(words: list[str]) -> None:
    """Freeze every protocol."""
    for name in PLANS:
        sys.stderr.write(f"{freeze(name, Path(words[0]))}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
