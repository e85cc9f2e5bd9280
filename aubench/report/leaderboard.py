"""The folder of records, ``<dataset>/<protocol>/<model>.json``, and what may enter it."""

from __future__ import annotations

import re
from pathlib import Path

from aubench.datasets import restricted
from aubench.errors import AubenchError, suggest
from aubench.files import atomic_path
from aubench.record import Record, read_record
from aubench.report.places import entry, records
from aubench.report.readme import write_readme


def add_record(path: Path, folder: Path | None = None, *, faces: bool = False) -> Path:
    """Copy a record into the leaderboards; return where it went.

    Args:
        path: of the record; a contact sheet ``grid.png`` beside it goes along.
        folder: of the leaderboards, in place of the usual one.
        faces: take the contact sheet of a restricted data set too.

    Raises:
        AubenchError: the run was limited, or is not a record.
    """
    record = read_record(path)
    if record.counts.limited:
        raise AubenchError(f"{path} is a run with --limit", "leaderboards take whole protocols")
    for name in (record.protocol.dataset, record.protocol.name, record.model.name):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name):
            raise AubenchError(f"{path}: '{name}' is no name for a file", "rename the model")
    root = entry(folder)
    target = root / record.protocol.dataset / record.protocol.name / f"{record.model.name}.json"
    record.write(target)
    shown = faces or not restricted(record.protocol.dataset)
    _add_grid(path.with_name("grid.png") if shown else None, target.with_suffix(".webp"))
    write_readme(root)
    return target


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
        AubenchError: there are no records, or one cannot be read.
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
    return {name: [read_record(path) for path in found[name].values()] for name in names}
