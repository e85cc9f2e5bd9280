"""Faces of a part of a data set with what is known of each: what every training reads."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, Self

from aubench.datasets.samples import combinations_of
from aubench.errors import AubenchError
from aubench.facs import AUS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from aubench.datasets.samples import ImageSource

    Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class LabelledFaces:
    """Faces with their AUs, one a row; images are read by key when they are asked for.

    Attributes:
        dataset: Name of the data set.
        split: ``train``, ``validation`` or ``test``.
        fold: Subject-exclusive fold, from 1; 0 for the data set's own split.
        keys: Image of each face [N].
        references: Image of the same person's neutral face [N].
        subjects: Person seen in each [N].
        labels: int8 [N, 12]; 1 active, 0 absent, -1 unknown.
        intensities: float32 [N, 12] in 0..5; NaN unknown.
        texts: Descriptions that were attached to the data [N]; None where none were.
        pool: Keys among which these lie in the cache, as those of a fold in train; None if apart.
    """

    dataset: str
    split: str
    keys: tuple[str, ...]
    references: tuple[str, ...]
    subjects: tuple[str, ...]
    labels: npt.NDArray[np.int8]
    intensities: npt.NDArray[np.float32]
    texts: tuple[str, ...] | None = None
    fold: int = 0
    pool: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        shape = (len(self.keys), len(AUS))
        columns = [self.references, self.subjects]
        columns += [self.texts] if self.texts is not None else []
        if any(len(column) != len(self.keys) for column in columns) or not (
            self.labels.shape == self.intensities.shape == shape
        ):
            raise AubenchError(f"faces of '{self.dataset}' have columns of unequal length")

    def __len__(self) -> int:
        return len(self.keys)

    def rows(self, which: npt.NDArray[Any]) -> Self:
        """Return the given rows, numbers or a mask bool [N]; they stay within their pool."""
        import numpy as np

        at = np.arange(len(self))[which].tolist()
        return replace(
            self,
            keys=tuple(self.keys[i] for i in at),
            references=tuple(self.references[i] for i in at),
            subjects=tuple(self.subjects[i] for i in at),
            labels=self.labels[at],
            intensities=self.intensities[at],
            texts=None if self.texts is None else tuple(self.texts[i] for i in at),
        )

    def head(self, count: int | None) -> Self:
        """Return the first ``count`` rows, apart from any pool; all if None or 0."""
        import numpy as np

        if not count or count >= len(self):
            return self
        return replace(self.rows(np.arange(count)), pool=None)

    def combinations(self) -> list[str]:
        """Return the name of each AU set; what is unknown counts as absent."""
        import numpy as np

        return combinations_of((self.labels == 1).astype(np.uint8))

    @property
    def complete(self) -> npt.NDArray[np.bool_]:
        """Which rows know all twelve AUs, bool [N]."""
        import numpy as np

        return np.asarray((self.labels >= 0).all(1))

    @property
    def digest(self) -> str:
        """Sixteen digits over keys, references, texts, labels and intensities."""
        import numpy as np

        digest = hashlib.sha256()
        for row in zip(self.keys, self.references, self.texts or self.keys, strict=True):
            digest.update("\x1f".join(row).encode() + b"\n")
        digest.update(self.labels.astype(np.int8).tobytes())
        known = np.where(np.isnan(self.intensities), -1, self.intensities * 100)
        digest.update(known.round().astype("<i4").tobytes())
        return digest.hexdigest()[:16]

    @property
    def title(self) -> str:
        """Name, split and fold, as ``bp4d/train of fold 1``."""
        return f"{self.dataset}/{self.split}" + (f" of fold {self.fold}" if self.fold else "")

    def about(self) -> dict[str, Any]:
        """Return what a card says of the data: name, split, fold, count, digest."""
        fold = {"fold": self.fold} if self.fold else {}
        return {
            "name": self.dataset,
            "split": self.split,
            **fold,
            "faces": len(self),
            "digest": self.digest,
        }


class Pictures(Protocol):
    """Images by number."""

    def __len__(self) -> int:
        """Return how many there are."""

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> Images:
        """Return uint8 [B, S, S, 3]."""


@dataclass(frozen=True)
class ArrayPictures:
    """Images in memory, uint8 [N, S, S, 3]."""

    images: Images

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> Images:
        """Return uint8 [B, S, S, 3]."""
        import numpy as np

        taken: Images = self.images[np.asarray(rows)]
        return taken


@dataclass(frozen=True)
class KeyPictures:
    """Images of a source, read when they are asked for.

    Attributes:
        source: Reads an image by key.
        keys: Keys of the images [N].
        size: Side in pixels.
    """

    source: ImageSource
    keys: tuple[str, ...]
    size: int

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> Images:
        """Return uint8 [B, S, S, 3]."""
        return self.source.load_many([self.keys[int(row)] for row in rows], self.size)
