"""Freezing protocols from a researcher's own data; the same files give the same bytes anywhere."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from aubench.datasets.frozen_splits import check_pixels, frozen_rows
from aubench.datasets.imported.files import complete
from aubench.datasets.registry import find_dataset
from aubench.datasets.samples import LABELS
from aubench.datasets.splits import (
    BITS,
    Split,
    TrainSets,
    codes_of,
    proof_of,
    train_sets,
)
from aubench.errors import AubenchError, suggest
from aubench.facs import AUS, combination_name, labels_of, load_facs, parse_aus
from aubench.protocols.protocol import DEFINITION, PROOF, SAMPLES, SUMS, Definition, user_root
from aubench.protocols.synfacs_draws import CONFLICTS, REGIONS
from aubench.storage.files import sha256_bytes, sha256_file, write_text

if TYPE_CHECKING:
    import pandas as pd

    from aubench.datasets.dataset import Dataset
    from aubench.facs.describe import Allocation

FOLDS = "folds.json"
NAMED = re.compile(r"[a-z0-9][a-z0-9._-]{0,40}")
"""What may follow a plan's name and a dash in the name of a protocol."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pool:
    """Frames that a protocol may take, all of test subjects.

    Attributes:
        codes: AU set of each, int64 [N].
        order: A random order that follows from keys and seed alone, int64 [N].
        train: Combinations of train.
    """

    codes: npt.NDArray[np.int64]
    order: npt.NDArray[np.int64]
    train: TrainSets


Drawn = tuple[Rows, list[str]]


def draw_test2k(pool: Pool, count: int) -> Drawn:
    """Return frames as they occur."""
    return pool.order[:count], ["all"] * min(count, len(pool.order))


def draw_unseen(pool: Pool, count: int) -> Drawn:
    """Return frames whose AU set train cannot hold, as many different sets as there are.

    Every set gives its first frame before any gives its second.
    """
    order = pool.order[~pool.train.possible[pool.codes[pool.order]]]
    taken: dict[int, int] = {}
    turn = np.empty(len(order), np.int64)
    for i, code in enumerate(pool.codes[order].tolist()):
        turn[i] = taken[code] = taken.get(code, -1) + 1
    rows = order[np.argsort(turn, kind="stable")][:count]
    facs = load_facs()
    kinds: dict[int, str] = {}
    for code in np.unique(pool.codes[rows]).tolist():
        aus = parse_aus(combination_name((code & BITS) > 0))
        kind = "conflict" if facs.conflicts_in(aus) else "simple"
        kinds[code] = "single" if len(aus) == 1 else kind
    return rows, [kinds[code] for code in pool.codes[rows].tolist()]


def draw_conflict(pool: Pool, count: int) -> Drawn:
    """Return frames that show one of the six conflicts and no other AU of its half of the face."""
    share, rows, strata = count // len(CONFLICTS), [], []
    for name in CONFLICTS:
        core = parse_aus(name)
        region = REGIONS["brow" if core[0] in REGIONS["brow"] else "rest"]
        mask, code = int(labels_of(region) @ BITS), int(labels_of(core) @ BITS)
        found = pool.order[(pool.codes[pool.order] & mask) == code][:share]
        rows += found.tolist()
        strata += [name] * len(found)
    rank = {row: i for i, row in enumerate(pool.order.tolist())}
    both = sorted(zip(rows, strata, strict=True), key=lambda pair: rank[pair[0]])
    return np.array([row for row, _ in both], np.int64), [name for _, name in both]


@dataclass(frozen=True)
class ProtocolPlan:
    """What a protocol is, on whatever data."""

    seed: int
    samples: int
    paper: str
    description: str
    draw: Callable[[Pool, int], Drawn]
    input: str = "text"
    unseen: bool = False
    exact: bool = True


PLANS = {
    "test2k": ProtocolPlan(
        201, 2000, "Table 3", "faces of test subjects, AU sets as they occur", draw_test2k
    ),
    "unseen": ProtocolPlan(
        202,
        2000,
        "Table 6",
        "faces whose AU combination occurs nowhere in train",
        draw_unseen,
        unseen=True,
    ),
    "conflict": ProtocolPlan(
        203, 1200, "Table 4", "faces that show a conflict of six kinds", draw_conflict, exact=False
    ),
    "label-input": ProtocolPlan(
        201, 2000, "Table 5", "the samples of test2k with AU labels", draw_test2k, input="labels"
    ),
}


@dataclass(frozen=True)
class Frozen:
    """What was frozen.

    Attributes:
        place: Folder of the protocol.
        sha256: Its digest.
        split: Subjects of train and test.
        strata: Number of samples of each.
        combinations: How many different AU sets.
    """

    place: Path
    sha256: str
    split: Split
    strata: dict[str, int]
    combinations: int


