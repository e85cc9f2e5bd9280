"""Data sets: sample sets and where their images come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aubench.errors import AubenchError, suggest

if TYPE_CHECKING:
    from aubench.datasets.samples import ImageSource

DATASETS = ("synfacs",)


def image_source(dataset: str) -> ImageSource:
    """Return where the images of a data set come from.

    Raises:
        AubenchError: the data set is unknown.
    """
    if dataset not in DATASETS:
        raise AubenchError(
            f"unknown data set '{dataset}'{suggest(dataset, DATASETS)}",
            f"choose from {', '.join(DATASETS)}",
        )
    from aubench.datasets.images import SynfacsImages

    return SynfacsImages()
