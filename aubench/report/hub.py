"""Folders for the Hugging Face Hub: a protocol as a benchmark data set, runs as results of models.

The metadata of the data set's card and ``.eval_results`` follow the Hub's documentation of dataset
cards and of evaluation results; nothing is uploaded, ``hf upload`` does that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.datasets.export import whole_folder
from aubench.errors import AubenchError
from aubench.storage.files import sha256_bytes, write_text

if TYPE_CHECKING:
    from aubench.comparison.runs import Run
    from aubench.protocols.cards.facts import Facts
    from aubench.protocols.protocol import Protocol
    from aubench.records.record import Record, ScoreRow

BENCHMARK, RESULTS = "eval.yaml", ".eval_results"
SPDX = "https://spdx.org/licenses/"
"""Addresses of licences whose last part, in small letters, the Hub knows; others are ``other``."""
TAGS = ("facial-action-units", "facs", "face-generation", "benchmark", "aubench")
LEADING = ("au_skill", "fid", "kid", "lpips", "aaad", "au_f1")
"""Metrics that a results file tells, as far as the record has them."""


def write_benchmark(
    protocol: Protocol, facts: Facts, out: Path, *, images: bool, runs: Sequence[Run] = ()
) -> list[Path]:
    """Write a protocol as a repository of a data set.

    ``README.md`` is the datasheet under the Hub's metadata, ``croissant.json`` the card for
    machines; samples, and with ``images`` the reference and target faces, lie beside them. With
    runs ``eval.yaml`` says that it is a benchmark: a task for each metric id of theirs.

    Args:
        protocol: The protocol.
        facts: What is known of its data besides.
        out: Folder, absent or empty. Nothing is left in it where writing fails.
        images: Whether faces are written.
        runs: Runs on the protocol, whose metric ids become tasks.

    Raises:
        AubenchError: Faces of restricted data are asked for, a run is of another protocol, or
            something is at ``out``.
    """
    import json

    from aubench.datasets import image_source, restricted
    from aubench.generators.prompts import write_prompts, write_targets
    from aubench.protocols.cards.card import MACHINES, PEOPLE
    from aubench.protocols.cards.contents import of_protocol
    from aubench.protocols.cards.croissant import document
    from aubench.protocols.cards.sheet import datasheet
    from aubench.storage.files import write_bytes

    if images and restricted(protocol.dataset):
        raise AubenchError(
            f"faces of {protocol.dataset} must not leave your machines", "leave out --images"
        )
    for run in runs:
        if run.protocol.sha256 != protocol.sha256:
            raise AubenchError(
                f"{run.folder.path} is a run on {run.protocol.dataset}/{run.protocol.name}",
                f"give runs on {protocol.dataset}/{protocol.name}",
            )
    found = of_protocol(protocol)
    tables = [file for file in found.files if file.data is not None]
    with whole_folder(out) as place:
        for file in tables:
            write_bytes(place / file.name, file.data or b"")
        if images:
            samples, source = protocol.samples(), image_source(protocol.dataset)
            write_prompts(samples, source, place / "faces", protocol.size)
            write_targets(samples, source, place / "faces", protocol.size)
        card = json.dumps(document(found, facts), indent=2, ensure_ascii=False)
        write_text(place / MACHINES, card + "\n")
        names = [file.name for file in tables if file.name.endswith((".csv", ".parquet"))]
        head = _yaml(_metadata(protocol, facts, names))
        write_text(place / PEOPLE, f"---\n{head}---\n\n{datasheet(found, facts)}")
        if runs:
            write_text(place / BENCHMARK, _yaml(_benchmark(protocol, runs)))
        written = sorted(path.relative_to(place) for path in place.rglob("*") if path.is_file())
    return [out / path for path in written]


def write_results(runs: Sequence[Run], dataset_id: str, out: Path) -> list[Path]:
    """Write what finished runs of one model found, and a page to look at their samples.

    Args:
        runs: Of one model, on one protocol each; the page shows the first.
        dataset_id: Repository of the benchmark on the Hub, as USER/NAME.
        out: Folder, absent or empty.

    Returns:
        ``model/.eval_results/DATASET-PROTOCOL.yaml`` of each run, for the model's repository; then
        ``site/index.html`` and ``site/README.md``, a static Space. No site is written where a
        data set is restricted: its rows are under the agreement too.

    Raises:
        AubenchError: Runs of several models, a limited run, or no name of a repository.
    """
    from aubench.datasets import restricted
    from aubench.report.viewer.contents import contents
    from aubench.report.viewer.site import write_viewer

    user, _, name = dataset_id.partition("/")
    if not user or not name or "/" in name:
        raise AubenchError(f"'{dataset_id}' is no repository of the Hub", "write it as USER/NAME")
    records = [run.record for run in runs]
    models = sorted({run.name for run in runs})
    if len(models) > 1:
        raise AubenchError(
            f"runs of several models: {', '.join(models)}", "a folder for each model's repository"
        )
    closed = any(restricted(record.protocol.dataset) for record in records)
    files = []
    with whole_folder(out) as place:
        for record in records:
            stem = f"{record.protocol.dataset}-{record.protocol.name}"
            path = place / "model" / RESULTS / f"{stem}.yaml"
            write_text(path, _yaml(_entries(record, dataset_id)))
            files.append(path)
        if not closed:
            files.append(write_viewer(place / "site", contents(runs[:1])))
            space = {"title": f"{models[0]} on aubench", "sdk": "static"}
            files.append(place / "site" / "README.md")
            write_text(files[-1], f"---\n{_yaml(space)}---\n")
        return [out / path.relative_to(place) for path in files]


def _metadata(protocol: Protocol, facts: Facts, tables: Sequence[str]) -> dict[str, Any]:
    """Return the metadata of a data set's card."""
    definition = protocol.definition
    licence = {"license": "other", "license_link": facts.licence}
    if facts.licence.startswith(SPDX):
        licence = {"license": facts.licence.removeprefix(SPDX).lower()}
    elif not facts.licence:
        licence = {"license": "other"}
    samples = [name for name in tables if "sample" in name] or list(tables)
    part = [{"split": "test", "path": name} for name in samples[:1]]
    configs = [{"config_name": definition.name, "data_files": part}] if part else []
    return {
        **licence,
        "pretty_name": f"aubench {protocol.dataset} {definition.name} {definition.version}",
        "task_categories": ["text-to-image", "image-to-image"],
        "language": ["en"],
        "tags": list(TAGS),
        "size_categories": ["1K<n<10K" if definition.samples >= 1000 else "n<1K"],
        **({"configs": configs} if configs else {}),
    }


