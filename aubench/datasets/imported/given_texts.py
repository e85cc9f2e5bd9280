"""Texts of others, attached to imported faces in place of ours."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aubench.datasets.given_texts import GivenTexts
from aubench.datasets.imported.au_texts import STATISTICS, TEXTS, read_statistics, read_texts
from aubench.datasets.imported.files import folder_of, read_index, read_record
from aubench.datasets.samples import LABELS, combinations_of, seed_of
from aubench.errors import AubenchError, first_line
from aubench.facs import parse_aus
from aubench.facs.describe import describe
from aubench.storage.files import atomic_path, sha256_bytes, sha256_file, write_text
from aubench.storage.tables import Row, Table, read_table

if TYPE_CHECKING:
    import pandas as pd

GIVEN = "texts by others"
"""In ``statistics.json``: their digest and number, absent where the texts are ours."""


def read_file(path: Path, name: str, known: Iterable[str]) -> pd.DataFrame:
    """Return ``key`` and ``text`` of a CSV or parquet file of texts by image.

    Args:
        path: File with a column ``text``, and ``key``, an image's key such as
            ``bp4d/F001/T1/2440``, or ``image``, which may lack the name of the data set; one or
            several rows an image. White space is made single.
        name: Name of the data set.
        known: Keys that there are.

    Raises:
        AubenchError: It cannot be read, lacks a column, or has an empty text or an unknown image;
            the line is named.
    """
    import pandas as pd

    given = _parquet(path) if path.suffix == ".parquet" else read_table(path)
    column = next((c for c in ("key", "image") if c in given.columns), "key")
    given.require(column, "text", remedy="it needs `key` or `image`, `text`")
    keys, texts, there = [], [], set(known)
    for row in given.rows:
        key, text = row[column], " ".join(row["text"].split())
        full = key if key in there else f"{name}/{key}"
        if full not in there:
            raise row.error(f"no image '{key}' in '{name}'", "mend its key")
        if not text:
            raise row.error(f"the text of '{key}' is empty", "remove the row")
        keys.append(full)
        texts.append(text)
    return pd.DataFrame({"key": keys, "text": texts}).drop_duplicates(ignore_index=True)


def _parquet(path: Path) -> Table:
    """Return the table of a parquet file; its rows are counted from 1 as lines are."""
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise AubenchError(f"cannot read {path}: {first_line(error)}", "restore it") from error
    columns = tuple(map(str, frame.columns))
    rows = [
        ["" if cell is None or cell != cell else str(cell).strip() for cell in cells]
        for cells in frame.itertuples(index=False, name=None)
    ]
    return Table(
        path,
        columns,
        tuple(
            Row(path, line, dict(zip(columns, cells, strict=True)), ",")
            for line, cells in enumerate(rows, 1)
        ),
    )


def attach_given(name: str, path: Path, seed: int, *, fill: bool = False) -> dict[str, Any]:
    """Attach the texts of a file to a data set's faces; write them and statistics.

    Args:
        name: Name of the imported data set.
        path: See `read_file`.
        seed: Draws our wordings, where they fill gaps.
        fill: Describe faces without a text in our words.

    Returns:
        What ``statistics.json`` says, and its path.

    Raises:
        AubenchError: A bad file, or faces without a text that are not to be filled.
    """
    index = read_index(name, ["key", "subject", "sample", *LABELS])
    index = index[index["sample"]].reset_index(drop=True)
    table = read_file(path, name, (str(key) for key in index["key"]))
    given = set(table["key"])
    lacking = index[~index["key"].isin(given)]
    if len(lacking) and not fill:
        raise AubenchError(
            f"{path} has no text of {len(lacking):,} of {len(index):,} faces, first "
            f"{lacking['key'].iloc[0]}",
            "give them, or describe these faces in our words with --fill",
        )
    ours = lacking.assign(text=_ours(lacking, seed)) if len(lacking) else lacking.assign(text=[])
    both = _in_order(index, table, ours)
    place = folder_of(name)
    with atomic_path(place / TEXTS, durable=True) as temporary:
        both.assign(seed=[seed_of(key, seed) for key in both["key"]]).to_parquet(
            temporary, index=False
        )
    statistics = {
        "data": name,
        "images": len(index),
        "texts": len(both),
        "subjects": int(index["subject"].nunique()),
        "words": _spread([len(text.split()) for text in both["text"]]),
        "seed": seed,
        "content": read_record(name).content,
        "file sha256": sha256_file(place / TEXTS),
        GIVEN: {
            "file": path.name,
            "sha256": digest(both),
            "texts": len(table),
            "faces described in our words": len(lacking),
        },
    }
    write_text(place / STATISTICS, json.dumps(statistics, indent=1) + "\n")
    return {**statistics, "path": str(place / STATISTICS)}


def _ours(faces: pd.DataFrame, seed: int) -> list[str]:
    names = combinations_of((faces[list(LABELS)].to_numpy(np.int8) == 1).astype(np.uint8))
    seeds = [seed_of(key, seed) for key in faces["key"]]
    return [describe(parse_aus(n), seed=s).text for n, s in zip(names, seeds, strict=True)]


def _in_order(index: pd.DataFrame, *tables: pd.DataFrame) -> pd.DataFrame:
    """Return ``key`` and ``text`` of all tables in the order of the index."""
    import pandas as pd

    whole = pd.concat([table[["key", "text"]] for table in tables], ignore_index=True)
    rank = {key: row for row, key in enumerate(index["key"])}
    return whole.sort_values("key", key=lambda keys: keys.map(rank), kind="stable").reset_index(
        drop=True
    )


def _spread(lengths: Sequence[int]) -> dict[str, float]:
    return {
        "min": min(lengths),
        "max": max(lengths),
        "mean": round(sum(lengths) / len(lengths), 2),
    }


def digest(table: pd.DataFrame) -> str:
    """Return the digest of keys and texts, in order."""
    rows = zip(table["key"], table["text"], strict=True)
    return sha256_bytes("\n".join(f"{key}\t{text}" for key, text in rows).encode())


def read_given(name: str) -> GivenTexts | None:
    """Return the texts of others that are attached to a data set, None where ours are.

    Raises:
        AubenchError: They were changed since they were attached.
    """
    told = (read_statistics(name) or {}).get(GIVEN)
    if told is None:
        return None
    table = read_texts(name)
    if digest(table) != told["sha256"]:
        raise AubenchError(
            f"{folder_of(name) / TEXTS} was changed since the texts were attached",
            f"`aubench data text {name} --texts FILE`",
        )
    texts: dict[str, tuple[str, ...]] = {}
    for key, text in zip(table["key"], table["text"], strict=True):
        texts[str(key)] = (*texts.get(str(key), ()), str(text))
    return GivenTexts(str(told["sha256"]), texts)
