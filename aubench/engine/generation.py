"""Samples to images: the loop that calls a generator and trusts nothing it returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from aubench.engine import costs
from aubench.engine.folder import RunFolder, pixel_digest
from aubench.errors import AubenchError
from aubench.generator import SampleFailure, Unsupported
from aubench.progress import bar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from aubench.datasets.samples import ImageSource, SampleSet
    from aubench.generator import Generator, Request


def requests(
    samples: SampleSet, images: ImageSource, generator: Generator, rows: Sequence[int], size: int
) -> list[Request]:
    """Return requests for the given rows, holding only what the generator declares as input.

    A model that reads text never sees the labels, so it cannot lean on them by mistake.
    """
    from aubench.generator import Request

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
            sample_id=str(row.sample_id),
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
        AubenchError: names the model, the sample and what is wrong.
    """
    import numpy as np

    where = f"model '{name}' at sample {batch[0].sample_id}"
    remedy = f"return uint8 [{len(batch)}, {size}, {size}, 3]"
    if not isinstance(value, np.ndarray):
        raise AubenchError(f"{where} returned {type(value).__name__}, not an array", remedy)
    if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
        bad = np.flatnonzero(~np.isfinite(value.reshape(len(value), -1)).all(axis=1))
        sample = batch[min(int(bad[0]), len(batch) - 1)].sample_id
        raise AubenchError(f"model '{name}' returned NaN or Inf for sample {sample}", remedy)
    if value.dtype != np.uint8:
        raise AubenchError(f"{where} returned dtype {value.dtype}", remedy)
    if value.ndim != 4 or value.shape[0] != len(batch):
        raise AubenchError(
            f"{where} returned shape {value.shape} for {len(batch)} requests", remedy
        )
    if value.shape[1:] != (size, size, 3):
        raise AubenchError(f"{where} returned images of shape {value.shape[1:]}", remedy)
    return value


def call(generator: Generator, batch: Sequence[Request], size: int) -> npt.NDArray[np.uint8]:
    """Call a generator on a batch and check the answer.

    Raises:
        SampleFailure: the generator gave up on one sample.
        AubenchError: it raised anything else, or returned something else.
    """
    name = generator.info.name
    try:
        value = generator.generate(batch)
    except (SampleFailure, AubenchError, MemoryError):
        raise
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's, of a GPU
            raise AubenchError(
                f"model '{name}' ran out of memory on a batch of {len(batch)}",
                "take a smaller --batch-size; the run resumes where it stopped",
            ) from error
        raise AubenchError(
            f"model '{name}' raised {type(error).__name__} at sample {batch[0].sample_id} "
            f"(batch of {len(batch)}): {error}",
            "mend the plug-in; the run resumes where it stopped",
        ) from error
    return check_images(value, batch, name, size)


def _batches(rows: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def generate(
    folder: RunFolder,
    samples: SampleSet,
    images: ImageSource,
    generator: Generator,
    *,
    size: int,
    batch_size: int,
) -> None:
    """Make every image that is not yet finished, entering each batch in the ledger."""
    ids = samples.ids
    todo = [i for i, name in enumerate(ids) if not folder.intact(name)]
    todo = [i for i in todo if ids[i] not in folder.failures | folder.unsupported]
    with bar(len(ids), "generate", "img", initial=len(ids) - len(todo)) as progress:
        for rows in _batches(todo, batch_size):
            one_batch(folder, requests(samples, images, generator, rows, size), generator, size)
            costs.count(len(rows))
            progress.update(len(rows))


def one_batch(folder: RunFolder, batch: list[Request], generator: Generator, size: int) -> None:
    """Make a batch and enter it in the ledger; samples that fail alone are entered as failures.

    Raises:
        AubenchError: as ``call``.
    """
    while batch:
        try:
            made = call(generator, batch, size)
        except SampleFailure as failure:
            left = [request for request in batch if request.sample_id != failure.sample_id]
            if len(left) == len(batch):
                raise AubenchError(
                    f"model '{generator.info.name}' failed a sample it was not asked for: "
                    f"{failure.sample_id}"
                ) from failure
            enter = folder.leave_out if isinstance(failure, Unsupported) else folder.fail
            enter(failure.sample_id, failure.reason)
            batch = left
            continue
        folder.add([request.sample_id for request in batch], made)
        return


def check_determinism(
    folder: RunFolder,
    samples: SampleSet,
    images: ImageSource,
    generator: Generator,
    *,
    size: int,
    count: int = 4,
) -> None:
    """Make a few samples again, each alone, and compare pixels with the run's.

    Raises:
        AubenchError: names the first sample that differs.
    """
    ids = samples.ids
    step = max(1, len(ids) // count)
    for row in range(0, len(ids), step)[:count]:
        if ids[row] in folder.failures | folder.unsupported:
            continue
        try:
            again = call(generator, requests(samples, images, generator, [row], size), size)
        except SampleFailure as failure:
            raise AubenchError(
                f"model '{generator.info.name}' is not deterministic: sample {ids[row]} was made "
                f"in its batch, and failed alone: {failure.reason}",
                "derive all randomness from Request.seed",
            ) from failure
        if pixel_digest(again[0]) != folder.digests[ids[row]]:
            raise AubenchError(
                f"model '{generator.info.name}' is not deterministic: sample {ids[row]} made "
                "alone differs from the one in its batch",
                "derive all randomness from Request.seed",
            )
