"""Descriptions of every imported face, and the statistics of Table 1 and Figure 2."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from aubench.datasets.imported.files import (
    FAULTS,
    ImportRecord,
    check_name,
    folder_of,
    read_index,
    read_record,
)
from aubench.datasets.samples import LABELS, combinations_of, seed_of
from aubench.errors import AubenchError
from aubench.facs import AUS, load_facs, parse_aus
from aubench.facs.describe import describe
from aubench.progress import bar
from aubench.storage.files import atomic_path, sha256_bytes, sha256_file, write_text
from aubench.storage.text_files import read_json

if TYPE_CHECKING:
    import pandas as pd

TEXTS, STATISTICS = "text.parquet", "statistics.json"
STEP = 20_000
PAPER = {"images": 302_169, "conflict images": 246_056, "conflict occurrences": 408_376}
"""Of BP4D-AUText, as told in the paper (Table 1, 3.3)."""


def join(names: Sequence[str], joint: str) -> str:
    """Make several imported sets one, without copying an image; return its name.

    Raises:
        AubenchError: A set is not imported, named twice, joint itself, or the name is taken.
    """
    check_name(joint)
    records = [read_record(name) for name in names]
    if len(set(names)) < len(names) or any(record.members for record in records):
        raise AubenchError(f"{' '.join(names)} cannot be joined", "name each single set once")
    if joint in names or (
        (folder_of(joint) / "packs").is_dir() and (folder_of(joint) / FAULTS).is_file()
    ):
        raise AubenchError(f"'{joint}' is an import itself", "--as another name")
    sizes = {(record.align, record.size) for record in records}
    if len(sizes) > 1:
        raise AubenchError(f"{' '.join(names)} were aligned or sized differently", "import again")
    counts: Counter[str] = Counter()
    for record in records:
        counts.update(record.counts)
    attributes: dict[str, dict[str, str]] = {}
    for record in records:
        for key, table in record.attributes.items():
            attributes.setdefault(key, {}).update(table)
    coded = set(AUS).intersection(*(record.coded for record in records))
    published = {"with an active AU": PAPER["images"]} if {*names} == {"bp4d", "bp4dplus"} else {}
    ImportRecord(
        joint,
        "joint",
        any(r.restricted for r in records),
        records[0].align,
        records[0].size,
        records[0].seed,
        {},
        dict(counts),
        published,
        _whole(r.content for r in records),
        f"{joint}-{_whole(r.fingerprint for r in records)[:16]}",
        sorted(coded),
        attributes,
        {k: v for r in records for k, v in r.splits.items()},
        list(names),
    ).write()
    return joint


def _whole(parts: Any) -> str:
    return sha256_bytes("\n".join(parts).encode())


def attach_text(name: str, seed: int) -> dict[str, Any]:
    """Describe every sample of a data set; write texts and statistics beside its record.

    Texts follow from key and seed. A face with unknown AUs is described by what is known.

    Raises:
        AubenchError: Not imported, or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    frame = read_index(name, ["key", "subject", "sample", *LABELS])
    frame = frame[frame["sample"]].reset_index(drop=True)
    place, tally = folder_of(name), _Tally()
    schema = pa.schema([("key", pa.string()), ("text", pa.string()), ("seed", pa.int64())])
    with (
        atomic_path(place / TEXTS) as temporary,
        bar(len(frame), "texts", "text") as progress,
        pq.ParquetWriter(temporary, schema) as writer,
    ):
        for start in range(0, len(frame), STEP):
            part = frame.iloc[start : start + STEP]
            seeds = [seed_of(key, seed) for key in part["key"]]
            names = combinations_of((part[list(LABELS)].to_numpy(np.int8) == 1).astype(np.uint8))
            texts = [describe(parse_aus(n), seed=s).text for n, s in zip(names, seeds, strict=True)]
            tally.add(names, texts)
            writer.write_table(pa.table([part["key"].to_list(), texts, seeds], schema=schema))
            progress.update(len(part))
    statistics = {
        **tally.statistics(),
        "data": name,
        "subjects": int(frame["subject"].nunique()),
        "with an unknown AU": int((frame[list(LABELS)].to_numpy(np.int8) < 0).any(1).sum()),
        "seed": seed,
        "content": read_record(name).content,
        "file sha256": sha256_file(place / TEXTS),
        "paper": PAPER if name == "bp4d-autext" else {},
    }
    write_text(place / STATISTICS, json.dumps(statistics, indent=1) + "\n")
    return {**statistics, "path": str(place / STATISTICS)}


class _Tally:
    """Counts over texts and AU sets, a part at a time."""

    def __init__(self) -> None:
        self.sets: Counter[str] = Counter()
        self.words: Counter[int] = Counter()
        self.characters: Counter[int] = Counter()

    def add(self, names: Sequence[str], texts: Sequence[str]) -> None:
        """Count some samples."""
        self.sets.update(names)
        self.words.update(len(text.split()) for text in texts)
        self.characters.update(map(len, texts))

    def statistics(self) -> dict[str, Any]:
        """Return what ``statistics.json`` holds, but for the data set."""
        facs = load_facs()
        conflicts: Counter[str] = Counter()
        aus: Counter[str] = Counter()
        constructs: Counter[str] = Counter()
        number = conflicting = 0
        for name, count in self.sets.items():
            active = parse_aus(name)
            number += count
            aus.update({f"AU{au}": count for au in active})
            found = facs.conflicts_in(active)
            conflicting += count * bool(found)
            conflicts.update({"+".join(map(str, pair)): count for pair in found})
            described = describe(active, variant=0).constructs
            constructs.update({"+".join(map(str, c)): count for c in described})
        return {
            "images": number,
            "texts": number,
            "words": _spread(self.words),
            "characters": _spread(self.characters),
            "combinations": len(self.sets),
            "aus": {f"AU{au}": aus[f"AU{au}"] for au in AUS},
            "conflicts": {
                "images": conflicting,
                "share": conflicting / max(1, number),
                "occurrences": sum(conflicts.values()),
                "pairs": dict(conflicts.most_common()),
            },
            "constructs": dict(constructs.most_common()),
            "most common": dict(self.sets.most_common(20)),
        }


def _spread(lengths: Counter[int]) -> dict[str, float]:
    total = sum(lengths.values())
    mean = sum(length * count for length, count in lengths.items()) / total
    return {"min": min(lengths), "max": max(lengths), "mean": round(mean, 2)}


def read_texts(name: str) -> pd.DataFrame:
    """Return ``key``, ``text``, ``seed`` of a data set.

    Raises:
        AubenchError: No text was attached, or the file was changed since.
    """
    import pandas as pd

    path = folder_of(name) / TEXTS
    if not path.is_file():
        raise AubenchError(f"no texts of '{name}'", f"`aubench data text {name}`")
    stated = (read_statistics(name) or {}).get("file sha256")
    if stated != sha256_file(path):
        raise AubenchError(
            f"{path} was changed since the texts were attached", f"`aubench data text {name}`"
        )
    return pd.read_parquet(path)


def read_statistics(name: str) -> dict[str, Any] | None:
    """Return the statistics of a data set's copy here, None where no text was attached.

    Raises:
        AubenchError: The file is damaged.
    """
    path = folder_of(name) / STATISTICS
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = read_json(path)
        return found
    except ValueError as error:
        raise AubenchError(f"{path} is damaged", f"`aubench data text {name}`") from error
