"""Draws the protocols of synfacs: ``python -m aubench.protocols.synfacs_draws FOLDER``.

Run it once a version; ``aubench.protocols.reference_statistics`` adds AAAD's constants.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.facs import combination_name, labels_of, parse_aus
from aubench.protocols.protocol import (
    DEFINITION,
    PROOF,
    SAMPLES,
    SUMS,
    Definition,
    disjointness,
    load_protocol,
)
from aubench.storage.files import sha256_file, write_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Drawn = tuple[npt.NDArray[np.uint8], list[str]]

CONFLICTS = ("12+15", "1+4", "6+12+15", "12+15+17", "6+12+15+17", "1+2+4")
REGIONS: dict[str, tuple[int, ...]] = {
    "brow": (1, 2, 4),
    "rest": (6, 7, 10, 12, 14, 15, 17, 23, 24),
}
"""Auxiliary AUs of a conflict act on no muscle of its region: brow against eyes and mouth."""


def draw_test2k(rng: np.random.Generator, count: int) -> Drawn:
    """AU sets as they occur in the data set."""
    from aubench.datasets.synfacs.synfacs_dataset import draw_labels

    return draw_labels(rng, count), ["all"] * count


def draw_unseen(rng: np.random.Generator, count: int) -> Drawn:
    """AU sets that train never holds, in quarters.

    Singles that train leaves out; sets of several AUs of which none oppose each other, all those
    outside train alike; conflicts that train leaves out; sets with opposed AUs as the data set's
    distribution gives them, outside train.
    """
    import numpy as np

    from aubench.datasets.synfacs.synfacs_dataset import (
        RESERVED_CONFLICTS,
        RESERVED_SINGLES,
        draw_labels,
    )

    simple, opposed = unseen_sets()
    quarter = count // 4
    names = [RESERVED_SINGLES[i % len(RESERVED_SINGLES)] for i in range(quarter)]
    names += [simple[i] for i in rng.integers(0, len(simple), quarter)]
    names += [RESERVED_CONFLICTS[i % len(RESERVED_CONFLICTS)] for i in range(quarter)]
    strata = ["single"] * quarter + ["simple"] * quarter + ["conflict"] * (count - 2 * quarter)
    while len(names) < count:
        drawn = (combination_name(row) for row in draw_labels(rng, 4000))
        names += [name for name in drawn if name in opposed][: count - len(names)]
    labels = np.stack([labels_of(parse_aus(name)) for name in names])
    order = rng.permutation(count)
    return labels[order], [strata[i] for i in order]


def unseen_sets() -> tuple[list[str], frozenset[str]]:
    """Return the names of the sets of at least two AUs outside train: unopposed and opposed."""
    from itertools import combinations

    from aubench.datasets.synfacs.synfacs_dataset import train_combinations
    from aubench.facs import AUS, load_facs

    known, facs = set(train_combinations()), load_facs()
    simple, opposed = [], set()
    for size in range(2, len(AUS) + 1):
        for aus in combinations(AUS, size):
            name = "+".join(map(str, aus))
            if name in known:
                continue
            if facs.conflicts_in(aus):
                opposed.add(name)
            else:
                simple.append(name)
    return simple, frozenset(opposed)


def draw_conflict(rng: np.random.Generator, count: int) -> Drawn:
    """The six conflicting combinations in equal shares, half of them with auxiliary AUs."""
    import numpy as np

    from aubench.datasets.synfacs.synfacs_dataset import RATES

    labels, strata = [], []
    for i in range(count):
        name = CONFLICTS[i % len(CONFLICTS)]
        core = parse_aus(name)
        other = REGIONS["rest" if core[0] in REGIONS["brow"] else "brow"]
        extra = [au for au in other if i // len(CONFLICTS) % 2 and rng.random() < RATES[au]]
        labels.append(labels_of((*core, *extra)))
        strata.append(name)
    return np.stack(labels), strata


GRIDS = ("12 x 15", "1 x 4", "6+12 x 15", "12 x 15+17", "6+12 x 15+17", "1+2 x 4")
"""The conflicts as two opposed groups; the AUs of a group are always at one level."""
SWEPT, GRIDDED = 40, 16
"""Subjects of a sweep and of a grid; those of the grids are among those of the sweeps."""


def draw_intensity(rng: np.random.Generator, count: int) -> pd.DataFrame:
    """One AU from 0 to E, and grids of two opposed groups of AUs at 0, A, C and E.

    Each sweep and each grid of a subject has a scene of its own, which no other protocol uses.

    Returns:
        ``subject`` and ``scene`` numbers, ``stratum``, and ``levels``: 12 values each.

    Raises:
        ValueError: The design has another number of rows than ``count``.
    """
    import numpy as np
    import pandas as pd

    from aubench.datasets.synfacs.synfacs_dataset import SCENES, scene_seed
    from aubench.facs import AUS
    from aubench.synfacs.keys import SPLITS

    people = np.sort(rng.choice(np.array(SPLITS["test"]), SWEPT, replace=False))
    few = np.sort(rng.choice(people, GRIDDED, replace=False))
    plans = [(f"sweep {au}", people, [labels_of((au,)) * k for k in range(6)]) for au in AUS]
    for name in GRIDS:
        first, second = (labels_of(parse_aus(part)) for part in name.split(" x "))
        cells = [a * first + b * second for a, b in product((0, 1, 3, 5), repeat=2)]
        plans.append((f"grid {name}", few, cells))
    rows = [
        (int(subject), scene_seed(int(subject), SCENES["test"] + i), stratum, levels)
        for i, (stratum, subjects, cells) in enumerate(plans)
        for subject in subjects
        for levels in cells
    ]
    if len(rows) != count:
        raise ValueError(f"the design has {len(rows)} samples, not {count}")
    order = rng.permutation(len(rows))  # so that the first samples are of every kind
    columns = ["subject", "scene", "stratum", "levels"]
    return pd.DataFrame([rows[i] for i in order], columns=columns)


DATASET = "synfacs"
COMMON: dict[str, str | int] = {"version": "1.0", "dataset": DATASET, "size": 128}
PLANS: dict[str, tuple[Definition, Callable[[Any, int], Any]]] = {
    name: (Definition.model_validate({**COMMON, "name": name, **rest}), draw)
    for name, rest, draw in (
        (
            "test2k",
            {
                "seed": 201,
                "input": "text",
                "samples": 2000,
                "paper": "Table 3",
                "description": "2,000 faces of unseen subjects, AU sets as they occur.",
            },
            draw_test2k,
        ),
        (
            "unseen",
            {
                "seed": 202,
                "input": "text",
                "samples": 2000,
                "paper": "Table 6",
                "description": "2,000 faces whose AU combination occurs nowhere in train.",
                "unseen": True,
            },
            draw_unseen,
        ),
        (
            "conflict",
            {
                "seed": 203,
                "input": "text",
                "samples": 1200,
                "paper": "Table 4",
                "description": "Six conflicting combinations, 200 faces each.",
            },
            draw_conflict,
        ),
        (
            "label-input",
            {
                "seed": 201,
                "input": "labels",
                "samples": 2000,
                "paper": "Table 5",
                "description": "The samples of test2k with AU labels in place of text.",
            },
            draw_test2k,
        ),
        (
            "intensity",
            {
                "seed": 205,
                "input": "text",
                "samples": 4416,
                "paper": "none",
                "description": "One AU from 0 to E, and grids of two opposed groups.",
                "graded": True,
            },
            draw_intensity,
        ),
    )
}


def freeze(name: str, root: Path) -> Path:
    """Write a protocol's definition, samples, proof and digests; return its folder."""
    import pandas as pd

    definition, _ = PLANS[name]
    frame = _graded_frame(name) if definition.graded else _drawn_frame(name)
    place = root / DATASET / name
    rows = pd.DataFrame(frame[["sample_id", "target", "strata"]])
    write_text(place / SAMPLES, rows.to_csv(index=False, lineterminator="\n"))
    write_text(place / DEFINITION, definition.lines())
    files = [DEFINITION, SAMPLES]
    write_sums(place, files)
    if definition.unseen:
        proof = disjointness(load_protocol(name, DATASET, root))
        write_text(place / PROOF, json.dumps(proof, indent=1) + "\n")
        write_sums(place, [*files, PROOF])
    return place


