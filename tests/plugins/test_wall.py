"""The wall: every exit is one line, what a process shares is put back, the user's Ctrl-C passes."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ImageFile

from aubench.errors import AubenchError
from aubench.plugins import PluginError, behind_wall
from aubench.plugins.process_state import Surroundings
from aubench.plugins.wall import FELL_OUT, plain_line


def described(fault):
    return PluginError(f"{fault.kind}|{fault.text}")


def behind(block, owner="someone", **more):
    with behind_wall(owner, described, **more):
        return block()


def raising(error):
    def block():
        raise error

    return block


class BadText(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Passing(Exception):
    pass


@pytest.mark.parametrize(
    ("block", "told"),
    [
        (lambda: sys.exit(0), "SystemExit|it called for an exit with code 0"),
        (lambda: sys.exit(), "SystemExit|it called for an exit with code 0"),
        (lambda: sys.exit("needs CUDA"), "SystemExit|needs CUDA"),
        (lambda: os._exit(0), "SystemExit|it called os._exit"),
        (raising(KeyboardInterrupt()), "KeyboardInterrupt|"),
        (raising(asyncio.CancelledError("closed")), "CancelledError|closed"),
        (raising(GeneratorExit()), "GeneratorExit|"),
        (raising(StopIteration()), "StopIteration|"),
        (raising(BadText()), "BadText|its message cannot be shown"),
        (raising(ValueError("one\n\x1b[31mtwo\x1b[0m\x07")), "ValueError|one two"),
        (raising(ValueError("bad \udcff name")), "ValueError|bad ? name"),
    ],
)
def test_each_exit_is_one_line(block, told):
    with pytest.raises(PluginError) as caught:
        behind(block)
    assert caught.value.message == told


def test_long_messages_are_cut():
    assert len(plain_line("x" * 200_000)) == 400


def test_exceptions_of_the_contract_pass_as_they_are():
    for error in (Passing(), AubenchError("ours"), MemoryError()):
        with pytest.raises(type(error)) as caught:
            behind(raising(error), passing=(Passing,))
        assert caught.value is error


def press():
    signal.raise_signal(signal.SIGINT)


def swallowed():
    try:
        press()
    except KeyboardInterrupt:
        return "done"


def turned():
    try:
        press()
    except KeyboardInterrupt:
        sys.exit(0)


@pytest.fixture
def heard():
    """Ctrl-C as in a terminal: a job in the background of a shell is started deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("block", [press, swallowed, turned], ids=lambda f: f.__name__)
def test_the_users_ctrl_c_always_passes(block, heard):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        behind(lambda: behind(block))
    assert signal.getsignal(signal.SIGINT) is before


def for_ever():
    while True:
        time.sleep(0.01)


def deaf():
    for _ in range(3):
        try:
            for_ever()
        except BaseException as error:
            last = error
    raise last


@pytest.mark.parametrize("block", [for_ever, deaf], ids=lambda f: f.__name__)
def test_a_time_limit_ends_what_does_not_end(block, monkeypatch):
    monkeypatch.setattr("aubench.plugins.wall.AGAIN", 0.02)
    with pytest.raises(PluginError, match=r"TimeoutError\|it took more than 0.05 s"):
        behind(block, seconds=0.05)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_no_limit_and_no_handler_is_set_in_other_threads():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(behind(lambda: 3, seconds=1)))
    thread.start()
    thread.join()
    assert seen == [3]


def ends_with(block):
    """Return the exit code of a child that the block forks and that goes on behind it."""
    here, children = os.getpid(), []

    def forks():
        children.append(os.fork())
        if not children[0]:
            block()

    behind(forks)
    assert os.getpid() == here, "the child went on behind the wall"
    return os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1])


def test_a_forked_child_ends_at_the_wall():
    assert ends_with(lambda: None) == FELL_OUT
    assert ends_with(raising(RuntimeError("fell out"))) == FELL_OUT
    assert ends_with(lambda: sys.exit(0)) == 0
    assert ends_with(lambda: os._exit(3)) == 3


def test_the_real_exit_is_that_of_a_name_imported_before():
    names = {}
    behind(lambda: exec("from os import _exit", names))
    assert os._exit is not names["_exit"]
    child = os.fork()
    if not child:
        names["_exit"](5)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5


def test_a_thread_that_ends_the_process_does_not_end_it_well():
    def block():
        thread = threading.Thread(target=lambda: os._exit(0))
        thread.start()
        thread.join()

    child = os.fork()
    if not child:
        behind(block)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == FELL_OUT


CHANGES = {
    "float64": lambda: torch.set_default_dtype(torch.float64),
    "float16": lambda: torch.set_default_dtype(torch.float16),
    "meta": lambda: torch.set_default_device("meta"),
    "gradients": lambda: torch.set_grad_enabled(False),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "denormals": lambda: torch.set_flush_denormal(True),
    "mkldnn": lambda: setattr(torch.backends.mkldnn, "enabled", False),
    "numpy errors": lambda: np.seterr(all="raise"),
    "warnings": lambda: warnings.simplefilter("ignore"),
    "folder": lambda: os.chdir("/"),
    "umask": lambda: os.umask(0o777),
    "new variable": lambda: os.environ.update(SOMEONES="1"),
    "no variables": os.environ.clear,
    "recursion": lambda: sys.setrecursionlimit(400),
    "arguments": lambda: sys.argv.append("--more"),
    "pillow": lambda: setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_the_process_shares_is_put_back_and_set_again_for_its_owner(name):
    def state():
        return Surroundings()._values

    seen = []

    def change():
        CHANGES[name]()
        seen.append(state())

    before = state()
    behind(change, owner=name)
    assert state() == before != seen[0]
    behind(lambda: seen.append(state()), owner="another")
    behind(lambda: seen.append(state()), owner=name)
    assert seen[1] == before and seen[2] == seen[0]
    with pytest.raises(PluginError):
        behind(lambda: (CHANGES[name](), sys.exit(0)), owner=name)
    assert state() == before


def other_stdout():
    sys.stdout = sys.stderr = None


def other_descriptor():
    handle = os.open(os.devnull, os.O_WRONLY)
    os.dup2(handle, 1)
    os.close(2)


@pytest.mark.parametrize("block", [other_stdout, other_descriptor], ids=lambda f: f.__name__)
def test_streams_are_put_back(block):
    before = [(os.fstat(place).st_dev, os.fstat(place).st_ino) for place in range(3)]
    objects = sys.stdout, sys.stderr
    behind(block)
    after = [(os.fstat(place).st_dev, os.fstat(place).st_ino) for place in range(3)]
    assert after == before and (sys.stdout, sys.stderr) == objects


def test_a_closed_stdout_is_opened_again():
    code = (
        "import sys\n"
        "from aubench.plugins import PluginError, behind_wall\n"
        "with behind_wall('someone', lambda fault: PluginError(str(fault))):\n"
        "    sys.stdout.close()\n"
        "print('here')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "here\n"


def test_a_folder_that_is_gone_is_no_reason_to_fail(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)

    def enter():
        os.chdir("a")
        Path("../a").rmdir()

    behind(enter, owner="gone")
    behind(lambda: None, owner="gone")
    assert Path.cwd() == tmp_path
