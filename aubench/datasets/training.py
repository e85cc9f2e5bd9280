"""The faces that models train on, in the packs in which the cache holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class TrainingFaces:
    """Training faces of synfacs, targets and references.

    Attributes:
        packs: keys of the faces, as they lie together in a file.
    """

    packs: tuple[tuple[str, ...], ...]

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
        """Whether the cache holds them all at a size."""
        from aubench.datasets.images import SynfacsImages

        source = SynfacsImages()
        return all(source.has_pack(pack, size) for pack in self.packs)

    def load(self, pack: Sequence[str], size: int) -> npt.NDArray[np.uint8]:
        """Return the images of one pack, uint8 [B, size, size, 3]."""
        from aubench.datasets.images import SynfacsImages

        return SynfacsImages().packed(pack, size, "training faces")


def training_faces(dataset: str) -> TrainingFaces | None:
    """Return the training faces of a data set, None where they are not known to us."""
    if dataset != "synfacs":
        return None
    from aubench.datasets.images import PACK
    from aubench.datasets.synfacs import split_frame

    frame = split_frame("train")
    packs = []
    for column in ("target", "reference"):
        names = sorted({str(key) for key in frame[column]})
        packs += [tuple(names[i : i + PACK]) for i in range(0, len(names), PACK)]
    return TrainingFaces(tuple(packs))
