"""Training faces to features, cached pack by pack, and how near each is to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from aubench.datasets.training import TrainingFaces, training_faces
from aubench.engine.features import content_key, read_arrays, reference_path, write_arrays
from aubench.errors import AubenchError
from aubench.metrics.memorisation import nearest
from aubench.progress import bar

if TYPE_CHECKING:
    from aubench.metrics.measure import Network


@dataclass(frozen=True)
class Training:
    """The training set in the eyes of an extractor.

    Attributes:
        keys: of its faces [T].
        features: float32 [T, D].
        gaps: distance of each to its nearest other one, float64 [T].
        targets: distance of each target of the protocol to its nearest one, float64 [N].
        target_index: row of that one [N].
    """

    keys: list[str]
    features: npt.NDArray[np.float32]
    gaps: npt.NDArray[np.float64]
    targets: npt.NDArray[np.float64]
    target_index: npt.NDArray[np.int64]


class UnknownTrainingError(AubenchError):
    """There is no training set to compare with; says why and what helps."""


def training_set(
    dataset: str,
    fingerprint: str,
    network: Network,
    size: int,
    targets: npt.NDArray[np.float32],
    content: str,
) -> Training:
    """Return the training set of a data set as a network sees it; all of it is cached.

    Args:
        dataset: name.
        fingerprint: of its images.
        network: an extractor.
        size: pixels.
        targets: features of the protocol's targets [N, D].
        content: digest of what they are features of.

    Raises:
        UnknownTrainingError: the training set is not known to us, or not rendered at this size.
    """
    faces = training_faces(dataset)
    if faces is None:
        raise UnknownTrainingError(f"the training faces of {dataset} are not known")
    keys, features = _features(faces, fingerprint, network, size)
    about = f"{fingerprint}|{size}|training|{content_key(*keys)}"
    gaps = _distances(features, features, f"{about}|gaps", network, own=np.arange(len(keys)))[1]
    index, distance = _distances(targets, features, f"{about}|{content}", network)
    return Training(keys, features, gaps, distance, index)


def _features(
    faces: TrainingFaces, fingerprint: str, network: Network, size: int
) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Return keys [T] and features [T, D] of the faces, each face once."""
    found = {}
    for pack in faces.packs:
        content = f"{fingerprint}|{size}|training|{content_key(*pack)}"
        key = content_key(content, network.id, network.sha256)
        found[pack] = (reference_path(content, network), key)
    arrays = {pack: read_arrays(path, key, len(pack)) for pack, (path, key) in found.items()}
    missing = [pack for pack, array in arrays.items() if array is None]
    if missing and not faces.rendered(size):
        raise UnknownTrainingError(
            f"the training faces are not rendered at {size} px",
            f"`aubench data build synfacs --split train --size {size}`",
        )
    if missing:
        lacking = sum(map(len, missing))
        with bar(len(faces.keys), "training faces", "img", len(faces.keys) - lacking) as progress:
            for pack in missing:
                value = {"features": network(faces.load(pack, size))["features"]}
                path, key = found[pack]
                write_arrays(path, key, value)
                arrays[pack] = value
                progress.update(len(pack))
    rows = np.concatenate([array["features"] for array in arrays.values() if array is not None])
    # A neutral target is a reference as well; twice in the set it would be its own neighbour.
    first = {key: row for row, key in reversed(list(enumerate(faces.keys)))}
    order = sorted(first.values())
    names = faces.keys
    return [names[row] for row in order], rows[order]


def _distances(
    queries: npt.NDArray[np.float32],
    base: npt.NDArray[np.float32],
    content: str,
    network: Network,
    own: npt.NDArray[np.int64] | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return nearest rows and distances [M], from the cache where it has them."""
    content += "|nearest"
    path = reference_path(content, network)
    key = content_key(content, network.id, network.sha256)
    arrays = read_arrays(path, key, len(queries))
    if arrays is None:
        found = nearest(queries, base, own)
        write_arrays(path, key, {"index": found.index, "distance": found.distance})
        return found.index, found.distance
    return np.asarray(arrays["index"], np.int64), np.asarray(arrays["distance"], np.float64)
