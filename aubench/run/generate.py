"""Samples to images: the loop that calls a generator and trusts nothing it returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from aubench import stage_times as costs
from aubench.errors import AubenchError
from aubench.generators.contract import SampleFailure, Unsupported
from aubench.generators.requests import NAMES, call, requests
from aubench.plugins import plain_line
from aubench.progress import bar
from aubench.storage.run_folder import RunFolder, pixel_digest

if TYPE_CHECKING:
    from aubench.datasets.samples import ImageSource, SampleSet
    from aubench.generators.contract import Generator, Request


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
        AubenchError: As ``call``.
    """
    while batch:
        try:
            made = call(generator, batch, size)
        except SampleFailure as failure:
            left = [request for request in batch if request.sample_id != failure.sample_id]
            if len(left) == len(batch):
                raise AubenchError(
                    f"model '{generator.info.name}' failed a sample it was not asked for: "
                    f"{NAMES.id(failure.sample_id)}"
                ) from failure
            enter = folder.leave_out if isinstance(failure, Unsupported) else folder.fail
            enter(NAMES.id(failure.sample_id), plain_line(NAMES.told(str(failure.reason))))
            batch = left
            continue
        folder.add([NAMES.id(request.sample_id) for request in batch], made)
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
        AubenchError: Names the first sample that differs.
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
