"""Who is in train and who in test of imported data: published folds, or ours by digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from aubench.datasets.imported.files import ImportRecord, read_record
from aubench.datasets.splits import Split
from aubench.errors import AubenchError

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


def _records(name: str) -> dict[str, ImportRecord]:
    """Return the records of a data set and of the members of a joint one."""
    records = {name: read_record(name)}
    return records | {part: read_record(part) for part in records[name].members}


def folds_of(name: str) -> int:
    """Return how many folds an imported data set has."""
    return min(FOLDS[r.kind] for r in _records(name).values() if not r.members)


def own_split(name: str) -> bool:
    """Whether an imported data set says itself who is in train and who in test."""
    return all(r.splits for r in _records(name).values() if not r.members)


def split_of(name: str, fold: int, subjects: Iterable[str]) -> Split:
    """Return train and test subjects of a fold of an imported data set.

    A joint set takes the same fold of each member. Where the data bring their own split, that one
    holds and ``fold`` is ignored.

    Raises:
        AubenchError: No such fold; no subject in train or in test.
    """
    records = _records(name)
    folds, own = folds_of(name), own_split(name)
    if not own and not 1 <= fold <= folds:
        raise AubenchError(f"no fold {fold} of '{name}'", f"choose 1 to {folds}")
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for subject in sorted(set(subjects)):
        part, _, person = subject.partition("/")
        parts[_part(records[part], subject, person, fold)].append(subject)
    for which in ("train", "test"):
        if not parts[which]:
            raise AubenchError(f"'{name}' has no subject in {which} of fold {fold}", "try --fold")
    named = {part: tuple(people) for part, people in parts.items()}
    return Split(0 if own else fold, folds, **named)


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
