"""The folder of records, ``<dataset>/<protocol>/<model>.json``, and what may enter it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from aubench.datasets import restricted
from aubench.errors import AubenchError, suggest
from aubench.metrics.record_checks import impossible
from aubench.metrics.registry import heading, headline
from aubench.records.record import Record, read_record
from aubench.report.leaderboards.readme import write_readme
from aubench.report.places import entry, records
from aubench.report.tables.boards import dagger
from aubench.report.tables.pool import SHORT, by_digest
from aubench.storage.files import atomic_path
from aubench.submission.bundle import ABOUT

SHOWN = 3
"""How much of what is wrong with a record an error says."""


@dataclass(frozen=True)
class Entered:
    """A record that was entered.

    Attributes:
        path: Where it went.
        remarks: What should be known of it: what it replaced, what it leaves out.
    """

    path: Path
    remarks: tuple[str, ...]


def add_record(
    path: Path, folder: Path | None = None, *, faces: bool = False, replace: bool = False
) -> Entered:
    """Copy a record into the leaderboards; return where it went.

    Args:
        path: Path of the record; a contact sheet ``grid.png`` beside it goes along.
        folder: Folder of the leaderboards, in place of the usual one.
        faces: Take the contact sheet of a restricted data set too.
        replace: Whether it may take the place of another record of the model.

    Raises:
        AubenchError: The run was limited; it is no record, one as it was sent, or says what cannot
            be; or the model has a record already.
    """
    record = read_record(path)
    if path.with_name(ABOUT).is_file() and record.verified is None:
        raise AubenchError(
            f"{path} is a record as it was sent in a bundle",
            "enter what `aubench verify BUNDLE --record FILE` has recomputed",
        )
    if record.counts.limited:
        raise AubenchError(f"{path} is a run with --limit", "leaderboards take whole protocols")
    wrong = [*impossible(record), *_fewer(record)]
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise AubenchError(
            f"{path} says what cannot be: {'; '.join(wrong[:SHOWN])}{more}", "run the model again"
        )
    for name in (record.protocol.dataset, record.protocol.name, record.model.name):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name):
            raise AubenchError(f"{path}: '{name}' is no name for a file", "rename the model")
    root = entry(folder)
    target = _file_of(record, root / record.protocol.dataset / record.protocol.name)
    former = _former(target, record)
    if former is not None and not replace:
        told = _difference(former, record)
        raise AubenchError(
            f"{target} holds another record of '{record.model.name}': {told}",
            "--replace puts this one in its place",
        )
    record.write(target)
    shown = faces or not restricted(record.protocol.dataset)
    _add_grid(path.with_name("grid.png") if shown else None, target.with_suffix(".webp"))
    write_readme(root)
    remarks = [f"in place of {_difference(former, record)}"] if former is not None else []
    return Entered(target, (*remarks, *dagger(record)))


def _fewer(record: Record) -> list[str]:
    """Say where a record asked for other samples than its protocol, installed here, has."""
    from aubench.protocols.protocol import load_protocol

    stated = record.protocol
    try:
        protocol = load_protocol(stated.name, stated.dataset)
    except AubenchError:
        return []
    whole = protocol.definition.samples
    if protocol.sha256 != stated.sha256 or record.counts.asked == whole:
        return []
    return [f"{record.counts.asked:,} samples asked for, the protocol has {whole:,}"]


def _former(target: Path, record: Record) -> Record | None:
    """Return the record that another one would replace; None of the same run entered again."""
    if not target.is_file():
        return None
    former = read_record(target)
    return None if former == record else former


def _difference(former: Record, record: Record) -> str:
    """Say how a record differs from the one whose place it would take."""
    name = headline()[0]
    scores = [one.score(name) for one in (former, record)]
    told = [
        f"that of {former.created} (N = {former.counts.generated}), this one of {record.created} "
        f"(N = {record.counts.generated})"
    ]
    values = [row.value if row is not None else None for row in scores]
    if None not in values:
        told.append(f"{heading(name)} {values[0]:.4g}, now {values[1]:.4g}")
    if former.model.weights_sha256 != record.model.weights_sha256:
        told.append("of other weights")
    return "; ".join(told)


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
