"""Answers joined with the key: who ranked which model where."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError
from aubench.storage.files import sha256_file
from aubench.study.design.files import (
    DATABASE,
    KEY,
    SECRETS,
    Design,
    Key,
    KeyTrial,
    Secrets,
    Trial,
    read,
    read_design,
)
from aubench.study.design.sealing import unseal
from aubench.study.server.store import ANSWERS, PROFILES, RATERS, Store, open_engine, sqlite_url

if TYPE_CHECKING:
    import pandas as pd

UNSEALED = "unsealed.log"
COLUMNS = (
    "rater",
    "trial",
    "kind",
    "item",
    "combination",
    "model",
    "image",
    "rank",
    "auchs",
    "score",
    "ratings",
    "shown_place",
    "position",
    "seconds",
    "active_seconds",
    "answered_at",
)
Floats = npt.NDArray[np.float64]


def open_store(study: Path, database: str | None = None) -> Store:
    """Return the store of a study folder.

    Raises:
        AubenchError: No such study, or its data base cannot be opened.
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
    """Judgements of one kind of trial as arrays.

    Attributes:
        raters: Ids, the rows.
        items: Sample ids, the columns.
        combinations: Combinations of each item.
        models: The depth.
        ranks: float64 [raters, items, models], 1 is best, mean ranks for ties, NaN unanswered.
        values: Scores of the same shape, of tasks other than ranking.
        low, high: Worst and best score; None: those of AUCHS.
    """

    raters: tuple[str, ...]
    items: tuple[str, ...]
    combinations: tuple[str, ...]
    models: tuple[str, ...]
    ranks: Floats
    values: Floats | None = None
    low: float = 1.0
    high: float | None = None

    def keep(self, raters: list[str]) -> Ranked:
        """Return the rankings of some of the raters, in the order of the rows."""
        rows = [i for i, name in enumerate(self.raters) if name in set(raters)]
        names = tuple(self.raters[i] for i in rows)
        values = None if self.values is None else self.values[rows]
        return replace(self, raters=names, ranks=self.ranks[rows], values=values)

    def part(self, combination: str) -> Ranked:
        """Return the judgements of one combination."""
        columns = [i for i, name in enumerate(self.combinations) if name == combination]
        return replace(
            self,
            items=tuple(self.items[i] for i in columns),
            combinations=tuple(self.combinations[i] for i in columns),
            ranks=self.ranks[:, columns],
            values=None if self.values is None else self.values[:, columns],
        )

    @property
    def scores(self) -> Floats:
        """AUCHS of each ranking, k for the first place to 1 for the last, or other scores."""
        return len(self.models) + 1 - self.ranks if self.values is None else self.values

    @property
    def best(self) -> float:
        """Best score."""
        return float(len(self.models)) if self.high is None else self.high


def unsealed(study: Path, store: Store, design: Design, key_path: Path | None) -> Key:
    """Open the key of a closed study, and note in ``unsealed.log`` that it was opened.

    Raises:
        AubenchError: The study is open, or the key is not its own.
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
    tie), ``auchs``, ``score`` on the scale of the task, ``ratings`` as JSON, ``shown_place`` (from
    1), ``position`` of the trial (from 0), ``seconds`` by the server's clock, ``active_seconds``
    by the browser's, ``answered_at``.

    Raises:
        AubenchError: An answer does not fit the design.
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
    response, shown = json.loads(answer["ranking"]), json.loads(answer["shown"])
    if trial is None or kept is None or not _fits(response, trial, design):
        raise AubenchError(f"answer of rater {answer['rater']} to {answer['trial']} is damaged")
    ranks = dict.fromkeys(trial.images, float("nan")) if design.rated else _ranks(response)
    scores = (
        {trial.images[0]: _rated_score(response, kept, design)}
        if design.rated
        else {name: len(ranks) + 1 - rank for name, rank in ranks.items()}
    )
    active = answer["active_ms"]
    return [
        {
            "rater": str(answer["rater"]),
            "trial": trial.id,
            "kind": kept.kind,
            "item": kept.sample,
            "combination": trial.combination,
            "model": key.images[name].source,
            "image": name,
            "rank": rank,
            "auchs": scores[name] if design.task == "rank" else float("nan"),
            "score": scores[name],
            "ratings": json.dumps(response) if design.rated else "",
            "shown_place": shown.index(name) + 1,
            "position": answer["position"],
            "seconds": answer["answered_at"] - answer["shown_at"],
            "active_seconds": None if active is None else active / 1000,
            "answered_at": answer["answered_at"],
        }
        for name, rank in ranks.items()
    ]


def _fits(response: Any, trial: Trial, design: Design) -> bool:
    """Whether a stored answer is one of this trial."""
    if design.rated:
        asked = set(design.questions(trial.combination))
        return isinstance(response, dict) and set(response) == asked
    if not isinstance(response, list):
        return False
    return sorted(name for group in response for name in group) == sorted(trial.images)


def _rated_score(response: dict[str, int], kept: KeyTrial, design: Design) -> float:
    """Return the mean rating, or how near rated intensities come to those asked for."""
    if design.task == "likert" or not kept.wanted:
        return float(np.mean(list(response.values())))
    off = [abs(value - kept.wanted[name]) for name, value in response.items()]
    return float(design.scale[1] - np.mean(off))


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


def judged(frame: pd.DataFrame, key: Key, design: Design) -> Ranked:
    """Return the main judgements of any task.

    Of pairs the score of a model is 1 + (k - 1) times the share of comparisons it won, which is
    on the scale of AUCHS; of rated faces it is the score of the trial.
    """
    found = ranked(frame, key)
    if design.task == "rank":
        return found
    part = frame[frame["kind"] == "main"]
    mean = part.groupby(["rater", "item", "model"])["score"].mean()
    values = np.full(found.ranks.shape, np.nan)
    raters, items, models = (
        {name: i for i, name in enumerate(names)}
        for names in (found.raters, found.items, found.models)
    )
    for row in mean.reset_index().to_dict("records"):
        values[raters[row["rater"]], items[row["item"]], models[row["model"]]] = row["score"]
    empty = np.full(found.ranks.shape, np.nan)
    if design.task == "pairs":
        k = len(found.models)
        return replace(found, ranks=empty, values=1 + (k - 1) * (values - 1))
    return replace(
        found,
        ranks=empty,
        values=values,
        low=float(design.scale[0]),
        high=float(design.scale[1]),
    )


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


def forms(store: Store) -> dict[str, dict[str, Any]]:
    """Return the answers of the form by rater, without what a panel sent."""
    return {
        str(row["rater"]): json.loads(row["form"]) for row in store.rows(PROFILES) if row["form"]
    }
