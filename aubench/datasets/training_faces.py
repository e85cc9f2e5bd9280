"""The faces that models train on, in the packs in which the cache holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from aubench.datasets.labelled_faces import LabelledFaces
    from aubench.datasets.samples import ImageSource

PACK = 500
"""Faces whose features are cached in one file."""


@runtime_checkable
class PackedSource(Protocol):
    """A source that makes its images and keeps them in packs."""

    def has_pack(self, keys: Sequence[str], size: int) -> bool:
        """Whether the cache holds the pack of these keys."""

    def packed(self, keys: Sequence[str], size: int, label: str) -> npt.NDArray[np.uint8]:
        """Return uint8 [N, size, size, 3] of many images, kept in packs."""


@dataclass(frozen=True)
class TrainingFaces:
    """Training faces of a data set, targets and references.

    Attributes:
        packs: Keys of the faces, as they lie together in a file.
        source: Source of their images.
        dataset: Name of the data set.
    """

    packs: tuple[tuple[str, ...], ...]
    source: ImageSource
    dataset: str

    @cached_property
    def keys(self) -> list[str]:
        """All keys, in the order of the packs."""
        return [key for pack in self.packs for key in pack]

    def first_rows(self) -> list[int]:
        """Return the rows of ``keys`` that hold each face for the first time.

        A neutral target is a reference as well; twice in the set, it would be its own neighbour.
        """
        first: dict[str, int] = {}
        for row, key in enumerate(self.keys):
            first.setdefault(key, row)
        return list(first.values())

    def rendered(self, size: int) -> bool:
        """Whether all are there at a size; those of photographs always are."""
        if not isinstance(self.source, PackedSource):
            return True
        return all(self.source.has_pack(pack, size) for pack in self.packs)

    def load(self, pack: Sequence[str], size: int) -> npt.NDArray[np.uint8]:
        """Return the images of one pack, uint8 [B, size, size, 3]."""
        if isinstance(self.source, PackedSource):
            return self.source.packed(pack, size, "training faces")
        return self.source.load_many(pack, size)


def faces_in_packs(source: ImageSource, faces: LabelledFaces) -> TrainingFaces:
    """Return the targets and the references of labelled faces, each sorted and in packs."""
    packs = []
    for column in (faces.keys, faces.references):
        names = sorted(set(column))
        packs += [tuple(names[i : i + PACK]) for i in range(0, len(names), PACK)]
    return TrainingFaces(tuple(packs), source, faces.dataset)
