"""Files that a reviewer can open: the table, all answers, raters, a codebook, the diagram."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aubench.files import atomic_path, write_text
from aubench.study import diagram
from aubench.study.exclusion import gold_share, median_seconds
from aubench.study.results import RESULTS, StudyResults

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
| auchs | k + 1 - rank |
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
| excluded | the rules that struck, separated by `; ` |

`table.csv`: AUCHS by combination and model, with the 95 % interval. `auchs.json`: all results.
"""


def _csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    write_text(path, stream.getvalue())


def write(results: StudyResults, frame: pd.DataFrame, folder: Path) -> list[Path]:
    """Write all files of an analysis and return their paths."""
    struck: dict[str, list[str]] = {}
    for exclusion in results.exclusions:
        for rater in exclusion.raters:
            struck.setdefault(rater, []).append(exclusion.rule)
    marked = frame.assign(excluded=[rater in struck for rater in frame["rater"]])
    names = [RESULTS, "table.csv", "answers.csv", "answers.parquet", "raters.csv", "codebook.md",
             "critical-difference.svg"]  # fmt: skip
    paths = [folder / name for name in names]
    results.write(paths[0])
    _csv(paths[1], _intervals(results))
    with atomic_path(paths[2]) as temporary:
        marked.to_csv(temporary, index=False)
    with atomic_path(paths[3]) as temporary:
        marked.to_parquet(temporary, index=False)
    _csv(paths[4], _raters(frame, struck))
    write_text(paths[5], CODEBOOK)
    diagram.draw(results.friedman, paths[6])
    return paths


def _intervals(results: StudyResults) -> list[list[object]]:
    rows: list[list[object]] = [["combination", "model", "auchs", "low", "high", "raters", "items"]]
    rows += [
        [cell.combination, cell.model, cell.auchs, cell.low, cell.high, cell.raters, cell.items]
        for cell in results.cells
    ]
    return rows


def _raters(frame: pd.DataFrame, struck: dict[str, list[str]]) -> list[list[object]]:
    seconds, gold = median_seconds(frame), gold_share(frame)
    counts = frame.drop_duplicates(["rater", "trial"])["rater"].value_counts()
    rows: list[list[object]] = [["rater", "answered", "median_seconds", "gold", "excluded"]]
    for rater in sorted(seconds, key=int):
        share = gold.get(rater)
        rows.append([
            rater, int(counts[rater]), round(seconds[rater], 2),
            "" if share is None else round(share, 3), "; ".join(struck.get(rater, [])),
        ])  # fmt: skip
    return rows
