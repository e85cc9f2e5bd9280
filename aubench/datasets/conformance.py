"""What a data set has to keep to; the tests of a scaffolded package call this."""

from __future__ import annotations

import numpy as np

from aubench.datasets.dataset import SPLITS, Dataset
from aubench.datasets.labelled_faces import LabelledFaces
from aubench.errors import AubenchError


def check_dataset(dataset: Dataset, size: int = 64, images: int = 4) -> dict[str, int]:
    """Check splits, labels, references and images of a data set.

    Args:
        dataset: Any.
        size: Side in pixels of the images that are asked for.
        images: How many of each split are loaded.

    Returns:
        Number of faces by split.

    Raises:
        AubenchError: Says what does not hold, and of which face.
    """
    people: dict[str, str] = {}
    counts = {}
    for split in SPLITS:
        faces = dataset.faces(split, None if dataset.own_split else 1)
        counts[split] = len(faces)
        for who in sorted(set(faces.subjects)):
            if people.setdefault(who, split) != split:
                raise AubenchError(f"subject '{who}' is in {people[who]} and in {split}")
        _check_codes(faces)
        _check_images(dataset, faces, size, images)
    for split in ("train", "test"):
        if not counts[split]:
            raise AubenchError(f"'{dataset.name}' has no faces in {split}")
    return counts


def _check_codes(faces: LabelledFaces) -> None:
    if len(set(faces.keys)) < len(faces):
        raise AubenchError(f"a key of {faces.title} occurs twice")
    wrong = ~np.isin(faces.labels, (-1, 0, 1))
    values, known = faces.intensities, ~np.isnan(faces.intensities)
    with np.errstate(invalid="ignore"):
        outside = known & ~((values >= 0) & (values <= 5))
        against = known & (faces.labels >= 0) & ((values > 0) != (faces.labels == 1))
    for fault, what in (
        (wrong, "a label that is not 1, 0 or -1"),
        (outside, "an intensity outside 0..5"),
        (against, "an intensity that contradicts its label"),
    ):
        if fault.any():
            row = int(fault.any(1).argmax())
            raise AubenchError(f"{faces.keys[row]} has {what}")


def _check_images(dataset: Dataset, faces: LabelledFaces, size: int, count: int) -> None:
    if not len(faces):
        return
    source = dataset.images()
    rows = np.unique(np.linspace(0, len(faces) - 1, count).round().astype(int)).tolist()
    keys = [key for row in rows for key in (faces.keys[row], faces.references[row])]
    source.prefetch(keys, size, "images")
    together = source.load_many(keys, size)
    for key, image in zip(keys, together, strict=True):
        if image.shape != (size, size, 3) or image.dtype != np.uint8:
            raise AubenchError(
                f"{key} is {image.dtype} {list(image.shape)}",
                f"uint8 [{size}, {size}, 3] was asked for",
            )
        if not np.array_equal(image, source.load(key, size)):
            raise AubenchError(f"{key} is another image when it is loaded by itself")
