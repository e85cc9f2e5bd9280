"""A researcher's own data after import: where it lies, its record, its index.

``data/NAME/`` in ``aubench.storage.files.data_home()`` holds ``import.json`` (record),
``index.parquet`` (a row a face), ``faults.csv``, and ``packs/`` (archives of PNG files with a
ledger each). A joint set, such as BP4D with BP4D+, holds no packs but the names of its members.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.datasets.dataset import GROUP
from aubench.datasets.samples import LABELS
from aubench.errors import AubenchError, suggest
from aubench.storage.files import data_home, sha256_file, sha256_json, write_text
from aubench.storage.text_files import read_json

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

RECORD, INDEX, FAULTS = "import.json", "index.parquet", "faults.csv"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
RESTRICTED = frozenset({"bp4d", "bp4dplus", "disfa", "bp4d-autext"})
"""Data sets under a signed agreement, whether or not they are imported here."""


@dataclass(frozen=True)
class ImportRecord:
    """What ``import.json`` says.

    Attributes:
        name: Name of the data set.
        kind: ``bp4d``, ``bp4dplus``, ``disfa``, ``folder`` or ``joint``.
        restricted: Whether its images must not leave the user's machines.
        align: How faces were cut.
        size: Side of the faces.
        seed: Draws the reference faces.
        options: Options of the reader.
        counts: Number of each kind of thing that was counted.
        published: The same, as told in public.
        content: Digest of codes, source files and references; the same wherever they are.
        fingerprint: Fingerprint of the pixels.
        coded: AUs of the twelve that the data code.
        attributes: Group by attribute and subject.
        splits: Split of each subject, where the data state it.
        members: Members of a joint set.
        index_sha256: Digest of ``index.parquet``; empty for a joint set.
    """

    name: str
    kind: str
    restricted: bool
    align: str
    size: int
    seed: int
    options: dict[str, Any]
    counts: dict[str, int]
    published: dict[str, int]
    content: str
    fingerprint: str
    coded: list[int]
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    members: list[str] = field(default_factory=list)
    index_sha256: str = ""

    def write(self) -> None:
        """Write the record, with a digest of it, to its place."""
        data = asdict(self)
        whole = json.dumps({**data, "sha256": sha256_json(data)}, indent=1)
        write_text(folder_of(self.name) / RECORD, whole + "\n", durable=True)


def member(name: str) -> str:
    """Return the name of a frame's face inside a pack."""
    return f"faces/{name}.png"


def folder_of(name: str) -> Path:
    """Return where an imported data set lies."""
    return data_home() / "data" / name


def check_name(name: str) -> None:
    """Refuse what cannot name a user's data set.

    Raises:
        AubenchError: Says why.
    """
    if not NAME.fullmatch(name):
        raise AubenchError(f"'{name}' cannot name a data set", "small letters, digits, . _ -")
    if name in GROUP.names():
        raise AubenchError(f"'{name}' cannot name a data set: it is installed", "--name another")


def imported_names() -> list[str]:
    """Return the names of the imported data sets."""
    return sorted(path.parent.name for path in (data_home() / "data").glob(f"*/{RECORD}"))


def read_record(name: str) -> ImportRecord:
    """Return the record of an imported data set.

    Raises:
        AubenchError: There is none, or it cannot be read.
    """
    path = folder_of(name) / RECORD
    if not path.is_file():
        known = imported_names()
        raise AubenchError(
            f"no imported data set '{name}'{suggest(name, known)}", "see `aubench data import`"
        )
    return _record(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _record(path: Path, changed: int) -> ImportRecord:
    try:
        data = read_json(path)
        stated = data.pop("sha256", None)
        found = ImportRecord(**data)
        if stated != sha256_json(data):
            raise AubenchError(f"{path} was changed since the import", "import again")
        return found
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise AubenchError(f"{path} is no record of an import", "import again") from error


def is_restricted(name: str) -> bool:
    """Whether images of a data set must stay on the user's machines; unknown sets do."""
    if name in RESTRICTED or not (folder_of(name) / RECORD).is_file():
        return True
    return read_record(name).restricted


def read_index(name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the index of a data set, or of all members of a joint one.

    Columns: ``key``, ``subject``, ``task``, ``frame``, ``sample`` (False of a reference face that
    is no sample), ``AU1`` to ``AU24`` (int8, -1 unknown), ``I1`` to ``I24`` (float32, NaN
    unknown), ``reference`` (key), ``source`` and ``pixels`` (digests), ``pack``.

    Raises:
        AubenchError: Not imported, or damaged.
    """
    import pandas as pd

    record, parts = read_record(name), []
    for part in record.members or [name]:
        path = folder_of(part) / INDEX
        try:
            _check_index(path, read_record(part).index_sha256)
            parts.append(pd.read_parquet(path, columns=None if columns is None else list(columns)))
        except (OSError, ValueError) as error:
            raise AubenchError(f"cannot read {path}", "import again") from error
    return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)


def _check_index(path: Path, sha256: str) -> None:
    """Compare an index with the digest of its import, once for each state of the file.

    Raises:
        AubenchError: It is another one.
    """
    about = path.stat()
    if _file_digest(path, about.st_mtime_ns, about.st_ctime_ns, about.st_size) != sha256:
        raise AubenchError(f"{path} was changed since the import", "import again")


@lru_cache(maxsize=16)
def _file_digest(path: Path, *state: int) -> str:
    return sha256_file(path)


def complete(frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return which rows of an index know all twelve AUs, bool [N]."""
    import numpy as np

    return np.asarray((frame[list(LABELS)].to_numpy(np.int8) >= 0).all(1))
