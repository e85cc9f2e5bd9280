"""The folder of records, ``<dataset>/<protocol>/<model>.json``, and what may enter it."""

from __future__ import annotations

import re
from pathlib import Path

from aubench.datasets import restricted
from aubench.errors import AubenchError, suggest
from aubench.records.record import Record, read_record
from aubench.report.leaderboards.readme import write_readme
from aubench.report.places import entry, records
from aubench.report.tables.pool import SHORT, by_digest
from aubench.storage.files import atomic_path


def add_record(path: Path, folder: Path | None = None, *, faces: bool = False) -> Path:
    """Copy a record into the leaderboards; return where it went.

    Args:
        path: Path of the record; a contact sheet ``grid.png`` beside it goes along.
        folder: Folder of the leaderboards, in place of the usual one.
        faces: Take the contact sheet of a restricted data set too.

    Raises:
        AubenchError: The run was limited, or is not a record.
    """
    record = read_record(path)
    if record.counts.limited:
        raise AubenchError(f"{path} is a run with --limit", "leaderboards take whole protocols")
    for name in (record.protocol.dataset, record.protocol.name, record.model.name):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name):
            raise AubenchError(f"{path}: '{name}' is no name for a file", "rename the model")
    root = entry(folder)
    target = _file_of(record, root / record.protocol.dataset / record.protocol.name)
    record.write(target)
    shown = faces or not restricted(record.protocol.dataset)
    _add_grid(path.with_name("grid.png") if shown else None, target.with_suffix(".webp"))
    write_readme(root)
    return target


def _file_of(record: Record, place: Path) -> Path:
    """Return the file of a record, beside one of the same model on another fold."""
    usual = place / f"{record.model.name}.json"
    if not usual.is_file() or read_record(usual).protocol.sha256 == record.protocol.sha256:
        return usual
    return place / f"{record.model.name}@{record.protocol.sha256[:SHORT]}.json"


def _add_grid(grid: Path | None, target: Path) -> None:
    """Keep a contact sheet beside its record, small; without one, none of a former run stays."""
    if grid is None or not grid.is_file():
        target.unlink(missing_ok=True)
        return
    from PIL import Image

    with Image.open(grid, formats=["PNG"]) as sheet, atomic_path(target) as temporary:
        sheet.convert("RGB").save(temporary, format="WEBP", quality=50, method=6)


def boards(
    dataset: str, protocol: str | None = None, folder: Path | None = None
) -> dict[str, list[Record]]:
    """Return the records of each protocol of a data set, models in order of name.

    Raises:
        AubenchError: There are no records, or one cannot be read.
    """
    found = records(dataset, folder)
    names = list(found)
    if protocol is not None:
        if protocol not in names:
            raise AubenchError(
                f"no records of protocol '{protocol}' on {dataset}{suggest(protocol, names)}",
                "enter one with `aubench report --add RECORD`",
            )
        names = [protocol]
    if not names:
        raise AubenchError(
            f"no records of data set '{dataset}' in {folder or 'the leaderboards'}",
            "enter one with `aubench report --add RECORD`",
        )
    return {
        title: group
        for name in names
        for title, group in by_digest(name, map(read_record, found[name].values())).items()
    }
