"""Who is in train and who in test, and which AU combinations train holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aubench.datasets.samples import LABELS
from aubench.facs import AUS, combination_name, labels_of, parse_aus
from aubench.storage.files import sha256_bytes

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

BITS = 1 << np.arange(len(AUS))


@dataclass(frozen=True)
class Split:
    """Subjects of a fold.

    Attributes:
        fold: Fold from 1; 0 where the data say who is in which part.
        folds: How many there are.
        train: Sorted subjects.
        test: Sorted subjects.
        validation: Sorted subjects, where the data name some.
    """

    fold: int
    folds: int
    train: tuple[str, ...]
    test: tuple[str, ...]
    validation: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainSets:
    """AU combinations that train holds.

    A frame with unknown AUs might show any set that agrees with what is known. Strictly, all of
    them count as possible; else only the one that its description tells, unknown AUs left out.

    Attributes:
        names: Sorted, of frames of which all AUs are known.
        vague: Sorted, of frames with unknown AUs; ``6+12 of 1,2,4,6,12`` is 6+12 where 1, 2, 4, 6,
            12 are known.
        possible: bool [4096] by code; a combination that train holds or may hold.
        strict: How unknown AUs were taken.
    """

    names: tuple[str, ...]
    vague: tuple[str, ...]
    possible: npt.NDArray[np.bool_]
    strict: bool = True


def codes_of(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Return a number of each AU set [N, 12], AU1 the lowest bit; unknown counts as absent."""
    return np.asarray((labels == 1) @ BITS, np.int64)


def train_sets(frame: pd.DataFrame, subjects: Iterable[str], *, strict: bool = True) -> TrainSets:
    """Return the combinations of some subjects' samples in an index."""
    rows = frame["subject"].isin(list(subjects)).to_numpy() & frame["sample"].to_numpy()
    labels = frame.loc[rows, list(LABELS)].to_numpy(np.int8)
    pairs = np.unique(
        np.stack([codes_of(labels), np.asarray((labels >= 0) @ BITS, np.int64)], 1), axis=0
    )
    possible, every = np.zeros(1 << len(AUS), np.bool_), np.arange(1 << len(AUS))
    names, vague = [], []
    for code, mask in pairs:
        possible |= (every & mask if strict else every) == code
        name = combination_name((code & BITS) > 0)
        if mask == every[-1]:
            names.append(name)
        else:
            known = ",".join(str(au) for au, bit in zip(AUS, BITS, strict=True) if mask & bit)
            vague.append(f"{name} of {known}")
    return TrainSets(tuple(sorted(names)), tuple(sorted(vague)), possible, strict)


def proof_of(train: TrainSets, asked: list[str]) -> dict[str, object]:
    """Return the proof that none of the combinations asked for occurs, or may occur, in train."""
    codes = {name: int(labels_of(parse_aus(name)) @ BITS) for name in asked}
    return {
        "train combinations": len(train.names),
        "train sha256": sha256_bytes("\n".join(train.names).encode()),
        "train sets with unknown AUs": len(train.vague),
        "unknown sha256": sha256_bytes("\n".join(train.vague).encode()),
        "unknown AUs": "may be active" if train.strict else "count as absent",
        "protocol combinations": asked,
        "in both": [name for name in asked if train.possible[codes[name]]],
    }
