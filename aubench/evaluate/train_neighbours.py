"""How near images come to the training faces; all but the images' own part is cached by content.

A network is asked for one of its arrays: an extractor for ``features``, an identity network for
``embeddings``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from aubench.datasets.registry import training_faces
from aubench.datasets.training_faces import TrainingFaces
from aubench.errors import AubenchError
from aubench.evaluate.feature_cache import reference_path
from aubench.metrics.distributions.memorisation import nearest
from aubench.metrics.evaluation_data import Neighbours, TrainNeighbours
from aubench.progress import bar
from aubench.storage.array_files import content_key, read_arrays, write_arrays

if TYPE_CHECKING:
    from aubench.datasets.samples import SampleSet
    from aubench.networks.inference import Network

Features = npt.NDArray[np.float32]


class UnknownTrainingError(AubenchError):
    """There is no training set to compare with; says why and what helps."""


@dataclass(frozen=True)
class NeighbourQuery:
    """Images whose nearest training faces are wanted.

    Attributes:
        features: float32 [M, D].
        content: Digest of what they are features of.
        path: Where the answer is kept; by content in the cache if None.
    """

    features: Features
    content: str
    path: Path | None = None


@dataclass(frozen=True)
class FeatureSpace:
    """What distances to the training faces of a data set are taken in.

    Attributes:
        samples: That are judged, of whose data set the training faces are.
        fingerprint: Fingerprint of its images.
        network: That all features are of.
        array: Which of its arrays they are.
        size: Side of the images in pixels.
    """

    samples: SampleSet
    fingerprint: str
    network: Network
    array: str
    size: int


def find_train_neighbours(
    space: FeatureSpace, generated: NeighbourQuery, targets: NeighbourQuery
) -> TrainNeighbours:
    """Return how near generated images and targets come to the training faces of a data set.

    Args:
        space: Data set and network.
        generated: Generated images.
        targets: Held-out faces.

    Raises:
        UnknownTrainingError: The training set is not known to us, or not rendered at this size.
    """
    faces = training_faces(space.samples)
    if faces is None:
        raise UnknownTrainingError(f"the training faces of {space.samples.dataset} are not known")
    rows = faces.first_rows()
    keys = [faces.keys[row] for row in rows]

    @cache  # read only if some distance is not cached
    def base() -> Features:
        return _features(faces, space)[rows]

    about = f"{space.fingerprint}|{space.size}|training|{content_key(*keys)}"
    gaps = NeighbourQuery(np.zeros((len(keys), 0), np.float32), "gaps")
    return TrainNeighbours(
        keys=keys,
        generated=_nearest(generated, base, about, space.network),
        targets=_nearest(targets, base, about, space.network),
        gaps=_nearest(gaps, base, about, space.network, itself=True).distance,
        network_id=space.network.id,
    )


def _nearest(
    asked: NeighbourQuery,
    base: Callable[[], Features],
    about: str,
    network: Network,
    *,
    itself: bool = False,
) -> Neighbours:
    """Return nearest training faces from a cache, or measured and put there."""
    content = f"{about}|nearest, from differences|{asked.content}"  # former ones rounded otherwise
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


def _features(faces: TrainingFaces, space: FeatureSpace) -> Features:
    """Return features [T, D] of the faces in the order of their keys, cached pack by pack."""
    network, array, size = space.network, space.array, space.size
    places = {}
    for pack in faces.packs:
        content = f"{space.fingerprint}|{size}|training|{content_key(*pack)}"
        key = content_key(content, network.id, network.sha256)
        places[pack] = (reference_path(content, network), key)
    arrays = {pack: read_arrays(path, key, len(pack)) for pack, (path, key) in places.items()}
    missing = [pack for pack, found in arrays.items() if found is None]
    if missing and not faces.rendered(size):
        raise UnknownTrainingError(
            f"the training faces are not rendered at {size} px",
            f"`aubench data build {faces.dataset} --split train --size {size}`",
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
