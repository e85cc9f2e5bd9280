"""Controls: yardsticks that bound each metric and show when one is broken.

They may look at targets, which no competitor may, and are marked as controls in every table.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from aubench.errors import AubenchError
from aubench.generators.contract import Generator, GeneratorInfo, Request, WeightSource
from aubench.generators.pasting import with_texture

if TYPE_CHECKING:
    from aubench.datasets.samples import ImageSource, SampleSet

Images = npt.NDArray[np.uint8]


def _info(name: str, summary: str) -> GeneratorInfo:
    return GeneratorInfo(
        name=name,
        inputs=frozenset(),
        size=0,
        training="none",
        trained_on=(),
        metrics_in_training=(),
        licence="Apache-2.0",
        citation="aubench",
        control=True,
        summary=summary,
    )


class Control(Generator):
    """A generator that picks an existing image for each sample."""

    def __init__(self, samples: SampleSet, images: ImageSource) -> None:
        self.samples, self.images = samples, images
        self.chosen = dict(zip(samples.frame["sample_id"], self.keys(), strict=True))

    @classmethod
    def load(cls, weights: WeightSource, *, device: str, dtype: str, **options: Any) -> Self:
        """Return a control for the samples and images the harness hands over.

        Raises:
            AubenchError: They were not handed over, or a sample has no target.
        """
        lacking = [name for name in ("samples", "images") if name not in options]
        if lacking:
            raise AubenchError(f"control '{cls.info.name}' was given no {lacking[0]}")
        frame = options["samples"].frame
        if frame["target"].isna().any():
            sample = frame["sample_id"][frame["target"].isna()].iloc[0]
            raise AubenchError(f"control '{cls.info.name}': sample '{sample}' has no target")
        return cls(options["samples"], options["images"])

    def keys(self) -> list[str]:
        """Return the key of the image chosen for each sample."""
        raise NotImplementedError

    def generate(self, batch: Sequence[Request]) -> Images:
        """Return the chosen images."""
        keys = [self.chosen[request.sample_id] for request in batch]
        return self.images.load_many(keys, batch[0].size)


class Oracle(Control):
    """The renderer itself: the target."""

    info: ClassVar = _info("oracle", "the target itself; the ceiling")

    def keys(self) -> list[str]:
        """Return the targets."""
        return list(self.samples.frame["target"])


class CopyReference(Control):
    """The reference, unchanged."""

    info: ClassVar = _info("copy-reference", "the neutral reference, unchanged")

    def keys(self) -> list[str]:
        """Return the references."""
        return list(self.samples.frame["reference"])


class Shuffled(Control):
    """The target of another sample: right distribution, wrong AUs."""

    info: ClassVar = _info("shuffled", "the target of another sample")

    def keys(self) -> list[str]:
        """Return the targets, each handed to another sample, of other AUs where that can be.

        Samples are put in groups of one combination; a rotation by the size of the largest group
        takes each out of its own, unless that holds more than half of all. Groups stand in the
        order of a digest, for in the order of names a neighbour would share AUs. All depends on
        the samples alone, not on batches or the order of rows.

        Raises:
            AubenchError: There is but one sample.
        """
        frame = self.samples.frame
        if len(frame) < 2:
            raise AubenchError("control 'shuffled' needs two samples", "raise --limit")
        groups = frame["combination"].to_numpy(str)
        digest = {name: sha256(name.encode()).hexdigest() for name in set(groups)}
        keys = np.array([digest[name] for name in groups])
        order = np.lexsort((frame["sample_id"].to_numpy(str), frame["seed"].to_numpy(), keys))
        largest = int(frame["combination"].value_counts().max())
        partner = np.empty(len(order), np.int64)
        partner[order] = np.roll(order, -largest if largest < len(order) else 1)
        return list(frame["target"].iloc[partner])


class Nearest(Control):
    """The training image whose AUs are nearest: what memory alone can do.

    By intensities where the samples' and the training faces' are all known, else by labels; faces
    with an unknown AU are left out.
    """

    info: ClassVar = _info("nearest", "the training image with the nearest AU intensities")

    def keys(self) -> list[str]:
        """Return the keys of the nearest training images; ties go to the first.

        Raises:
            AubenchError: No training face of which all AUs are known.
        """
        from aubench.datasets.registry import find_dataset
        from aubench.metrics.distributions.memorisation import nearest

        data = self.samples.dataset
        train = find_dataset(data).train_of(self.samples.subjects())
        if train is not None:
            train = train.rows(train.complete)
        if train is None or not len(train):
            raise AubenchError(f"control 'nearest': no training faces of '{data}' know all AUs")
        asked, known = self.samples.intensities(), train.intensities
        if not (np.isfinite(asked).all() and np.isfinite(known).all()):
            asked, known = self.samples.labels().astype(np.float32), train.labels
        rows = nearest(asked.astype(np.float64), known.astype(np.float64)).index
        return [train.keys[row] for row in rows]


DONORS, DONOR_LEVEL = 12, 4.0
"""Training faces whose differences are averaged, and the intensity of the AU in them."""


class Decals(Control):
    """Twelve pictures pasted on the reference: what can be had without a model.

    Of each AU the mean difference that it makes to training faces is added to the reference, as
    strong as its intensity. A model below this control has learned nothing about faces. Where faces
    can be had to order, the AU alone is compared with the same face at rest; else the differences
    of training faces from their references are regressed on the AUs.
    """

    info: ClassVar = _info("decals", "the reference with mean differences of each AU pasted on it")

    def keys(self) -> list[str]:
        """Return the references."""
        return list(self.samples.frame["reference"])

    def generate(self, batch: Sequence[Request]) -> Images:
        """Return the references with the differences of their AUs."""
        base = super().generate(batch).astype(np.float32)
        decals = self._decals(batch[0].size)
        place = {name: row for row, name in enumerate(self.samples.frame["sample_id"])}
        rows = [place[request.sample_id] for request in batch]
        weights = self._strengths()[rows] / DONOR_LEVEL
        pasted = base + np.einsum("nk,khwc->nhwc", weights, decals, optimize=True)
        return np.asarray(np.clip(np.round(pasted), 0, 255), np.uint8)

    def _strengths(self) -> npt.NDArray[np.float32]:
        """Return intensities [N, 12], of AUs without any the donors' where they are active."""
        levels = self.samples.intensities().astype(np.float32)
        labels = self.samples.labels().astype(np.float32)
        return np.where(np.isfinite(levels), levels, labels * DONOR_LEVEL)

    def _decals(self, size: int) -> npt.NDArray[np.float32]:
        """Return the mean differences [12, size, size, 3]; the last size asked for is kept."""
        if getattr(self, "_kept", (0, None))[0] != size:
            self._kept = (size, mean_differences(self.samples, self.images, size))
        return self._kept[1]


