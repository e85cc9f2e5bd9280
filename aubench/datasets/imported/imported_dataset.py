"""An imported data set: its faces by key, its folds, its texts."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.datasets.dataset import Dataset
from aubench.datasets.imported.files import (
    folder_of,
    is_restricted,
    member,
    read_index,
    read_record,
)
from aubench.datasets.imported.folds import folds_of, own_split, split_of
from aubench.datasets.readers.trees import CORRUPT
from aubench.errors import AubenchError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from aubench.datasets.given_texts import GivenTexts
    from aubench.datasets.labelled_faces import LabelledFaces
    from aubench.datasets.samples import ImageSource
    from aubench.datasets.splits import Split

    Images = npt.NDArray[np.uint8]


class ImportedDataset(Dataset):
    """Data that `aubench data import` brought; also the name of data that are not here.

    Args:
        name: Name of the data set.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def restricted(self) -> bool:  # type: ignore[override]
        """Whether its images must stay here; those of data that are not here must."""
        return is_restricted(self.name)

    @property
    def own_split(self) -> bool:  # type: ignore[override]
        """Whether the data say who is in train and in test."""
        return own_split(self.name)

    @property
    def folds(self) -> int:  # type: ignore[override]
        """Number of folds of the published lists, or of ours."""
        return folds_of(self.name)

    @property
    def attached_texts(self) -> bool:  # type: ignore[override]
        """Whether ``aubench data text`` described its faces."""
        from aubench.datasets.imported.au_texts import TEXTS

        return (folder_of(self.name) / TEXTS).is_file()

    @property
    def description(self) -> str:  # type: ignore[override]
        """What was imported."""
        return f"{self.name}, imported ({read_record(self.name).kind})"

    def images(self, processes: int | None = None) -> ImageSource:
        """Return the imported faces.

        Raises:
            AubenchError: Nothing of that name was imported.
        """
        return ImportedImages(self.name)

    def split_faces(self, split: str) -> LabelledFaces:
        """Return the faces of a split of the data's own."""
        return self.faces(split, None)

    def faces(self, split: str = "train", fold: int | None = None) -> LabelledFaces:
        """Return the samples of a split or of a fold, those with unknown AUs too.

        Raises:
            AubenchError: No such split or fold, no fold where one is needed.
        """
        self.check_part(split, fold)
        if fold is None and not self.own_split:
            raise AubenchError(
                f"'{self.name}' has no split of its own", f"--fold 1 to {self.folds}"
            )
        frame = read_index(self.name)
        parts = split_of(self.name, fold or 1, frame["subject"].unique())
        kept = frame["subject"].isin(getattr(parts, split)) & frame["sample"]
        return self._labelled(frame[kept.to_numpy()], split, parts.fold)

    def everyone(self) -> LabelledFaces:
        """Return all samples, whatever their split."""
        frame = read_index(self.name)
        return self._labelled(frame[frame["sample"].to_numpy()], "train", 0)

    def _labelled(self, frame: pd.DataFrame, split: str, fold: int) -> LabelledFaces:
        import numpy as np

        from aubench.datasets.labelled_faces import LabelledFaces
        from aubench.datasets.samples import INTENSITIES, LABELS

        keys = tuple(str(key) for key in frame["key"])
        return LabelledFaces(
            self.name,
            split,
            keys,
            tuple(str(key) for key in frame["reference"]),
            tuple(str(name) for name in frame["subject"]),
            frame[list(LABELS)].to_numpy(np.int8),
            frame[list(INTENSITIES)].to_numpy(np.float32),
            self._texts(keys),
            fold,
        )

    def _texts(self, keys: Sequence[str]) -> tuple[str, ...] | None:
        """Return the texts that ``aubench data text`` attached, None where it did not.

        Of several texts of a face it is the first.
        """
        from aubench.datasets.imported.au_texts import read_texts

        if not self.attached_texts:
            return None
        table = read_texts(self.name).drop_duplicates("key")
        found = dict(zip(table["key"], table["text"], strict=True))
        lacking = [key for key in keys if key not in found]
        if lacking:
            raise AubenchError(
                f"no text of {lacking[0]} was attached ({len(lacking)} in all)",
                f"`aubench data text {self.name}`",
            )
        return tuple(str(found[key]) for key in keys)

    def given_texts(self) -> GivenTexts | None:
        """Return the texts that ``aubench data text --texts`` attached, None where ours are."""
        from aubench.datasets.imported.given_texts import read_given

        return read_given(self.name)

    def index(self) -> pd.DataFrame:
        """Return the index as imported; see ``files.read_index``."""
        return read_index(self.name)

    def split(self, fold: int) -> Split:
        """Return train and test subjects of a fold; see ``folds.split_of``."""
        return split_of(self.name, fold, read_index(self.name, ["subject"])["subject"].unique())

    @property
    def content(self) -> str:
        """Digest of codes, source files and references."""
        return read_record(self.name).content

    @property
    def coded(self) -> tuple[int, ...]:
        """AUs of the twelve that the data code."""
        return tuple(read_record(self.name).coded)


