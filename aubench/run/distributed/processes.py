"""A run on all cores of this machine: shards in processes of one thread each, then one run folder.

Several threads that share cores with other work wait for each other; processes do not. Numbers do
not depend on how many there are, since no image depends on its company.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from aubench.progress import bar
from aubench.run.config import RunConfig, check_count, prepare
from aubench.run.distributed.merge import merge
from aubench.run.distributed.shards import Shard, run_shard
from aubench.storage.run_folder import SHARDS, RunFolder
from aubench.worker_processes import workers, working

if TYPE_CHECKING:
    from aubench.records.record import Record

ENOUGH = 250
"""Samples of a process by default: fewer do not repay its start."""


def processes_of(config: RunConfig, asked: int | None) -> int:
    """Return how many processes make a run.

    One where the folder holds images already, which resume in place, where images are to be made
    again for comparison, and on a device that processes would share.

    Args:
        config: Of the run.
        asked: As many as the user wants; by default one a core, if the samples are enough.

    Raises:
        AubenchError: The protocol is unknown.
    """
    from aubench.protocols.protocol import load_protocol

    begun = (config.out / "ledger.jsonl").is_file() and not config.fresh
    if begun or config.check_determinism or config.device != "cpu":
        return 1
    left = {path.name.rpartition("-")[2] for path in (config.out / SHARDS).glob("*-of-*")}
    if len(left) == 1 and not config.fresh:
        return int(left.pop())  # those of an interrupted run go on
    whole = load_protocol(config.protocol, config.data).definition.samples
    count = min(whole, config.limit or whole)
    if asked is not None:
        return min(asked, count)
    return max(1, min(workers(), count // ENOUGH))


def run_in_processes(config: RunConfig, count: int) -> Record:
    """Run a model on a protocol in so many processes; resumes what their shards hold.

    Raises:
        AubenchError: As a run; or a process was killed.
    """
    job = prepare(config)
    check_count(len(job.samples))
    if config.fresh:
        with RunFolder.exclusive(config.out, job.identity(), fresh=True):
            pass
        shutil.rmtree(config.out / SHARDS, ignore_errors=True)
    one = replace(config, fresh=False)
    jobs = [(one, Shard(i + 1, count)) for i in range(count)]
    with (
        working(_make, jobs, count, "generating") as made,
        bar(len(job.samples), "generate and measure", "img") as progress,
    ):
        for samples in made:
            progress.update(samples)
    _, record = merge([config.out])
    shutil.rmtree(config.out / SHARDS)
    return record


def _make(config: RunConfig, shard: Shard) -> int:
    """Make and measure a shard without a bar of its own; return its samples."""
    import torch

    os.environ["TQDM_DISABLE"] = "1"
    torch.set_num_threads(1)
    return run_shard(config, shard)[1].samples
