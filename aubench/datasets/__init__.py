"""Data sets: faces with AUs, where their images come from, and what is said of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aubench.datasets.dataset import DefaultNetworks
    from aubench.datasets.samples import ImageSource

__all__ = ["DEFAULT_DATASET", "default_networks", "image_source", "restricted"]

DEFAULT_DATASET = "synfacs"
"""What commands take where no ``--data`` is given: the data set that ships."""


def image_source(dataset: str) -> ImageSource:
    """Return where the images of a data set come from.

    Raises:
        AubenchError: The data set is unknown.
    """
    from aubench.datasets.registry import find_dataset

    return find_dataset(dataset).images()


def restricted(dataset: str) -> bool:
    """Whether no image of a data set may enter a bundle, a site or a figure by itself.

    True for BP4D, BP4D+, DISFA, for imports not declared free, and for data sets that are not
    known here; False for synfacs. Who shows images asks this, and shows them only if the user
    says so in as many words.
    """
    from aubench.datasets.registry import named_dataset

    return named_dataset(dataset).restricted


def default_networks(dataset: str) -> DefaultNetworks:
    """Return the networks that measure a data set unless the user names others."""
    from aubench.datasets.registry import named_dataset

    return named_dataset(dataset).default_networks
