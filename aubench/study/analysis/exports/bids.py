"""Answers in the way of BIDS: a folder per rater with a behavioural table and its description."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.storage.files import atomic_path, write_text
from aubench.study.analysis.results import StudyResults

if TYPE_CHECKING:
    import pandas as pd

VERSION = "1.10.0"
COLUMNS: dict[str, dict[str, Any]] = {
    "onset": {
        "LongName": "First showing",
        "Description": "Seconds since the rater's first trial was shown.",
        "Units": "s",
    },
    "duration": {"Description": "From first showing to answer, pauses included.", "Units": "s"},
    "trial": {"Description": "Id of the trial."},
    "kind": {
        "Description": "What the trial is for.",
        "Levels": {
            "main": "Counts.",
            "duplicate": "Repeats a main trial.",
            "gold": "Has a known best face.",
        },
    },
    "item": {"Description": "Sample of the protocol whose image was judged."},
    "combination": {"Description": "Action units that were judged."},
    "model": {"Description": "Who made the image; target and wrong in gold trials."},
    "rank": {"Description": "1 fits best; tied images share their mean rank."},
    "score": {"Description": "Score on the scale of the task."},
    "ratings": {"Description": "JSON of the value by question, where single faces are rated."},
    "shown_place": {"Description": "Place of the image on the page, from 1."},
    "excluded": {"Description": "The rater was excluded by a rule stated beforehand."},
}


def write(
    results: StudyResults,
    frame: pd.DataFrame,
    forms: Mapping[str, Mapping[str, Any]],
    folder: Path,
) -> list[Path]:
    """Write the folder and return its files.

    Args:
        results: Results of the study.
        frame: Frame of ``answers.long_frame`` with the column ``excluded``.
        forms: Answers of the form by rater.
        folder: Root of the data set.
    """
    about = {
        "Name": results.study,
        "BIDSVersion": VERSION,
        "DatasetType": "raw",
        "GeneratedBy": [{"Name": "aubench study score"}],
        "SourceDatasets": [{"URL": f"sha256:{results.study_sha256}"}],
    }
    paths = [
        _json(folder / "dataset_description.json", about),
        folder / "README",
        *_participants(frame, forms, folder),
        _json(folder / f"task-{results.task}_beh.json", COLUMNS),
    ]
    write_text(paths[1], f"Judgements of faces: study {results.study}. {results.scale}.\n")
    for rater, part in frame.groupby("rater"):
        label = f"sub-{int(str(rater)):03d}"
        path = folder / label / "beh" / f"{label}_task-{results.task}_beh.tsv"
        begun = part["answered_at"] - part["seconds"]
        table = part.assign(onset=begun - begun.min(), duration=part["seconds"])
        _tsv(path, table.sort_values(["onset", "shown_place"])[list(COLUMNS)])
        paths.append(path)
    return paths


def _participants(
    frame: pd.DataFrame, forms: Mapping[str, Mapping[str, Any]], folder: Path
) -> list[Path]:
    import pandas as pd

    names = sorted({name for form in forms.values() for name in form})
    excluded = frame.groupby("rater")["excluded"].first()
    rows: list[Sequence[object]] = [
        [
            f"sub-{int(rater):03d}",
            bool(excluded[rater]),
            *(forms.get(rater, {}).get(name) for name in names),
        ]
        for rater in sorted(excluded.index, key=int)
    ]
    table = pd.DataFrame(rows, columns=["participant_id", "excluded", *names])
    path = folder / "participants.tsv"
    _tsv(path, table)
    described = {name: {"Description": "Answer to a question of the form."} for name in names}
    described["excluded"] = COLUMNS["excluded"]
    return [path, _json(folder / "participants.json", described)]


def _tsv(path: Path, table: pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False, na_rep="n/a")


def _json(path: Path, value: object) -> Path:
    write_text(path, json.dumps(value, indent=1) + "\n")
    return path
