"""Every data set by name: those of installed packages, and what the user imported."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.datasets.dataset import GROUP, Dataset
from aubench.datasets.imported.files import imported_names
from aubench.datasets.imported.imported_dataset import ImportedDataset
from aubench.errors import AubenchError, suggest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from aubench.datasets.samples import ImageSource, SampleSet
    from aubench.datasets.training_faces import TrainingFaces

METHODS = (
    "split_faces",
    "faces",
    "usual_fold",
    "pictures",
    "pictures_of",
    "samples",
    "attributes",
    "train_of",
    "training_faces",
    "combinations",
    "index",
    "split",
    "given_texts",
    "read_protocol",
    "protocol_proof",
    "check_protocol",
    "key_with",
)
"""What a data set is asked."""


@lru_cache(maxsize=16)
def load_installed(name: str) -> Dataset:
    """Import the data set that a package registers as ``name``.

    Raises:
        AubenchError: It cannot be imported, or is no data set of that name.
    """
    loaded = GROUP.load(name)
    with GROUP.calling(name, "being made"):
        made = loaded()
    if not isinstance(made, Dataset) or getattr(made, "name", None) != name:
        raise GROUP.wrong(name, "an aubench.datasets.dataset.Dataset of that name")
    if not GROUP.foreign(name):
        return made
    images = GROUP.walled(name, "images()", made.images)
    object.__setattr__(
        made, "images", lambda *args, **kwargs: _GuardedImages(name, images(*args, **kwargs))
    )
    guarded: Dataset = GROUP.guarded(name, made, METHODS)
    return guarded


class _GuardedImages:
    """Images of a plug-in's data set: called behind the wall, copied, and checked.

    Args:
        name: Name of the data set.
        source: What it returned.
    """

    def __init__(self, name: str, source: ImageSource) -> None:
        self._name, self._source = name, source

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._source, attribute)

    @property
    def fingerprint(self) -> str:
        """Identifies every pixel of the source."""
        with GROUP.calling(self._name, "fingerprint"):
            return str(self._source.fingerprint)

    def load(self, key: str, size: int) -> npt.NDArray[np.uint8]:
        """Return uint8 [size, size, 3] RGB."""
        with GROUP.calling(self._name, f"load() of {key}"):
            image = self._source.load(key, size)
        return self._checked(image, (size, size, 3), key)

    def load_many(self, keys: Sequence[str], size: int) -> npt.NDArray[np.uint8]:
        """Return uint8 [N, size, size, 3] RGB."""
        first = keys[0] if len(keys) else "no key"
        with GROUP.calling(self._name, f"load_many() from {first}"):
            images = self._source.load_many(keys, size)
        return self._checked(images, (len(keys), size, size, 3), first)

    def prefetch(self, keys: Sequence[str], size: int, label: str) -> None:
        """Bring images into the cache."""
        with GROUP.calling(self._name, "prefetch()"):
            self._source.prefetch(keys, size, label)

    def attributes(self, subjects: Sequence[str]) -> dict[str, list[str]]:
        """Return by attribute the group of each subject."""
        with GROUP.calling(self._name, "attributes()"):
            return self._source.attributes(subjects)

    def _checked(self, images: Any, shape: tuple[int, ...], key: str) -> npt.NDArray[np.uint8]:
        import numpy as np

        found = np.asarray(images)
        if found.dtype != np.uint8 or found.shape != shape:
            raise AubenchError(
                f"data set '{self._name}' gives {found.dtype} {list(found.shape)} for {key}",
                f"uint8 {list(shape)} was asked for",
            )
        return np.array(found)  # of a data set that returns one buffer again and again


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