def freeze_own(
    name: str,
    dataset: str,
    *,
    fold: int = 1,
    samples: int | None = None,
    size: int = 256,
    root: Path | None = None,
    strict: bool = True,
    allocation: Allocation = "conflicts",
) -> Frozen:
    """Freeze a protocol from a data set.

    Args:
        name: ``test2k``, ``unseen``, ``conflict`` or ``label-input``, which may go on after a dash,
            such as ``test2k-fold2``, so that protocols of several folds stand side by side.
        dataset: Its name.
        fold: Fold whose test subjects are asked for.
        samples: Samples in place of the paper's number.
        size: Pixels of the images.
        strict: Unknown AUs of train may be active; else they count as absent.
        allocation: Which AUs our texts describe together; texts of others stay as they are.
        root: Folder to write ``DATASET/NAME`` into; the user's own by default.

    Raises:
        AubenchError: Unknown name or data set, data that do not code all AUs, an image in train
            and in test, too few frames.
    """
    import pandas as pd

    plan, source = _plan_of(name), find_dataset(dataset)
    lacking = [f"AU{au}" for au in AUS if au not in source.coded]
    if lacking:
        raise AubenchError(
            f"'{dataset}' does not code {', '.join(lacking)}", "a protocol commands all twelve AUs"
        )
    frame, split = source.index(), source.split(fold)
    check_pixels(frame, split.train, split.test)
    whole, pool = _pool(frame, split, plan.seed, strict)
    asked = samples or plan.samples
    rows, strata = plan.draw(pool, asked)
    exact = plan.exact or (samples is not None and plan is not PLANS["conflict"])
    _check_count(name, dataset, len(rows), asked, exact=exact)
    chosen = pd.DataFrame(frame.iloc[whole[rows]])
    texts, update = _texts(source, chosen, plan, allocation)
    place = (root or user_root()) / dataset / name
    definition = _definition(name, dataset, plan, len(rows), size, split)
    definition = definition.model_copy(update=update)
    table = frozen_rows(chosen, strata, texts)
    _write(place, definition, table, split, source.content, pool.train)
    return Frozen(
        place,
        _digest(place),
        split,
        {s: strata.count(s) for s in sorted(set(strata))},
        len(np.unique(pool.codes[rows])),
    )


def _plan_of(name: str) -> ProtocolPlan:
    """Return the plan of a protocol by its name, or by what stands before a dash in it."""
    for known, plan in PLANS.items():
        start, _, rest = name.partition(f"{known}-")
        if name == known or (not start and NAMED.fullmatch(rest)):
            return plan
    raise AubenchError(
        f"unknown protocol '{name}'{suggest(name, PLANS)}", f"choose from {', '.join(PLANS)}"
    )


def _texts(
    source: Dataset, chosen: pd.DataFrame, plan: ProtocolPlan, allocation: Allocation
) -> tuple[list[str] | None, dict[str, str]]:
    """Return the texts of others for the rows chosen, or None, and what the definition says."""
    if plan.input != "text":
        return None, {}
    given = source.given_texts()
    if given is None:
        return None, {"allocation": allocation}
    keys = [str(key) for key in chosen["key"]]
    return given.drawn(keys, plan.seed), {"texts": given.sha256}


def _pool(frame: pd.DataFrame, split: Split, seed: int, strict: bool) -> tuple[Rows, Pool]:
    """Return the rows of the index that may be taken, and what is known of them."""
    good = complete(frame) & frame["sample"].to_numpy()
    good &= frame["subject"].isin(split.test).to_numpy()
    # Who has no neutral face is his own reference in one frame; it asks for nothing.
    good &= frame["key"].to_numpy(str) != frame["reference"].astype(str).to_numpy(str)
    whole = np.flatnonzero(good)
    ranks = [hashlib.sha256(f"{seed}/{key}".encode()).digest() for key in frame["key"].iloc[whole]]
    order = np.array(sorted(range(len(ranks)), key=ranks.__getitem__), np.int64)
    codes = codes_of(frame[list(LABELS)].to_numpy(np.int8)[whole])
    return whole, Pool(codes, order, train_sets(frame, split.train, strict=strict))


def _check_count(name: str, dataset: str, found: int, asked: int, *, exact: bool) -> None:
    if found < 2 or (exact and found < asked):
        raise AubenchError(
            f"'{dataset}' has {found} frames for {name}, not {asked}",
            f"--samples {found} takes them all" if found > 1 else "import more subjects",
        )


def _definition(
    name: str, dataset: str, plan: ProtocolPlan, count: int, size: int, split: Split
) -> Definition:
    part = f"fold {split.fold} of {split.folds}" if split.fold else "split of the data"
    return Definition.model_validate(
        {
            "name": name,
            "version": "1.0",
            "dataset": dataset,
            "size": size,
            "seed": plan.seed,
            "input": plan.input,
            "samples": count,
            "paper": plan.paper,
            "unseen": plan.unseen,
            "description": f"{count:,} {plan.description}; {part}.",
        }
    )


def _write(
    place: Path,
    definition: Definition,
    rows: pd.DataFrame,
    split: Split,
    content: str,
    train: TrainSets,
) -> None:
    write_text(place / SAMPLES, rows.to_csv(index=False, lineterminator="\n"))
    write_text(place / DEFINITION, definition.lines())
    folds = {
        "fold": split.fold,
        "folds": split.folds,
        "strict": train.strict,
        "content": content,
        "train": list(split.train),
        "test": list(split.test),
    }
    write_text(place / FOLDS, json.dumps(folds, indent=1) + "\n")
    names = [DEFINITION, SAMPLES, FOLDS]
    if definition.unseen:
        proof = proof_of(train, sorted(set(rows["combination"])))
        write_text(place / PROOF, json.dumps(proof, indent=1) + "\n")
        names.append(PROOF)
    write_sums(place, names)


def write_sums(place: Path, names: list[str]) -> None:
    """Write the digests of a protocol's files; none but these are left in its folder."""
    for path in place.iterdir():
        if path.is_file() and path.name not in (*names, SUMS):
            path.unlink()
    lines = [f"{sha256_file(place / name)}  {name}\n" for name in names]
    write_text(place / SUMS, "".join(lines))


def _digest(place: Path) -> str:
    both = sha256_file(place / DEFINITION) + sha256_file(place / SAMPLES)
    return sha256_bytes(both.encode())
