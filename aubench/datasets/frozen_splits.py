"""Protocols frozen from a data set: samples, subjects, and the proof of unseen combinations."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aubench.datasets.samples import INTENSITIES, LABELS, SampleSet, combinations_of, seed_of
from aubench.errors import AubenchError
from aubench.facs import AUS, labels_of, parse_aus
from aubench.facs.describe import describe
from aubench.storage.text_files import read_json

if TYPE_CHECKING:
    import pandas as pd

    from aubench.datasets.labelled_faces import LabelledFaces
    from aubench.facs.describe import Allocation

FIELDS = (
    "sample_id",
    "subject",
    "target",
    "reference",
    "combination",
    "intensities",
    "strata",
    "source",
)


def sample_id(key: str) -> str:
    """Return a key as a file name: ``bp4d/F001/T1/2440`` as ``bp4d-F001-T1-2440``.

    Keys of folders, which may hold anything, end with a digest.
    """
    if re.fullmatch(r"[a-z0-9._]+(/[A-Z]+\d{3}/(T\d+|left|right)/\d+)", key):
        return key.replace("/", "-")
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", key)[-60:].lstrip(".-")
    return f"{plain}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def frozen_rows(
    rows: pd.DataFrame, strata: list[str], texts: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return the rows of ``samples.csv`` for rows of an index of which all AUs are known.

    Args:
        rows: Rows of the index.
        strata: Stratum of each.
        texts: Text of each, by others; None for ours, which follow from AU set and seed.
    """
    import pandas as pd

    values = rows[list(INTENSITIES)].to_numpy(np.float32)
    levels = [
        " ".join(f"{au}={v:g}" for au, v in zip(AUS, row, strict=True) if not np.isnan(v))
        for row in values
    ]
    return pd.DataFrame(
        {
            "sample_id": [sample_id(key) for key in rows["key"]],
            "subject": rows["subject"].astype(str).to_list(),
            "target": rows["key"].to_list(),
            "reference": rows["reference"].astype(str).to_list(),
            "combination": combinations_of(rows[list(LABELS)].to_numpy(np.uint8)),
            "intensities": levels,
            "strata": strata,
            "source": rows["source"].to_list(),
            **({} if texts is None else {"text": list(texts)}),
        }
    )


def described_samples(faces: LabelledFaces, seed: int) -> SampleSet:
    """Return samples of faces of which all AUs are known, described.

    Args:
        faces: Faces of a data set.
        seed: Seed from which texts and seeds follow, with the ids.
    """
    import pandas as pd

    faces = faces.rows(faces.complete)
    ids, names = [sample_id(key) for key in faces.keys], faces.combinations()
    seeds = [seed_of(name, seed) for name in ids]
    labels = faces.labels.astype(np.uint8)
    texts = [describe(parse_aus(n), seed=s).text for n, s in zip(names, seeds, strict=True)]
    frame = pd.DataFrame(
        {
            "sample_id": ids,
            "subject": faces.subjects,
            "reference": faces.references,
            "target": faces.keys,
            **{name: labels[:, i] for i, name in enumerate(LABELS)},
            **{name: faces.intensities[:, i] for i, name in enumerate(INTENSITIES)},
            "combination": names,
            "text": texts,
            "seed": seeds,
            "strata": "all",
        }
    )
    return SampleSet(frame, faces.dataset)


def read_frozen(path: Path, dataset: str, seed: int, allocation: Allocation = "paper") -> SampleSet:
    """Return the samples of a frozen ``samples.csv``; seeds follow from ids and the protocol's.

    A column ``text`` holds the texts of others; without it ours follow from AU set and seed.

    Args:
        path: The file.
        dataset: Name of the data set.
        seed: Seed of the protocol.
        allocation: Says which AUs our texts describe together.

    Raises:
        AubenchError: Names the row that cannot be read.
    """
    import pandas as pd

    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = [name for name in FIELDS if name not in frame.columns]
    if missing:
        raise AubenchError(f"{path} has no column '{missing[0]}'", "freeze the protocol again")
    sets = [parse_aus(name) for name in frame["combination"]]
    labels = np.stack([labels_of(aus) for aus in sets])
    values = np.full(labels.shape, np.nan, np.float32)
    for i, text in enumerate(frame["intensities"]):
        try:
            for word in text.split():
                au, _, value = word.partition("=")
                values[i, AUS.index(int(au))] = float(value)
        except ValueError as error:
            raise AubenchError(f"{path} row {i + 2}: '{text}' are no intensities") from error
    seeds = [seed_of(name, seed) for name in frame["sample_id"]]
    out = frame[["sample_id", "subject", "reference", "target", "combination", "strata"]].copy()
    for i in range(len(AUS)):
        out[LABELS[i]], out[INTENSITIES[i]] = labels[:, i], values[:, i]
    if "text" in frame.columns:
        out["text"] = frame["text"]
    else:
        out["text"] = [
            describe(aus, seed=s, allocation=allocation).text
            for aus, s in zip(sets, seeds, strict=True)
        ]
    out["seed"] = seeds
    return SampleSet(out, dataset)


def read_folds(place: Path) -> dict[str, Any]:
    """Return who is in train and in test of a frozen protocol, and of which data.

    Raises:
        AubenchError: Its ``folds.json`` cannot be read.
    """
    path = place / "folds.json"
    try:
        found: dict[str, Any] = read_json(path)
        return {**found, "test": set(found["test"]), "train": set(found["train"])}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise AubenchError(f"{path} tells no folds", "freeze the protocol again") from error


def check_pixels(index: pd.DataFrame, train: Iterable[str], test: Iterable[str]) -> None:
    """Refuse an index that has one image in train and in test; only imports tell their pixels.

    Raises:
        AubenchError: Names the two.
    """
    if "pixels" not in index.columns:
        return
    parts = [index[index["subject"].isin(set(names))] for names in (train, test)]
    first, second = (dict(zip(p["pixels"], p["key"], strict=True)) for p in parts)
    both = sorted(set(first) & set(second))
    if both:
        raise AubenchError(
            f"{first[both[0]]} of train and {second[both[0]]} of test are the same image "
            f"({len(both)} in all)",
            "leave one of them out, and import again",
        )


def check_split(
    place: Path, samples: pd.DataFrame, name: str, index: pd.DataFrame, content: str
) -> dict[str, object]:
    """Check a frozen protocol against its folds and the data.

    Args:
        place: Folder of the protocol.
        samples: Its samples.
        name: Name of the data set.
        index: Its index.
        content: Its digest.

    Returns:
        Number of train and test subjects, and whether the data are the same as when it was frozen.

    Raises:
        AubenchError: A subject or an image is in train and test, or a sample not of a test
            subject or not there.
    """
    folds = read_folds(place)
    both = sorted(folds["train"] & folds["test"])
    if both:
        raise AubenchError(f"{place}: {both[0]} is in train and in test")
    strangers = sorted(set(samples["subject"]) - folds["test"])
    if strangers:
        raise AubenchError(f"{place}: {strangers[0]} is not a test subject")
    check_pixels(index, folds["train"], folds["test"])
    keys = set(index["key"])
    for column in ("target", "reference"):
        for key in samples[column]:
            if key not in keys:
                raise AubenchError(f"{place}: image {key} is not in '{name}'", "import again")
    same = content == folds["content"]
    return {
        "train subjects": len(folds["train"]),
        "test subjects": len(folds["test"]),
        "data": "as when frozen" if same else "changed since, all samples are still there",
    }
