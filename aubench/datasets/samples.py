"""A set of samples: who, which AUs, which reference and target, in which words."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from aubench.errors import AubenchError
from aubench.facs import AUS, combination_name
from aubench.storage.files import atomic_path

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

LABELS = tuple(f"AU{au}" for au in AUS)
INTENSITIES = tuple(f"I{au}" for au in AUS)
COLUMNS = (
    "sample_id",
    "subject",
    "reference",
    "target",
    *LABELS,
    *INTENSITIES,
    "combination",
    "text",
    "seed",
    "strata",
)


class ImageSource(Protocol):
    """Where the images of a data set come from."""

    @property
    def fingerprint(self) -> str:
        """Identifies every pixel of the source."""

    def load(self, key: str, size: int) -> npt.NDArray[np.uint8]:
        """Return uint8 [size, size, 3] RGB."""

    def load_many(self, keys: Sequence[str], size: int) -> npt.NDArray[np.uint8]:
        """Return uint8 [N, size, size, 3] RGB."""

    def prefetch(self, keys: Sequence[str], size: int, label: str) -> None:
        """Bring images into the cache, in parallel, with a progress bar."""

    def attributes(self, subjects: Sequence[str]) -> dict[str, list[str]]:
        """Return by attribute, such as ``sex``, the group of each subject; empty if unknown."""


@dataclass(frozen=True)
class SampleSet:
    """Samples of a data set, one a row of ``frame``.

    Columns: ``sample_id``, ``subject``, ``reference`` and ``target`` (image keys, target may be
    null), ``AU1`` to ``AU24`` (uint8 0/1), ``I1`` to ``I24`` (float32 0..5, NaN unknown),
    ``combination``, ``text``, ``seed``, ``strata``.
    """

    frame: pd.DataFrame
    dataset: str

    def __post_init__(self) -> None:
        missing = [column for column in COLUMNS if column not in self.frame.columns]
        if missing:
            raise AubenchError(f"samples lack the column '{missing[0]}'")
        ids = self.frame["sample_id"]
        if ids.duplicated().any():
            twice = ids[ids.duplicated()].iloc[0]
            raise AubenchError(f"sample id '{twice}' occurs twice")
        labels = self.frame[list(LABELS)].to_numpy()
        if not ((labels == 0) | (labels == 1)).all():
            row = int(((labels != 0) & (labels != 1)).any(axis=1).argmax())
            raise AubenchError(f"sample '{ids.iloc[row]}' has an AU label that is not 0 or 1")
        self._check_intensities()
        for name, stated, found in zip(
            ids, self.frame["combination"], combinations_of(labels), strict=True
        ):
            if stated != found:
                raise AubenchError(f"sample '{name}' is called {stated} but its labels say {found}")

    def _check_intensities(self) -> None:
        import numpy as np

        values, labels = self.intensities(), self.labels()
        known = ~np.isnan(values)
        with np.errstate(invalid="ignore"):
            outside = known & ~((values >= 0) & (values <= 5))
            against = known & ((values > 0) != (labels == 1))
        for wrong, what in (
            (outside, "an intensity outside 0..5"),
            (against, "an intensity that contradicts its AU label"),
        ):
            if wrong.any():
                row, column = np.argwhere(wrong)[0]
                name = self.frame["sample_id"].iloc[int(row)]
                raise AubenchError(f"sample '{name}' has {what} at {INTENSITIES[column]}")

    def __len__(self) -> int:
        return len(self.frame)

    def labels(self) -> npt.NDArray[np.uint8]:
        """Return uint8 [N, 12]."""
        import numpy as np

        return self.frame[list(LABELS)].to_numpy(np.uint8)

    def intensities(self) -> npt.NDArray[np.float32]:
        """Return float32 [N, 12], NaN where unknown."""
        import numpy as np

        return self.frame[list(INTENSITIES)].to_numpy(np.float32)

    def subjects(self) -> list[str]:
        """Return the subject of each sample."""
        return [str(name) for name in self.frame["subject"]]

    def subset(self, rows: Any) -> Self:
        """Return the given rows, numbers or a mask bool [N], in the order given."""
        import numpy as np

        return replace(self, frame=self.frame.iloc[np.asarray(rows)].reset_index(drop=True))

    def shard(self, index: int, count: int) -> Self:
        """Return every ``count``-th sample from ``index``; shards are disjoint and complete.

        Raises:
            AubenchError: There is no such shard.
        """
        if not 0 <= index < count:
            raise AubenchError(f"no shard {index} of {count}", "shards count from 0")
        return replace(self, frame=self.frame.iloc[index::count].reset_index(drop=True))

    def limit(self, count: int) -> Self:
        """Return ``count`` samples spread evenly over the set."""
        import numpy as np

        rows = np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(int))
        return replace(self, frame=self.frame.iloc[rows].reset_index(drop=True))

    @property
    def ids(self) -> list[str]:
        """The sample ids, in order."""
        return [str(name) for name in self.frame["sample_id"]]

    @property
    def sha256(self) -> str:
        """Digest of the content, whatever the file format or the row index."""
        digest = hashlib.sha256()
        for row in self.frame[list(COLUMNS)].itertuples(index=False):
            digest.update("\x1f".join(map(_plain, row)).encode() + b"\n")
        return digest.hexdigest()

    def write(self, path: Path) -> None:
        """Write parquet atomically."""
        with atomic_path(path) as temporary:
            self.frame.to_parquet(temporary, index=False)


def read_samples(path: Path, dataset: str) -> SampleSet:
    """Return the samples in a parquet file that ``SampleSet.write`` made.

    Raises:
        AubenchError: The file is missing, cut short, or not a sample set.
    """
    import pandas as pd

    try:
        return SampleSet(pd.read_parquet(path), dataset)
    except AubenchError as error:
        raise AubenchError(f"{path}: {error.message}", error.hint) from error
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise AubenchError(f"cannot read samples from {path}: {reason}") from error


def _plain(value: object) -> str:
    if value is None or value != value:  # NaN differs from itself
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def combinations_of(labels: npt.NDArray[np.uint8]) -> list[str]:
    """Return the combination name of each row of uint8 [N, 12]."""
    return [combination_name(row) for row in labels]


def seed_of(sample_id: str, seed: int) -> int:
    """Return the seed of a sample, from its id and the protocol's seed alone."""
    digest = hashlib.sha256(f"{seed}/{sample_id}".encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1
