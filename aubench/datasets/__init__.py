"""Data sets: sample sets and where their images come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aubench.errors import AubenchError, suggest

if TYPE_CHECKING:
    from aubench.datasets.samples import ImageSource

__all__ = ["DATASETS", "image_source", "restricted"]

DATASETS = ("synfacs",)
"""Those that need no import."""


def image_source(dataset: str) -> ImageSource:
    """Return where the images of a data set come from.

    Raises:
        AubenchError: the data set is unknown.
    """
    if dataset in DATASETS:
        from aubench.datasets.images import SynfacsImages

        return SynfacsImages()
    from aubench.datasets.imported import ImportedImages, imported_names

    known = [*DATASETS, *imported_names()]
    if dataset not in known:
        raise AubenchError(
            f"unknown data set '{dataset}'{suggest(dataset, known)}",
            f"choose from {', '.join(known)}; `aubench data import` adds yours",
        )
    return ImportedImages(dataset)


def restricted(dataset: str) -> bool:
    """Whether no image of a data set may enter a bundle, a site or a figure by itself.

    True for BP4D, BP4D+, DISFA, for imports not declared free, and for data sets that are not
    known here; False for synfacs. Who shows images asks this, and shows them only if the user
    says so in as many words.
    """
    from aubench.datasets.imported import is_restricted

    return is_restricted(dataset)
