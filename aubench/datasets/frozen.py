"""Samples of a protocol frozen from imported data: what its ``samples.csv`` holds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aubench.datasets.imported import complete, read_index
from aubench.datasets.samples import INTENSITIES, LABELS, SampleSet, combinations_of, seed_of
from aubench.describe import describe
from aubench.errors import AubenchError
from aubench.facs import AUS, labels_of, parse_aus

if TYPE_CHECKING:
    import pandas as pd

FIELDS = ("sample_id", "subject", "target", "reference", "combination", "intensities", "strata",
          "source")  # fmt: skip


def sample_id(key: str) -> str:
    """Return a key as a file name: ``bp4d/F001/T1/2440`` as ``bp4d-F001-T1-2440``.

    Keys of folders, which may hold anything, end with a digest.
    """
    if re.fullmatch(r"[a-z0-9._]+(/[A-Z]+\d{3}/(T\d+|left|right)/\d+)", key):
        return key.replace("/", "-")
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", key)[-60:].lstrip(".-")
    return f"{plain}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def frozen_rows(rows: pd.DataFrame, strata: list[str]) -> pd.DataFrame:
    """Return the rows of ``samples.csv`` for rows of an index of which all AUs are known."""
    import pandas as pd

    values = rows[list(INTENSITIES)].to_numpy(np.float32)
    told = [
        " ".join(f"{au}={v:g}" for au, v in zip(AUS, row, strict=True) if not np.isnan(v))
        for row in values
    ]
    return pd.DataFrame({
        "sample_id": [sample_id(key) for key in rows["key"]],
        "subject": rows["subject"].astype(str).to_list(),
        "target": rows["key"].to_list(),
        "reference": rows["reference"].astype(str).to_list(),
        "combination": combinations_of(rows[list(LABELS)].to_numpy(np.uint8)),
        "intensities": told,
        "strata": strata,
        "source": rows["source"].to_list(),
    })  # fmt: skip


def imported_samples(name: str, seed: int, subjects: Iterable[str] | None = None) -> SampleSet:
    """Return samples of an imported data set of which all AUs are known, described.

    Args:
        name: of the data set.
        seed: from which, with the ids, texts and seeds follow.
        subjects: whose; everyone's if None.
    """
    frame = read_index(name)
    rows = complete(frame) & frame["sample"].to_numpy()
    if subjects is not None:
        rows &= frame["subject"].isin(list(subjects)).to_numpy()
    frame = frame[rows].reset_index(drop=True)
    ids = [sample_id(key) for key in frame["key"]]
    seeds = [seed_of(name, seed) for name in ids]
    names = combinations_of(frame[list(LABELS)].to_numpy(np.uint8))
    frame = frame[["subject", "reference", *LABELS, *INTENSITIES]].assign(
        sample_id=ids, target=frame["key"], combination=names, seed=seeds, strata="all"
    )
    frame[list(LABELS)] = frame[list(LABELS)].astype(np.uint8)
    frame["text"] = [describe(parse_aus(n), seed=s).text for n, s in zip(names, seeds, strict=True)]
    return SampleSet(frame, name)


def read_frozen(path: Path, dataset: str, seed: int) -> SampleSet:
    """Return the samples of a frozen ``samples.csv``; texts and seeds follow from ids and seed.

    Raises:
        AubenchError: names the row that cannot be read.
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
    out["text"] = [describe(aus, seed=s).text for aus, s in zip(sets, seeds, strict=True)]
    out["seed"] = seeds
    return SampleSet(out, dataset)