def _drawn_frame(name: str) -> pd.DataFrame:
    """Return AU sets on test subjects in turn, intensities and scenes as the data set has them."""
    import numpy as np

    from aubench.datasets.synfacs.synfacs_dataset import SCENES, draw_intensities, frame_of
    from aubench.synfacs.keys import SPLITS

    definition, draw = PLANS[name]
    rng = np.random.default_rng(definition.seed)
    labels, strata = draw(rng, definition.samples)
    intensities = draw_intensities(rng, labels)
    people = np.array(SPLITS["test"])
    subjects = people[np.arange(len(labels)) % len(people)]
    scenes = subjects * 100 + rng.integers(0, SCENES["test"], len(labels))
    prefix = "test2k" if name == "label-input" else name
    return frame_of(prefix, subjects, scenes, intensities, definition.seed, strata)


def _graded_frame(name: str) -> pd.DataFrame:
    import numpy as np

    from aubench.datasets.synfacs.synfacs_dataset import frame_of

    definition, draw = PLANS[name]
    rows = draw(np.random.default_rng(definition.seed), definition.samples)
    subjects, scenes = (rows[column].to_numpy(np.int64) for column in ("subject", "scene"))
    levels = np.stack(list(rows["levels"])).astype(np.float32)
    return frame_of(name, subjects, scenes, levels, definition.seed, rows["stratum"].tolist())


def write_sums(place: Path, names: list[str]) -> None:
    """Write the digests of some files of a protocol beside them."""
    lines = [f"{sha256_file(place / name)}  {name}\n" for name in names]
    write_text(place / SUMS, "".join(lines))


def main(words: list[str]) -> None:
    """Freeze every protocol."""
    for name in PLANS:
        sys.stderr.write(f"{freeze(name, Path(words[0]))}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
