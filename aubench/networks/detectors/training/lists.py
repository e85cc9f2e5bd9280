"""List files of ME-GraphAU: paths and labels of a fold, checked line by line.

A folder holds ``list/`` and ``img/``. For each fold ``list/`` has ``X_{train,test}_img_path_foldK``
(a path relative to ``img/`` a line, its first part the subject), ``X_{train,test}_label_foldK``
(twelve of 0, 1, 9 a line; 9, or -1, is unknown), and may have ``X_train_AU_relation_foldK`` (144
classes a line) and ``X_weight_foldK`` (the weights of the twelve AUs), all ``.txt``; X is ``BP4D``
or another name.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import torch

from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.facs.coding import parse_occurrence
from aubench.networks.detectors.faces import Faces, Labels, from_files
from aubench.networks.detectors.graphau.megraphau import edge_targets
from aubench.storage.tables import BREAK
from aubench.storage.text_files import read_text

PAIRS = len(AUS) ** 2
SHOWN = 3


@dataclass(frozen=True)
class Fold:
    """What the lists of a fold say.

    Attributes:
        train: Faces to train on.
        test: Faces of other subjects.
        weights: float64 [12] of the weight file, None if there is none.
        fingerprint: Digest of paths, labels, and sizes of the image files.
        prefix: X of the names, such as ``BP4D``.
    """

    train: Faces
    test: Faces
    weights: npt.NDArray[np.float64] | None
    fingerprint: str
    prefix: str


def read_fold(folder: Path, fold: int) -> Fold:
    """Return a fold of a folder in the official layout.

    Raises:
        AubenchError: Names the file and line: a list is missing or empty, lists are of unequal
            length, a line is not twelve of 0, 1, 9, an image is missing, edges contradict labels, a
            subject is in both parts.
    """
    prefix = _prefix(folder, fold)
    digest, parts = hashlib.sha256(), {}
    for part in ("train", "test"):
        paths_file = _list(folder, prefix, f"{part}_img_path", fold)
        labels_file = _list(folder, prefix, f"{part}_label", fold)
        names, subjects = read_paths(paths_file)
        labels = read_labels(labels_file)
        _same_length(paths_file, len(names), labels_file, len(labels))
        _take_images(folder / "img", names, paths_file, digest)
        digest.update(labels.tobytes())
        parts[part] = from_files(folder / "img", names, labels, subjects)
    relation = _list(folder, prefix, "train_AU_relation", fold)
    if relation.is_file():
        check_relation(relation, parts["train"].labels, _list(folder, prefix, "train_label", fold))
    _exclusive(parts["train"], parts["test"], _list(folder, prefix, "test_img_path", fold))
    weights_file = _list(folder, prefix, "weight", fold)
    weights = read_weights(weights_file) if weights_file.is_file() else None
    return Fold(parts["train"], parts["test"], weights, digest.hexdigest(), prefix)


def _list(folder: Path, prefix: str, kind: str, fold: int) -> Path:
    return folder / "list" / f"{prefix}_{kind}_fold{fold}.txt"


def _prefix(folder: Path, fold: int) -> str:
    """Return the name that the lists of a fold begin with."""
    for part in ("list", "img"):
        if not (folder / part).is_dir():
            raise AubenchError(f"no folder {folder / part}", "the layout is list/ and img/")
    end = f"_train_img_path_fold{fold}.txt"
    found = sorted(path.name.removesuffix(end) for path in (folder / "list").glob(f"*{end}"))
    if len(found) != 1:
        what = f"has {len(found)} lists" if found else "has no list"
        raise AubenchError(f"{folder / 'list'} {what} *{end}", "one such as BP4D" + end)
    return found[0]


def _lines(path: Path) -> list[str]:
    """Return the lines of a list without the empty ones at its end."""
    try:
        lines = BREAK.split(read_text(path))
    except OSError as error:
        raise AubenchError(f"cannot read the list {path}: {error.strerror}") from error
    except ValueError as error:
        raise AubenchError(f"{path} {error}", "save it as UTF-8") from error
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise AubenchError(f"the list {path} is empty")
    return lines


def read_paths(path: Path) -> tuple[list[str], list[str]]:
    """Return the relative paths in a list, and the subject of each.

    Raises:
        AubenchError: Names the line that is empty, absolute, or without a subject's folder.
    """
    names, subjects = [], []
    for number, line in enumerate(_lines(path), 1):
        name = PurePosixPath(line.strip())
        if name.is_absolute() or ".." in name.parts or len(name.parts) < 2:
            raise AubenchError(
                f"{path} line {number}: '{line.strip()}' is no path below img/ with a subject",
                "for example F001/T1/2440.jpg",
            )
        names.append(str(name))
        subjects.append(name.parts[0])
    return names, subjects


def read_labels(path: Path) -> Labels:
    """Return the labels in a list, int8 [N, 12], -1 for unknown.

    Raises:
        AubenchError: Names the line that has not twelve values, or one other than 0, 1, 9, -1.
    """
    codes: list[int] = []
    for number, line in enumerate(_lines(path), 1):
        words = line.split()
        if len(words) != len(AUS):
            raise AubenchError(
                f"{path} line {number} has {len(words)} values", f"{len(AUS)} are needed"
            )
        for au, word in zip(AUS, words, strict=True):
            try:
                codes.append(parse_occurrence(word))
            except ValueError as error:
                raise AubenchError(
                    f"{path} line {number}: AU{au} is '{word}'", "0, 1, or 9 for unknown"
                ) from error
    return np.array(codes, np.int8).reshape(-1, len(AUS))


def read_weights(path: Path) -> npt.NDArray[np.float64]:
    """Return the weights in a file, float64 [12].

    Raises:
        AubenchError: The file does not hold twelve positive numbers.
    """
    words = " ".join(_lines(path)).split()
    try:
        weights = np.array([float(word) for word in words])
    except ValueError as error:
        raise AubenchError(f"{path} line 1: {error}") from error
    if len(weights) != len(AUS) or not (np.isfinite(weights) & (weights > 0)).all():
        raise AubenchError(f"{path} line 1 does not hold {len(AUS)} positive numbers")
    return weights


def check_relation(path: Path, labels: Labels, labels_file: Path) -> None:
    """Check the classes of edges, 144 a line, against the labels [N, 12] where they are known.

    Raises:
        AubenchError: Names the line that has not 144 classes or contradicts the labels; the lists
            are of unequal length.
    """
    lines = _lines(path)
    _same_length(path, len(lines), labels_file, len(labels))
    wanted = edge_targets(torch.from_numpy(labels)).numpy()
    for number, (line, row) in enumerate(zip(lines, wanted, strict=True), 1):
        words = line.split()
        if len(words) != PAIRS:
            raise AubenchError(f"{path} line {number} has {len(words)} values", f"{PAIRS} needed")
        computed = [
            str(value) if value >= 0 else word for value, word in zip(row, words, strict=True)
        ]
        if computed != words:
            at = next(k for k in range(PAIRS) if computed[k] != words[k])
            first, second = AUS[at // len(AUS)], AUS[at % len(AUS)]
            raise AubenchError(
                f"{path} line {number}: the edge AU{first}-AU{second} is '{words[at]}', the labels "
                f"say {computed[at]}",
                "make the list from the labels, or remove it",
            )


def _same_length(path: Path, count: int, other: Path, others: int) -> None:
    if count != others:
        short, long = (path, other) if count < others else (other, path)
        raise AubenchError(
            f"{short} ends after line {min(count, others)}, {long.name} has {max(count, others)}",
            "lists of a fold are of equal length",
        )


def _take_images(folder: Path, names: list[str], source: Path, digest: hashlib._Hash) -> None:
    """Check that the images are there; add their names and sizes to a digest."""
    missing = []
    for number, name in enumerate(names, 1):
        try:
            digest.update(f"{name} {(folder / name).stat().st_size}\n".encode())
        except OSError:
            missing.append((number, name))
    if missing:
        number, name = missing[0]
        more = f", and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise AubenchError(f"{source} line {number}: no image {folder / name}{more}")


def _exclusive(train: Faces, test: Faces, source: Path) -> None:
    both = np.isin(test.subjects, train.subjects)
    if both.any():
        row = int(both.argmax())
        raise AubenchError(
            f"{source} line {row + 1}: subject {test.subjects[row]} is in train too",
            "the parts of a fold have no subject in common",
        )
