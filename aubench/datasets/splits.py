"""Who is in train and who in test, and which AU combinations train holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aubench.datasets.imported import ImportRecord, read_index, read_record
from aubench.datasets.samples import LABELS
from aubench.errors import AubenchError
from aubench.facs import AUS, combination_name, labels_of, parse_aus
from aubench.files import sha256_bytes

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

BITS = 1 << np.arange(len(AUS))

BP4D = (
    "F001 F002 F008 F009 F010 F016 F018 F023 M001 M004 M007 M008 M012 M014",
    "F003 F005 F011 F013 F020 F022 M002 M005 M010 M011 M013 M016 M017 M018",
    "F004 F006 F007 F012 F014 F015 F017 F019 F021 M003 M006 M009 M015",
)
"""Parts of JAA-Net and ME-GraphAU; fold 1 tests the third, fold 2 the second, fold 3 the first."""

DISFA = (
    "SN002 SN010 SN001 SN026 SN027 SN032 SN030 SN009 SN016",
    "SN013 SN018 SN011 SN028 SN012 SN006 SN031 SN021 SN024",
    "SN003 SN029 SN023 SN025 SN008 SN005 SN007 SN017 SN004",
)
FOLDS = {"bp4d": 3, "bp4dplus": 4, "disfa": 3, "folder": 3}


@dataclass(frozen=True)
class Split:
    """Subjects of a fold.

    Attributes:
        fold: from 1; 0 where the data say who is in which part.
        folds: how many there are.
        train: sorted subjects.
        test: sorted subjects.
    """

    fold: int
    folds: int
    train: tuple[str, ...]
    test: tuple[str, ...]


def split_of(name: str, fold: int, subjects: Iterable[str]) -> Split:
    """Return train and test subjects of a fold of an imported data set.

    A joint set takes the same fold of each member. Where the data bring their own split, that one
    holds and ``fold`` is ignored.

    Raises:
        AubenchError: no such fold; no subject in train or in test.
    """
    records = {name: read_record(name)}
    records |= {part: read_record(part) for part in records[name].members}
    folds = min(FOLDS[r.kind] for r in records.values() if not r.members)
    own = all(r.splits for r in records.values() if not r.members)
    if not own and not 1 <= fold <= folds:
        raise AubenchError(f"no fold {fold} of '{name}'", f"choose 1 to {folds}")
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for subject in sorted(set(subjects)):
        part, _, person = subject.partition("/")
        parts[_part(records[part], subject, person, fold)].append(subject)
    for which in ("train", "test"):
        if not parts[which]:
            raise AubenchError(f"'{name}' has no subject in {which} of fold {fold}", "try --fold")
    return Split(0 if own else fold, folds, tuple(parts["train"]), tuple(parts["test"]))


def _part(record: ImportRecord, subject: str, person: str, fold: int) -> str:
    if record.splits:
        return record.splits[subject]
    return "test" if part_of(record.kind, person) == fold else "train"


def part_of(kind: str, person: str) -> int:
    """Return the fold, from 1, that tests a person.

    BP4D+ has four parts of 35: no list is agreed on, ours are the persons in the order of the
    digests of their names. Persons that no list knows, and those of folders, go by digest.
    """
    if kind in ("bp4d", "disfa"):
        for i, part in enumerate(BP4D if kind == "bp4d" else DISFA):
            if person in part.split():
                return 3 - i
    if kind == "bp4dplus":
        everyone = [f"F{i:03d}" for i in range(1, 83)] + [f"M{i:03d}" for i in range(1, 59)]
        if person in everyone:
            return sorted(everyone, key=_digest).index(person) // 35 + 1
    return int(_digest(person), 16) % FOLDS[kind] + 1


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


@dataclass(frozen=True)
class TrainSets:
    """AU combinations that train holds.

    A frame with unknown AUs might show any set that agrees with what is known. Strictly, all of
    them count as possible; else only the one that its description tells, unknown AUs left out.

    Attributes:
        names: sorted, of frames of which all AUs are known.
        vague: sorted, of frames with unknown AUs; ``6+12 of 1,2,4,6,12`` is 6+12 where 1, 2, 4, 6,
            12 are known.
        possible: bool [4096] by code; a combination that train holds or may hold.
        strict: how unknown AUs were taken.
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


def recomputed_proof(name: str, place: Path, asked: list[str]) -> dict[str, object]:
    """Return the proof of a frozen protocol from the imported data as they are now.

    Raises:
        AubenchError: its ``folds.json`` cannot be read.
    """
    stated = _folds(place)
    frame = read_index(name, ["subject", "sample", *LABELS])
    split = split_of(name, int(stated["fold"]), frame["subject"].unique())
    strict = bool(stated.get("strict", True))
    return proof_of(train_sets(frame, split.train, strict=strict), asked)


def _folds(place: Path) -> dict[str, Any]:
    path = place / "folds.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {**found, "test": set(found["test"]), "train": set(found["train"])}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise AubenchError(f"{path} tells no folds", "freeze the protocol again") from error


def check_split(place: Path, name: str, samples: pd.DataFrame) -> dict[str, object]:
    """Check a frozen protocol against its folds and the imported data.

    Args:
        place: of the protocol.
        name: of the data set.
        samples: its samples.

    Returns:
        Number of train and test subjects, and whether the data are the same as when it was frozen.

    Raises:
        AubenchError: a subject is in train and test, or a sample not of a test subject or not
            imported.
    """
    folds = _folds(place)
    both = sorted(folds["train"] & folds["test"])
    if both:
        raise AubenchError(f"{place}: {both[0]} is in train and in test")
    strangers = sorted(set(samples["subject"]) - folds["test"])
    if strangers:
        raise AubenchError(f"{place}: {strangers[0]} is not a test subject")
    keys = set(read_index(name, ["key"])["key"])
    for column in ("target", "reference"):
        for key in samples[column]:
            if key not in keys:
                raise AubenchError(f"{place}: image {key} is not in '{name}'", "import again")
    same = read_record(name).content == folds["content"]
    return {
        "train subjects": len(folds["train"]),
        "test subjects": len(folds["test"]),
        "data": "as when frozen" if same else "changed since, all samples are still there",
    }
