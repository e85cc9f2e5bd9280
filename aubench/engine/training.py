"""How near images come to the training faces; all but the images' own part is cached by content.

A network is asked for one of its arrays: an extractor for ``features``, an identity network for
``embeddings``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from aubench.datasets.training import TrainingFaces, training_faces
from aubench.engine.features import Arrays, content_key, read_arrays, reference_path, write_arrays
from aubench.errors import AubenchError
from aubench.metrics.memorisation import Neighbours, nearest
from aubench.progress import bar

if TYPE_CHECKING:
    from aubench.metrics.measure import Network

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Memory:
    """Nearest training faces, in the eyes of a network.

    Attributes:
        keys: of the training faces [T].
        made: nearest to the generated images [K].
        targets: nearest to the targets of all samples [N].
        gaps: distance of each training face to its nearest other one, float64 [T].
        by: id of the network.
    """

    keys: list[str]
    made: Neighbours
    targets: Neighbours
    gaps: npt.NDArray[np.float64]
    by: str


class UnknownTrainingError(AubenchError):
    """There is no training set to compare with; says why and what helps."""


@dataclass(frozen=True)
class Asked:
    """Images whose nearest training faces are wanted.

    Attributes:
        features: float32 [M, D].
        content: digest of what they are features of.
        path: where the answer is kept, by content in the cache if None.
    """

    features: Features
    content: str
    path: Path | None = None


def memory(
    dataset: str,
    fingerprint: str,
    network: Network,
    array: str,
    size: int,
    made: Asked,
    targets: Asked,
) -> Memory:
    """Return how near generated images and targets come to the training faces of a data set.

    Args:
        dataset: name.
        fingerprint: of its images.
        network: that all features are of.
        array: which of its arrays they are.
        size: pixels.
        made: generated images.
        targets: held-out faces.

    Raises:
        UnknownTrainingError: the training set is not known to us, or not rendered at this size.
    """
    faces = training_faces(dataset)
    if faces is None:
        raise UnknownTrainingError(f"the training faces of {dataset} are not known")
    rows = faces.first_rows()
    keys = [faces.keys[row] for row in rows]

    @cache  # read only if some distance is not cached
    def base() -> Features:
        return _features(faces, fingerprint, network, array, size)[rows]

    about = f"{fingerprint}|{size}|training|{content_key(*keys)}"
    gaps = Asked(np.zeros((len(keys), 0), np.float32), "gaps")
    return Memory(
        keys=keys,
        made=_nearest(made, base, about, network),
        targets=_nearest(targets, base, about, network),
        gaps=_nearest(gaps, base, about, network, itself=True).distance,
        by=network.id,
    )


Eye = tuple["Network | None", str, str]
"""A network, which of its arrays counts, and why there is no network."""


def memories(
    eyes: Mapping[str, Eye],
    dataset: str,
    fingerprint: str,
    size: int,
    place: Path,
    *asked: tuple[Mapping[str, Arrays], str],
) -> tuple[dict[str, Memory], dict[str, str]]:
    """Return training faces nearest to generated images and targets, and why there are none.

    Args:
        eyes: by name, who is to judge.
        dataset: whose training faces are meant.
        fingerprint: of its images.
        size: pixels.
        place: folder to keep the answer for generated images.
        asked: measurements by network and digest of the pixels; of generated images, of targets.
    """
    found: dict[str, Memory] = {}
    reasons: dict[str, str] = {}
    for name, (network, array, reason) in eyes.items():
        if network is None:
            reasons[name] = reason
            continue
        paths = place / f"{name}.safetensors", None
        made, targets = (
            Asked(measured[network.name][array], content, path)
            for (measured, content), path in zip(asked, paths, strict=True)
        )
        try:
            found[name] = memory(dataset, fingerprint, network, array, size, made, targets)
        except UnknownTrainingError as error:
            reasons[name] = str(error)
    return found, reasons


def _nearest(
    asked: Asked,
    base: Callable[[], Features],
    about: str,
    network: Network,
    *,
    itself: bool = False,
) -> Neighbours:
    """Return nearest training faces from a cache, or measured and put there."""
    content = f"{about}|nearest|{asked.content}"
    key = content_key(content, network.id, network.sha256)
    path = asked.path or reference_path(content, network)
    arrays = read_arrays(path, key, len(asked.features))
    if arrays is not None:
        return Neighbours(arrays["index"].astype(np.int64), arrays["distance"].astype(np.float64))
    if itself:
        found = nearest(base(), base(), own=np.arange(len(base())))
    else:
        found = nearest(asked.features, base())
    write_arrays(path, key, {"index": found.index, "distance": found.distance})
    return found


def _features(
    faces: TrainingFaces, fingerprint: str, network: Network, array: str, size: int
) -> Features:
    """Return features [T, D] of the faces in the order of their keys, cached pack by pack."""
    places = {}
    for pack in faces.packs:
        content = f"{fingerprint}|{size}|training|{content_key(*pack)}"
        key = content_key(content, network.id, network.sha256)
        places[pack] = (reference_path(content, network), key)
    arrays = {pack: read_arrays(path, key, len(pack)) for pack, (path, key) in places.items()}
    missing = [pack for pack, found in arrays.items() if found is None]
    if missing and not faces.rendered(size):
        raise UnknownTrainingError(
            f"the training faces are not rendered at {size} px",
            f"`aubench data build synfacs --split train --size {size}`",
        )
    if missing:
        done = len(faces.keys) - sum(map(len, missing))
        with bar(len(faces.keys), "measure training faces", "img", done) as progress:
            for pack in missing:
                found = {array: network(faces.load(pack, size))[array]}
                path, key = places[pack]
                write_arrays(path, key, found)
                arrays[pack] = found
                progress.update(len(pack))
    return np.concatenate([found[array] for found in arrays.values() if found is not None])
