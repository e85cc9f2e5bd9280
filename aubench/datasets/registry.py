"""Every data set by name: those of installed packages, and what the user imported."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from aubench.datasets.dataset import GROUP, Dataset
from aubench.datasets.imported.files import imported_names
from aubench.datasets.imported.imported_dataset import ImportedDataset
from aubench.errors import AubenchError, first_line, suggest

if TYPE_CHECKING:
    from aubench.datasets.samples import SampleSet
    from aubench.datasets.training_faces import TrainingFaces


@lru_cache(maxsize=16)
def load_installed(name: str) -> Dataset:
    """Import the data set that a package registers as ``name``.

    Raises:
        AubenchError: It cannot be imported, or is no data set of that name.
    """
    loaded = GROUP.load(name)
    try:
        made = loaded()
    except Exception as error:  # whatever a foreign class raises
        raise GROUP.wrong(name, f"a data set that can be made: {first_line(error)}") from error
    if not isinstance(made, Dataset) or getattr(made, "name", None) != name:
        raise GROUP.wrong(name, "an aubench.datasets.dataset.Dataset of that name")
    return made


def dataset_names() -> list[str]:
    """Return the names of all data sets, installed ones first; none is loaded."""
    installed = GROUP.names()
    return [*installed, *(name for name in imported_names() if name not in installed)]


def find_dataset(name: str) -> Dataset:
    """Return a data set by name.

    Raises:
        AubenchError: The name is unknown, or its package is broken.
    """
    if name in GROUP.names():
        return load_installed(name)
    known = dataset_names()
    if name not in known:
        raise AubenchError(
            f"unknown data set '{name}'{suggest(name, known)}",
            f"choose from {', '.join(known)}; `aubench data import` adds yours",
        )
    return ImportedDataset(name)


def dataset_or_path(data: str, layouts: str) -> Dataset | Path:
    """Return what a training's ``--data`` names: a data set, or a path that the trainer reads.

    Args:
        data: Name, or path.
        layouts: What the trainer reads, for the message.

    Raises:
        AubenchError: There is no such data set and no such path.
    """
    known = dataset_names()
    if data in known:
        return find_dataset(data)
    if Path(data).exists():
        return Path(data)
    raise AubenchError(
        f"no data '{data}'{suggest(data, known)}",
        f"a data set ({', '.join(known)}), or {layouts}; `aubench data import` adds data sets",
    )


def named_dataset(name: str) -> Dataset:
    """Return the data set that a record or a protocol names, whether or not it is here.

    One that is not here is restricted, has no networks of its own, and tells that it is missing
    once its faces are asked for.

    Raises:
        AubenchError: Its package is broken.
    """
    return load_installed(name) if name in GROUP.names() else ImportedDataset(name)


def training_faces(samples: SampleSet) -> TrainingFaces | None:
    """Return the faces that models train on who are judged on some samples.

    Returns:
        None where they are not known to us: the data set is not here, or no part of it tests just
        these subjects.
    """
    if samples.dataset not in dataset_names():
        return None
    return find_dataset(samples.dataset).training_faces(samples.subjects())
