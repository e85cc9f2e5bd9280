"""Requests for a generator, and one call of it whose answer is checked."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from aubench.errors import AubenchError
from aubench.generators.contract import Plan, Request, SampleFailure
from aubench.generators.registry import top_module
from aubench.plugins import Fault, PluginError, behind_wall

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from aubench.datasets.samples import ImageSource, SampleSet
    from aubench.generators.contract import Generator, GeneratorInfo


@dataclass
class SampleNames:
    """Names of samples in requests: keyed digests, so that none can be looked up.

    Attributes:
        key: Of this process; another gives other names.
    """

    key: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)
    _ids: dict[str, str] = field(default_factory=dict, repr=False)

    def name(self, sample_id: str, info: GeneratorInfo) -> str:
        """Return what a generator is told in place of a sample's id."""
        if info.control or info.reads_ids:
            return sample_id
        found = blake2b(sample_id.encode(), key=self.key, digest_size=12).hexdigest()
        self._ids[found] = sample_id
        return found

    def id(self, name: str) -> str:
        """Return the sample's id of a name, or the name where it is none of ours."""
        return self._ids.get(name, name)

    def told(self, text: str) -> str:
        """Return what a generator says, with ids where it names samples."""
        return OPAQUE.sub(lambda found: self.id(found[0]), text)


OPAQUE = re.compile(r"\b[0-9a-f]{24}\b")
NAMES = SampleNames()
"""Of this process."""


def plan_of(ids: Sequence[str], known: Iterable[str], size: int, info: GeneratorInfo) -> Plan:
    """Return what a generator is told before the first request, samples named as in requests."""
    told = tuple(NAMES.name(one, info) for one in ids)
    return Plan(told, frozenset(NAMES.name(one, info) for one in known), size)


def requests(
    samples: SampleSet, images: ImageSource, generator: Generator, rows: Sequence[int], size: int
) -> list[Request]:
    """Return requests for the given rows, holding only what the generator declares as input.

    A model that reads text never sees the labels, so it cannot lean on them by mistake, and it
    sees no sample's id, by which a target could be found.
    """
    inputs = generator.info.inputs
    frame = samples.frame.iloc[list(rows)]
    labels = samples.labels()[list(rows)]
    intensities = samples.intensities()[list(rows)]
    references: Any = [None] * len(frame)
    seeds = frame["seed"].tolist()
    if "reference" in inputs:
        references = images.load_many(list(frame["reference"]), size)
    return [
        Request(
            sample_id=NAMES.name(str(row.sample_id), generator.info),
            text=str(row.text) if "text" in inputs else "",
            aus=labels[i] if "au" in inputs else None,
            intensities=intensities[i] if "au" in inputs else None,
            reference=references[i],
            seed=int(seeds[i]),
            size=size,
        )
        for i, row in enumerate(frame.itertuples())
    ]


def check_images(
    value: Any, batch: Sequence[Request], name: str, size: int
) -> npt.NDArray[np.uint8]:
    """Return what a generator made, if it is uint8 [B, size, size, 3].

    Raises:
        AubenchError: Names the model, the sample and what is wrong.
    """
    import numpy as np

    where = f"model '{name}' at sample {NAMES.id(batch[0].sample_id)}"
    remedy = f"return uint8 [{len(batch)}, {size}, {size}, 3]"
    if isinstance(value, np.ma.MaskedArray):
        raise AubenchError(f"{where} returned a masked array", remedy)
    if not isinstance(value, np.ndarray):
        raise AubenchError(f"{where} returned {type(value).__name__}, not an array", remedy)
    if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
        bad = np.flatnonzero(~np.isfinite(value.reshape(len(value), -1)).all(axis=1))
        sample = NAMES.id(batch[min(int(bad[0]), len(batch) - 1)].sample_id)
        raise AubenchError(f"model '{name}' returned NaN or Inf for sample {sample}", remedy)
    if value.dtype != np.uint8:
        raise AubenchError(f"{where} returned dtype {value.dtype}", remedy)
    if value.ndim != 4 or value.shape[0] != len(batch):
        raise AubenchError(
            f"{where} returned shape {value.shape} for {len(batch)} requests", remedy
        )
    if value.shape[1:] != (size, size, 3):
        raise AubenchError(f"{where} returned images of shape {value.shape[1:]}", remedy)
    return np.array(value, order="C")  # of a plug-in that returns one buffer again and again


def fresh(batch: Sequence[Request]) -> list[Request]:
    """Return copies of requests, so that nothing that is written to them is seen by others."""
    return [
        replace(
            request,
            aus=_copied(request.aus),
            intensities=_copied(request.intensities),
            reference=_copied(request.reference),
        )
        for request in batch
    ]


def _copied(array: Any) -> Any:
    return None if array is None else array.copy()


def call(generator: Generator, batch: Sequence[Request], size: int) -> npt.NDArray[np.uint8]:
    """Call a generator on copies of some requests, and return a copy of its answer once checked.

    Raises:
        SampleFailure: The generator gave up on one sample.
        AubenchError: It raised anything else, or returned something else.
    """
    return call_with(generator, fresh(batch), size)


def call_with(generator: Generator, batch: list[Request], size: int) -> npt.NDArray[np.uint8]:
    """Call a generator on these very requests, to which it may write; otherwise as `call`.

    Raises:
        SampleFailure: The generator gave up on one sample.
        AubenchError: It raised anything else, or returned something else.
    """
    name = generator.info.name

    def describe(fault: Fault) -> AubenchError:
        if fault.out_of_memory:
            return PluginError(
                f"model '{name}' ran out of memory on a batch of {len(batch)}",
                "take a smaller --batch-size; the run resumes where it stopped",
            )
        text = NAMES.told(fault.text)
        return PluginError(
            f"model '{name}' raised {fault.kind} at sample {NAMES.id(batch[0].sample_id)} "
            f"(batch of {len(batch)})" + (f": {text}" if text else ""),
            "mend the plug-in; with the same code the run resumes where it stopped",
        )

    with behind_wall(top_module(generator), describe, passing=(SampleFailure,)):
        value = generator.generate(list(batch))
    return check_images(value, batch, name, size)
