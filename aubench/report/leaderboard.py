"""The folder of records, ``<dataset>/<protocol>/<model>.json``, and what may enter it."""

from __future__ import annotations

from pathlib import Path

from aubench.errors import AubenchError, suggest
from aubench.files import shipped
from aubench.record import Record, read_record


def add_record(path: Path, folder: Path | None = None) -> Path:
    """Copy a record into the leaderboards; return where it went.

    Raises:
        AubenchError: the run was limited, or is not a record.
    """
    record = read_record(path)
    if record.counts.limited:
        raise AubenchError(f"{path} is a run with --limit", "leaderboards take whole protocols")
    root = folder or shipped("leaderboards")
    target = root / record.protocol.dataset / record.protocol.name / f"{record.model.name}.json"
    record.write(target)
    return target


def boards(
    dataset: str, protocol: str | None = None, folder: Path | None = None
) -> dict[str, list[Record]]:
    """Return the records of each protocol of a data set, models in order of name.

    Raises:
        AubenchError: there are no records, or one cannot be read.
    """
    root = (folder or shipped("leaderboards")) / dataset
    names = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    if protocol is not None:
        if protocol not in names:
            raise AubenchError(
                f"no records of protocol '{protocol}' on {dataset}{suggest(protocol, names)}",
                "enter one with `aubench report --add RECORD`",
            )
        names = [protocol]
    if not names:
        raise AubenchError(f"no records under {root}", "enter one with --add RECORD")
    return {
        name: [read_record(path) for path in sorted((root / name).glob("*.json"))] for name in names
    }
