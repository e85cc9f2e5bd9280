"""Files that a reviewer can open: the table, all answers, raters, a codebook, the diagram."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.storage.files import atomic_path, write_text
from aubench.study.analysis.exclusion import gold_share, median_seconds
from aubench.study.analysis.exports import bids, diagram
from aubench.study.analysis.results import RESULTS, StudyResults

if TYPE_CHECKING:
    import pandas as pd

CODEBOOK = """# Codebook

`answers.csv` and `answers.parquet`: a row for each image of each answered trial.

| column | meaning |
|---|---|
| rater | number of the link; nothing else is known of a person |
| trial | id of the trial |
| kind | `main` counts; `duplicate` repeats a main trial; `gold` has a known best face |
| item | sample of the protocol whose images were ranked |
| combination | AUs that were judged |
| model | who made the image; `target` and `wrong` in gold trials |
| image | opaque name of the image |
| rank | 1 fits best; tied images share their mean rank |
| auchs | k + 1 - rank, where all faces are ranked |
| score | on the scale of the task; `auchs.json` says what it is |
| ratings | rated faces: JSON of the value by question |
| shown_place | place of the image on the page, from 1 |
| position | trials answered before, from 0 |
| seconds | from first showing to answer, by the server's clock; pauses count |
| active_seconds | in front of the visible page, by the browser's word; empty: unknown |
| answered_at | seconds since 1970, UTC |
| excluded | the rater was excluded by a rule stated beforehand |

`raters.csv`: a row for each rater with answers.

| column | meaning |
|---|---|
| rater, answered | number of the link, trials answered |
| median_seconds | of a trial |
| gold | share of gold trials with the right face first |
| excluded | the rules that excluded the rater, separated by `; ` |

`answers.json`: the same rows. `bids/`: the same in the way of BIDS, with the answers of the form.

`differences.csv`: all pairs of models, intervals and p-values adjusted by Holm.

`table.csv`: AUCHS by combination and model, with the 95 % interval. `auchs.json`: all results.
"""


def _csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    write_text(path, stream.getvalue())


def write(
    results: StudyResults,
    frame: pd.DataFrame,
    folder: Path,
    forms: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Path]:
    """Write all files of an analysis and return their paths.

    Args:
        results: Results of the study.
        frame: Frame of ``answers.long_frame``.
        folder: Where to write.
        forms: Answers of the form by rater, for the data set in BIDS' way.
    """
    excluded_by: dict[str, list[str]] = {}
    for exclusion in results.exclusions:
        for rater in exclusion.raters:
            excluded_by.setdefault(rater, []).append(exclusion.rule)
    marked = frame.assign(excluded=[rater in excluded_by for rater in frame["rater"]])
    names = [
        RESULTS,
        "table.csv",
        "answers.csv",
        "answers.parquet",
        "raters.csv",
        "codebook.md",
        "differences.svg",
        "differences.csv",
        "answers.json",
    ]
    paths = [folder / name for name in names]
    results.write(paths[0])
    _csv(paths[1], _intervals(results))
    table = marked if marked["ratings"].any() else marked.drop(columns="ratings")
    with atomic_path(paths[2]) as temporary:
        table.to_csv(temporary, index=False)
    with atomic_path(paths[3]) as temporary:
        table.to_parquet(temporary, index=False)
    _csv(paths[4], _raters(frame, excluded_by))
    write_text(paths[5], CODEBOOK)
    diagram.draw(results, paths[6])
    _csv(paths[7], _differences(results))
    write_text(paths[8], json.dumps(_records(marked), indent=1, allow_nan=False) + "\n")
    return paths + bids.write(results, marked, forms or {}, folder / "bids")


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as JSON can hold them: null for what is unknown, ratings as objects."""
    rows: list[dict[str, Any]] = json.loads(frame.to_json(orient="records"))
    for row in rows:
        row["ratings"] = json.loads(row["ratings"]) if row["ratings"] else None
    return rows


def _differences(results: StudyResults) -> list[list[object]]:
    rows: list[list[object]] = [["first", "second", "difference", "low", "high", "p", "p_holm"]]
    rows += [
        [one.first, one.second, one.difference, one.low, one.high, one.p, one.p_holm]
        for one in results.comparisons
    ]
    return rows


def _intervals(results: StudyResults) -> list[list[object]]:
    rows: list[list[object]] = [["combination", "model", "auchs", "low", "high", "raters", "items"]]
    rows += [
        [cell.combination, cell.model, cell.auchs, cell.low, cell.high, cell.raters, cell.items]
        for cell in results.cells
    ]
    return rows


def _raters(frame: pd.DataFrame, excluded_by: dict[str, list[str]]) -> list[list[object]]:
    seconds, gold = median_seconds(frame), gold_share(frame)
    counts = frame.drop_duplicates(["rater", "trial"])["rater"].value_counts()
    rows: list[list[object]] = [["rater", "answered", "median_seconds", "gold", "excluded"]]
    for rater in sorted(seconds, key=int):
        share = gold.get(rater)
        rows.append(
            [
                rater,
                int(counts[rater]),
                round(seconds[rater], 2),
                "" if share is None else round(share, 3),
                "; ".join(excluded_by.get(rater, [])),
            ]
        )
    return rows