def mean_differences(samples: SampleSet, images: ImageSource, size: int) -> npt.NDArray[np.float32]:
    """Return what each AU at D changes in an image on the mean, float32 [12, size, size, 3].

    Args:
        samples: Samples whose data set's training faces are taken.
        images: Where images come from.
        size: Side in pixels.

    Raises:
        AubenchError: The data set has no training faces of which all AUs are known.
    """
    from aubench.datasets.registry import find_dataset
    from aubench.facs import AUS

    source = find_dataset(samples.dataset)
    train = source.train_of(samples.subjects())
    train = train.rows(train.complete) if train is not None else None
    if train is None or not len(train):
        raise AubenchError(f"control 'decals': no training faces of '{samples.dataset}'")
    first = np.unique(train.subjects, return_index=True)[1]
    donors = [train.keys[row] for row in first[np.linspace(0, len(first) - 1, DONORS).astype(int)]]
    if source.key_with(donors[0], np.zeros(len(AUS))) is None:
        return _regressed(train, images, size)
    rest = [str(source.key_with(key, np.zeros(len(AUS)))) for key in donors]
    neutral = images.load_many(rest, size).astype(np.float32)
    out = []
    for k in range(len(AUS)):
        level = np.eye(len(AUS))[k] * DONOR_LEVEL
        moved = images.load_many([str(source.key_with(key, level)) for key in donors], size)
        out.append((moved.astype(np.float32) - neutral).mean(0))
    return np.stack(out)


def _regressed(train: Any, images: ImageSource, size: int) -> npt.NDArray[np.float32]:
    """Return the ridge regression of differences from references on AUs, as of one at D."""
    paired = [row for row, key in enumerate(train.references) if key]
    rows = np.array(paired)[np.linspace(0, len(paired) - 1, min(400, len(paired))).astype(int)]
    targets = images.load_many([train.keys[row] for row in rows], size).astype(np.float32)
    neutral = images.load_many([train.references[row] for row in rows], size).astype(np.float32)
    labels = np.asarray(train.labels)[rows].astype(np.float64)
    gram = labels.T @ labels + np.eye(labels.shape[1])
    change = (targets - neutral).reshape(len(rows), -1)
    return np.asarray(np.linalg.solve(gram, labels.T @ change), np.float32).reshape(
        -1, *targets.shape[1:]
    )


class Texture(Control):
    """The reference with the fine part of the target: texture without motion."""

    info: ClassVar = _info("texture", "the reference with the high-pass of the target")

    def keys(self) -> list[str]:
        """Return the references."""
        return list(self.samples.frame["reference"])

    def generate(self, batch: Sequence[Request]) -> Images:
        """Return the coarse part of the references with the fine part of the targets."""
        place = dict(
            zip(self.samples.frame["sample_id"], self.samples.frame["target"], strict=True)
        )
        targets = self.images.load_many([place[r.sample_id] for r in batch], batch[0].size)
        return with_texture(super().generate(batch), targets)
