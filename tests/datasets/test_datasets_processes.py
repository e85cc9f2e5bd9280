"""Processes that render and crop: results in order, and an end that waits for nothing."""

import operator
import os
import signal
import time
from multiprocessing import active_children

import pytest

from aubench.errors import AubenchError
from aubench.worker_processes import working


@pytest.mark.parametrize("count", [1, 2])
def test_results_come_in_the_order_of_the_jobs(count):
    jobs = [(7, k) for k in range(5)]
    with working(operator.mul, jobs, count, "counting") as found:
        assert list(found) == [0, 7, 14, 21, 28]
    assert not active_children()


def test_one_job_needs_no_process():
    with working(os.getpid, [()], 4, "asking") as found:
        assert list(found) == [os.getpid()]


def test_ctrl_c_ends_what_is_under_way():
    """Jobs take minutes; whoever presses Ctrl-C does not wait for them."""
    seen = []

    def interrupted():
        with working(time.sleep, [(0,), *[(3600,)] * 6], 2, "sleeping") as found:
            next(found)
            seen.extend(active_children())
            for process in seen:  # the terminal tells all of them; only the parent acts
                os.kill(process.pid, signal.SIGINT)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(seen) == 2 and not any(process.is_alive() for process in seen)
    assert not active_children()


def test_a_process_that_is_killed_is_told_in_one_line():
    with (
        pytest.raises(AubenchError, match="a counting process was killed; free some memory"),
        working(os._exit, [(1,), (1,)], 2, "counting") as found,
    ):
        list(found)
    assert not active_children()