def _benchmark(protocol: Protocol, runs: Sequence[Run]) -> dict[str, Any]:
    definition = protocol.definition
    tasks = {
        _task(definition.name, row)
        for run in runs
        for row in run.record.scores
        if row.metric in LEADING and row.value is not None
    }
    return {
        "name": f"aubench {protocol.dataset} {definition.name} {definition.version}",
        "description": definition.description,
        "evaluation_framework": "aubench",
        "tasks": [
            {"id": task, "config": definition.name, "split": "test"} for task in sorted(tasks)
        ],
    }


def _task(protocol: str, row: ScoreRow) -> str:
    """Return the name of a number's task: numbers of two metric ids never share one."""
    return f"{protocol}_{row.metric}-{sha256_bytes(row.id.encode())[:8]}"


def _entries(record: Record, dataset_id: str) -> list[dict[str, Any]]:
    """Return an entry for each leading metric that has a value; the note is its metric id."""
    rows = {row.metric: row for row in record.scores if row.value is not None}
    if record.counts.limited:
        raise AubenchError(
            f"the run of {record.model.name} on {record.protocol.name} was limited",
            "only whole runs are results",
        )
    return [
        {
            "dataset": {"id": dataset_id, "task_id": _task(record.protocol.name, rows[metric])},
            "value": rows[metric].value,
            "date": record.created,
            "notes": f"{rows[metric].id}; protocol sha256 {record.protocol.sha256}",
        }
        for metric in LEADING
        if metric in rows
    ]


def _yaml(data: object) -> str:
    from huggingface_hub.utils import yaml_dump  # type: ignore[attr-defined]

    return str(yaml_dump(data, sort_keys=False))
