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
from aubench.generator import Generator, GeneratorInfo, Request, WeightSource

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
            AubenchError: they were not handed over, or a sample has no target.
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
            AubenchError: there is but one sample.
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
    """The training image whose AU intensities are nearest: what memory alone can do."""

    info: ClassVar = _info("nearest", "the training image with the nearest AU intensities")

    def keys(self) -> list[str]:
        """Return the keys of the nearest training images; ties go to the first.

        Raises:
            AubenchError: an intensity of a sample is unknown.
        """
        from aubench.datasets.samples import INTENSITIES
        from aubench.datasets.synfacs import split_frame

        train = split_frame("train")
        known = train[list(INTENSITIES)].to_numpy(np.float64)
        asked = self.samples.intensities().astype(np.float64)
        unknown = ~np.isfinite(asked).all(1)
        if unknown.any():  # a distance that is not a number is the smallest to numpy
            sample = self.samples.ids[int(np.argmax(unknown))]
            raise AubenchError(f"control 'nearest': sample '{sample}' has unknown AU intensities")
        squared = (known**2).sum(1)[None] - 2 * asked @ known.T
        return list(train["target"].iloc[squared.argmin(1)])
