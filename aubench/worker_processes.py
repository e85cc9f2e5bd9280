"""Processes that work for this one: one thread each, and no life beyond its own."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import Any

from aubench.errors import AubenchError

_state = {"at work": False}


def workers() -> int:
    """Return how many processes work at once by default: one a core; one for one that works."""
    if _state["at work"]:
        return 1  # else there would be as many as the cores squared
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:
        return max(1, os.cpu_count() or 1)


@contextmanager
def working(
    call: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], count: int, what: str
) -> Iterator[Iterator[Any]]:
    """Yield the results of a function called on each job, in their order.

    Where the block is left by an error or Ctrl-C the processes end at once, whatever they are at:
    files that they write must be whole or not there.

    Args:
        call: A function of a module, called on what each job holds.
        jobs: Arguments of each call.
        count: Processes; with one, or one job, this one does it all.
        what: They do, for the message.

    Raises:
        AubenchError: A process was killed.
    """
    if min(count, len(jobs)) <= 1:
        yield (call(*job) for job in jobs)
        return
    pool = ProcessPoolExecutor(
        min(count, len(jobs)), mp_context=get_context("spawn"), initializer=_begin_work
    )
    try:
        yield pool.map(call, *zip(*jobs, strict=True))
    except BaseException as error:
        _end(pool)
        if isinstance(error, BrokenProcessPool):
            raise AubenchError(
                f"a {what} process was killed", "free some memory; the same command resumes"
            ) from error
        raise
    finally:
        pool.shutdown()


def _end(pool: ProcessPoolExecutor) -> None:
    """End the processes of a pool now; its own ways wait for the jobs that are under way."""
    for process in list((pool._processes or {}).values()):  # public from Python 3.14 on
        process.terminate()
    pool.shutdown(cancel_futures=True)


def _begin_work() -> None:
    """Prepare a worker: one thread, Ctrl-C left to its parent, and no life after it.

    A parent that dies of SIGKILL cannot end its workers, and they hold both ends of the queue
    that they wait on, so they would stay for ever, at some 300 MB each.
    """
    _state["at work"] = True
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["NUMBA_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
