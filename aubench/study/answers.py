"""Answers joined with the key: who ranked which model where."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError
from aubench.files import sha256_file
from aubench.study.sealing import unseal
from aubench.study.settings import DATABASE, KEY, SECRETS, Design, Key, Secrets, read, read_design
from aubench.study.store import ANSWERS, RATERS, Store, open_engine, sqlite_url

if TYPE_CHECKING:
    import pandas as pd

UNSEALED = "unsealed.log"
COLUMNS = (
    "rater", "trial", "kind", "item", "combination", "model", "image", "rank", "auchs",
    "shown_place", "position", "seconds", "active_seconds", "answered_at",
)  # fmt: skip
Floats = npt.NDArray[np.float64]


def open_store(study: Path, database: str | None = None) -> Store:
    """Return the store of a study folder.

    Raises:
        AubenchError: no such study, or its data base cannot be opened.
    """
    design, digest = read_design(study)
    if database is None and not (study / DATABASE).is_file():
        raise AubenchError(
            f"{study} has no answers yet ({DATABASE})", f"`aubench study serve {study}`"
        )
    store = Store(open_engine(database or sqlite_url(study / DATABASE)))
    secrets = read(study / SECRETS, Secrets)
    store.prepare(digest, len(design.places), secrets.links_sha256)
    return store


@dataclass(frozen=True)
class Ranked:
    """Rankings of one kind of trial as arrays.

    Attributes:
        raters: ids, the rows.
        items: sample ids, the columns.
        combinations: of each item.
        models: the depth.
        ranks: float64 [raters, items, models], 1 is best, mean ranks for ties, NaN unanswered.
    """

    raters: tuple[str, ...]
    items: tuple[str, ...]
    combinations: tuple[str, ...]
    models: tuple[str, ...]
    ranks: Floats

    def keep(self, raters: list[str]) -> Ranked:
        """Return the rankings of some of the raters, in the order of the rows."""
        rows = [i for i, name in enumerate(self.raters) if name in set(raters)]
        names = tuple(self.raters[i] for i in rows)
        return Ranked(names, self.items, self.combinations, self.models, self.ranks[rows])

    @property
    def scores(self) -> Floats:
        """AUCHS of each ranking: k for the first place to 1 for the last."""
        return len(self.models) + 1 - self.ranks


def unsealed(study: Path, store: Store, design: Design, key_path: Path | None) -> Key:
    """Open the key of a closed study, and note in ``unsealed.log`` that it was opened.

    Raises:
        AubenchError: the study is open, or the key is not its own.
    """
    if not store.closed():
        raise AubenchError(
            f"{study} still takes answers; its key stays sealed",
            f"`aubench study close {study}` ends it",
        )
    key = unseal(study, design, key_path)
    line = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "key sha256": sha256_file(key_path or study / KEY),
    }
    with (study / UNSEALED).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
    return key


def _ranks(groups: list[list[str]]) -> dict[str, float]:
    """Return mean ranks from 1 of groups of names, best first."""
    ranks, before = {}, 0
    for group in groups:
        for name in group:
            ranks[name] = before + (len(group) + 1) / 2
        before += len(group)
    return ranks


def long_frame(store: Store, design: Design, key: Key) -> pd.DataFrame:
    """Return a row for each image that was ranked.

    Columns: ``rater``, ``trial``, ``kind`` (main, duplicate, gold), ``item`` (sample id),
    ``combination``, ``model`` (or ``target``, ``wrong``), ``rank`` (1 is best, mean rank of a
    tie), ``auchs``, ``shown_place`` (from 1), ``position`` of the trial (from 0), ``seconds`` by
    the server's clock, ``active_seconds`` by the browser's, ``answered_at``.

    Raises:
        AubenchError: an answer does not fit the design.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for answer in store.rows(ANSWERS):
        rows += _image_rows(answer, design, key)
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.sort_values(
        ["rater", "position", "shown_place"], key=_natural, kind="stable"
    ).reset_index(drop=True)


def _image_rows(answer: dict[str, Any], design: Design, key: Key) -> list[dict[str, Any]]:
    trial, kept = design.by_id.get(answer["trial"]), key.trials.get(answer["trial"])
    groups, shown = json.loads(answer["ranking"]), json.loads(answer["shown"])
    ranks = _ranks(groups)
    if trial is None or kept is None or sorted(ranks) != sorted(trial.images):
        raise AubenchError(f"answer of rater {answer['rater']} to {answer['trial']} is damaged")
    active = answer["active_ms"]
    return [
        {
            "rater": str(answer["rater"]), "trial": trial.id, "kind": kept.kind,
            "item": kept.sample, "combination": trial.combination,
            "model": key.images[name].source, "image": name, "rank": rank,
            "auchs": design.k + 1 - rank, "shown_place": shown.index(name) + 1,
            "position": answer["position"],
            "seconds": answer["answered_at"] - answer["shown_at"],
            "active_seconds": None if active is None else active / 1000,
            "answered_at": answer["answered_at"],
        }
        for name, rank in ranks.items()
    ]  # fmt: skip


def _natural(column: pd.Series) -> pd.Series:
    return column.astype(int) if column.name == "rater" else column


def ranked(frame: pd.DataFrame, key: Key, kind: str = "main") -> Ranked:
    """Return the rankings of one kind of trial; the first showing where a trial was repeated."""
    part = frame[frame["kind"] == kind]
    own = {name: entry for name, entry in key.trials.items() if entry.kind == kind}
    items = tuple(sorted({entry.sample for entry in own.values()}))
    combination = dict(zip(frame["item"], frame["combination"], strict=True))
    raters = tuple(sorted(set(frame["rater"]), key=int))
    ranks = np.full((len(raters), len(items), len(key.models)), np.nan)
    row = {name: i for i, name in enumerate(raters)}
    column = {name: i for i, name in enumerate(items)}
    depth = {name: i for i, name in enumerate(key.models)}
    for rater, item, model, rank in zip(
        part["rater"], part["item"], part["model"], part["rank"], strict=True
    ):
        ranks[row[rater], column[item], depth[model]] = rank
    combinations = tuple(combination.get(item, "") for item in items)
    return Ranked(raters, items, combinations, key.models, ranks)


def finished(store: Store) -> tuple[set[str], dict[str, int]]:
    """Return who finished, and how many consented, finished and withdrew."""
    rows = store.rows(RATERS)
    done = {str(row["id"]) for row in rows if row["finished_at"] and not row["withdrawn_at"]}
    counts = {
        "consented": sum(row["consent_at"] is not None for row in rows),
        "finished": len(done),
        "withdrawn": sum(row["withdrawn_at"] is not None for row in rows),
    }
    return done, counts
