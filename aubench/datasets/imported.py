"""A researcher's own data after import: where it lies, its index, its images.

``data/NAME/`` in ``aubench.files.data_home()`` holds ``import.json`` (record), ``index.parquet``
(a row a face), ``faults.csv``, and ``packs/`` (archives of PNG files with a ledger each). A joint
set, such as BP4D with BP4D+, holds no packs but the names of its members.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.datasets.crop_jobs import member
from aubench.datasets.samples import LABELS
from aubench.datasets.trees import CORRUPT
from aubench.errors import AubenchError, suggest
from aubench.files import data_home, write_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Images = npt.NDArray[np.uint8]

RECORD, INDEX, FAULTS = "import.json", "index.parquet", "faults.csv"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
RESTRICTED = frozenset({"bp4d", "bp4dplus", "disfa", "bp4d-autext"})
"""Data sets under a signed agreement, whether or not they are imported here."""


@dataclass(frozen=True)
class ImportRecord:
    """What ``import.json`` says.

    Attributes:
        name: of the data set.
        kind: ``bp4d``, ``bp4dplus``, ``disfa``, ``folder`` or ``joint``.
        restricted: whether its images must not leave the user's machines.
        align: how faces were cut.
        size: side of the faces.
        seed: draws the reference faces.
        options: of the reader.
        counts: by what was counted.
        published: the same, as told in public.
        content: digest of codes, source files and references; the same wherever they are.
        fingerprint: of the pixels.
        coded: AUs of the twelve that the data code.
        attributes: by attribute and subject, the group.
        splits: by subject, where the data say so.
        members: of a joint set.
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

    def write(self) -> None:
        """Write the record to its place."""
        write_text(folder_of(self.name) / RECORD, json.dumps(asdict(self), indent=1) + "\n")


def folder_of(name: str) -> Path:
    """Return where an imported data set lies."""
    return data_home() / "data" / name


def check_name(name: str) -> None:
    """Refuse what cannot name a user's data set.

    Raises:
        AubenchError: says why.
    """
    if not NAME.fullmatch(name) or name == "synfacs":
        raise AubenchError(f"'{name}' cannot name a data set", "small letters, digits, . _ -")


def imported_names() -> list[str]:
    """Return the names of the imported data sets."""
    return sorted(path.parent.name for path in (data_home() / "data").glob(f"*/{RECORD}"))


def read_record(name: str) -> ImportRecord:
    """Return the record of an imported data set.

    Raises:
        AubenchError: there is none, or it cannot be read.
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
        return ImportRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise AubenchError(f"{path} is no record of an import", "import again") from error


def is_restricted(name: str) -> bool:
    """Whether images of a data set must stay on the user's machines; unknown sets do."""
    if name == "synfacs":
        return False
    if name in RESTRICTED or not (folder_of(name) / RECORD).is_file():
        return True
    return read_record(name).restricted


def read_index(name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the index of a data set, or of all members of a joint one.

    Columns: ``key``, ``subject``, ``task``, ``frame``, ``sample`` (False of a reference face that
    is no sample), ``AU1`` to ``AU24`` (int8, -1 unknown), ``I1`` to ``I24`` (float32, NaN
    unknown), ``reference`` (key), ``source`` and ``pixels`` (digests), ``pack``.

    Raises:
        AubenchError: not imported, or damaged.
    """
    import pandas as pd

    record, parts = read_record(name), []
    for part in record.members or [name]:
        path = folder_of(part) / INDEX
        try:
            parts.append(pd.read_parquet(path, columns=None if columns is None else list(columns)))
        except (OSError, ValueError) as error:
            raise AubenchError(f"cannot read {path}", "import again") from error
    return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)


def complete(frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return which rows of an index know all twelve AUs, bool [N]."""
    import numpy as np

    return np.asarray((frame[list(LABELS)].to_numpy(np.int8) >= 0).all(1))


class ImportedImages:
    """The faces of an imported data set by key, such as ``bp4d/F001/T1/2440``.

    Args:
        name: of the data set.

    Raises:
        AubenchError: it is not imported.
    """

    def __init__(self, name: str) -> None:
        self._record = read_record(name)
        self._open: dict[Path, zipfile.ZipFile] = {}

    @property
    def fingerprint(self) -> str:
        """Name and digest of every pixel."""
        return self._record.fingerprint

    def load(self, key: str, size: int) -> Images:
        """Return uint8 [size, size, 3], resized from the imported face."""
        return self._face(self._packs([key])[0], key, size)

    def load_many(self, keys: Sequence[str], size: int) -> Images:
        """Return uint8 [N, size, size, 3]."""
        import numpy as np

        out = np.empty((len(keys), size, size, 3), np.uint8)
        packs = self._packs(keys)
        for i in sorted(range(len(keys)), key=lambda i: packs[i]):
            out[i] = self._face(packs[i], keys[i], size)
        return out

    def prefetch(self, keys: Sequence[str], size: int, label: str) -> None:
        """Check that every image is there; nothing is to be made.

        Raises:
            AubenchError: names the first that is not.
        """
        self._packs(keys)

    def attributes(self, subjects: Sequence[str]) -> dict[str, list[str]]:
        """Return by attribute, such as ``sex``, the group of each subject."""
        return {
            name: [table.get(subject, "unknown") for subject in subjects]
            for name, table in self._record.attributes.items()
        }

    def _packs(self, keys: Iterable[str]) -> list[Path]:
        import pandas as pd

        places = _places(self._record.name, self.fingerprint)
        asked = list(keys)
        rows = places.get_indexer(pd.Index(asked, dtype=object))
        if (rows < 0).any():
            key = asked[int((rows < 0).argmax())]
            raise AubenchError(f"image {key} is not in {self._record.name}", "import again")
        packs = _pack_names(self._record.name, self.fingerprint)
        return [folder_of(key.split("/", 1)[0]) / "packs" / packs[row]
                for key, row in zip(asked, rows, strict=True)]  # fmt: skip

    def _face(self, pack: Path, key: str, size: int) -> Images:
        import numpy as np
        from PIL import Image

        try:
            if pack not in self._open:
                if len(self._open) >= 16:
                    self._open.pop(next(iter(self._open))).close()
                self._open[pack] = zipfile.ZipFile(pack)
            data = self._open[pack].read(member(frame_of(key)))
            with Image.open(io.BytesIO(data), formats=["PNG"]) as opened:
                if opened.size != (size, size):
                    resized = opened.resize((size, size), Image.Resampling.BICUBIC)
                    return np.asarray(resized, np.uint8)
                return np.asarray(opened, np.uint8)
        except (*CORRUPT, KeyError, SyntaxError, ValueError) as error:
            raise AubenchError(f"{pack} does not hold {key}", "import again") from error


def frame_of(key: str) -> str:
    """Return the name of a frame in its pack: the key without data set and subject."""
    return key.split("/", 2)[2]


@lru_cache(maxsize=2)
def _places(name: str, fingerprint: str) -> pd.Index[Any]:
    import pandas as pd

    places: pd.Index[Any] = pd.Index(read_index(name, ["key"])["key"].astype(object))
    return places


@lru_cache(maxsize=2)
def _pack_names(name: str, fingerprint: str) -> npt.NDArray[np.object_]:
    import numpy as np

    return np.asarray(read_index(name, ["pack"])["pack"].astype(object))