class ImportedImages:
    """The faces of an imported data set by key, such as ``bp4d/F001/T1/2440``.

    Args:
        name: Name of the data set.

    Raises:
        AubenchError: It is not imported.
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
        row = self._rows([key])[0]
        return self._face(self._pack(key, row), key, row, size)

    def load_many(self, keys: Sequence[str], size: int) -> Images:
        """Return uint8 [N, size, size, 3]."""
        import numpy as np

        out = np.empty((len(keys), size, size, 3), np.uint8)
        rows = self._rows(keys)
        packs = [self._pack(key, row) for key, row in zip(keys, rows, strict=True)]
        for i in sorted(range(len(keys)), key=lambda i: packs[i]):
            out[i] = self._face(packs[i], keys[i], rows[i], size)
        return out

    def prefetch(self, keys: Sequence[str], size: int, label: str) -> None:
        """Check that every image is there; nothing is to be made.

        Raises:
            AubenchError: Names the first that is not.
        """
        self._rows(keys)

    def attributes(self, subjects: Sequence[str]) -> dict[str, list[str]]:
        """Return by attribute, such as ``sex``, the group of each subject."""
        return {
            name: [table.get(subject, "unknown") for subject in subjects]
            for name, table in self._record.attributes.items()
        }

    def _rows(self, keys: Iterable[str]) -> list[int]:
        """Return the rows of some images in the index."""
        import pandas as pd

        places = _places(self._record.name, self.fingerprint)
        asked = list(keys)
        rows = places.get_indexer(pd.Index(asked, dtype=object))
        if (rows < 0).any():
            key = asked[int((rows < 0).argmax())]
            raise AubenchError(f"image {key} is not in {self._record.name}", "import again")
        return [int(row) for row in rows]

    def _pack(self, key: str, row: int) -> Path:
        packs = _column(self._record.name, "pack", self.fingerprint)
        return folder_of(key.split("/", 1)[0]) / "packs" / str(packs[row])

    def _face(self, pack: Path, key: str, row: int, size: int) -> Images:
        import numpy as np
        from PIL import Image

        try:
            if pack not in self._open:
                if len(self._open) >= 16:
                    self._open.pop(next(iter(self._open))).close()
                self._open[pack] = zipfile.ZipFile(pack)
            data = self._open[pack].read(member(frame_of(key)))
            with Image.open(io.BytesIO(data), formats=["PNG"]) as opened:
                face = whole = np.asarray(opened, np.uint8)
                if opened.size != (size, size):
                    resized = opened.resize((size, size), Image.Resampling.BICUBIC)
                    face = np.asarray(resized, np.uint8)
        except (*CORRUPT, KeyError, SyntaxError, ValueError) as error:
            raise AubenchError(f"{pack} does not hold {key}", "import again") from error
        digest = str(_column(self._record.name, "pixels", self.fingerprint)[row])
        if hashlib.sha256(whole.tobytes()).hexdigest()[: len(digest)] != digest:
            raise AubenchError(f"{pack} holds another picture as {key}", "import again")
        return face


def frame_of(key: str) -> str:
    """Return the name of a frame in its pack: the key without data set and subject."""
    return key.split("/", 2)[2]


@lru_cache(maxsize=2)
def _places(name: str, fingerprint: str) -> pd.Index[Any]:
    import pandas as pd

    places: pd.Index[Any] = pd.Index(read_index(name, ["key"])["key"].astype(object))
    return places


@lru_cache(maxsize=4)
def _column(name: str, column: str, fingerprint: str) -> npt.NDArray[np.object_]:
    import numpy as np

    return np.asarray(read_index(name, [column])[column].astype(object))
