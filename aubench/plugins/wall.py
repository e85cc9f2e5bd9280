"""The wall around foreign code: whatever a plug-in does, the command goes on or ends in one line.

Behind it every exit becomes a `PluginError`: exceptions, `sys.exit`, `os._exit` as Python calls it,
a KeyboardInterrupt that no key caused, and a time limit where one is set. Only the user's Ctrl-C
passes, even where the plug-in has swallowed it. A child that a plug-in forked ends at the wall.
What the whole process shares is put back on leaving, and set again for the next call of the same
plug-in, which may rely on it. Not held: exits by C code, signals that kill, threads that go on.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from aubench.errors import AubenchError
from aubench.plugins.process_state import Changes, Streams, Surroundings, apply

LONGEST = 400
"""Characters of a foreign message that are shown."""

AGAIN = 1.0
"""Seconds between interruptions of a plug-in that swallows them."""

FELL_OUT = 70
"""Exit code of a forked child that left the plug-in's code, and of a thread that ends it all."""

WATCHED = (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)
"""Signals whose handlers are put back."""

_changes: dict[str, Changes] = {}
"""What each plug-in has changed for itself, by its top module."""


class PluginError(AubenchError):
    """A plug-in raised, left, or took too long; the message names it."""


@dataclass(frozen=True)
class Fault:
    """How a plug-in ended a call.

    Attributes:
        kind: Name of the exception's class.
        text: What it says, in one line that a terminal can show.
        error: The exception.
    """

    kind: str
    text: str
    error: BaseException

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}" if self.text else self.kind

    @property
    def out_of_memory(self) -> bool:
        """Whether memory ran out, of this machine or of a GPU."""
        return isinstance(self.error, MemoryError) or self.kind == "OutOfMemoryError"

    @property
    def overdue(self) -> bool:
        """Whether the time limit has passed."""
        return isinstance(self.error, _OverdueError)


def fault_of(error: BaseException) -> Fault:
    """Return what a foreign exception says; one that cannot be shown is told by its class."""
    name = type(error).__name__
    if isinstance(error, SystemExit):
        code = getattr(error, "code", None)
        if code is None or isinstance(code, int):
            return Fault(name, f"it called for an exit with code {code or 0}", error)
    try:
        text = str(error)
    except BaseException:
        text = "its message cannot be shown"
    return Fault(name, plain_line(text), error)


def plain_line(text: str) -> str:
    """Return foreign text as one line without control characters, cut where it is long."""
    text = text[: 4 * LONGEST].encode("utf-8", "replace").decode("utf-8")
    text = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", text)
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


class _LeftError(BaseException):
    """`os._exit` was called."""


class _OverdueError(BaseException):
    """The time limit has passed."""


@contextmanager
def behind_wall(
    owner: str,
    describe: Callable[[Fault], AubenchError],
    *,
    passing: tuple[type[BaseException], ...] = (),
    seconds: float | None = None,
) -> Iterator[None]:
    """Run a block of foreign code behind the wall.

    Args:
        owner: The plug-in, by the top module of its code; what it changes is set again for it.
        describe: Returns what is raised in place of what the block has raised.
        passing: Exceptions of the contract, which pass as they are, as `AubenchError` does.
        seconds: Time limit; Python code is interrupted in the main thread, C code when it returns.

    Raises:
        AubenchError: As described; or as the block raised it.
        KeyboardInterrupt: The user pressed Ctrl-C.
    """
    process = os.getpid()
    outside, streams = Surroundings(), Streams()
    apply(_changes.get(owner, {}))
    fault: BaseException | None = None
    with _watch() as key:
        try:
            with _no_exit(), _limit(seconds):
                yield
        except BaseException as error:
            fault = error
        key.deferred = True
        if os.getpid() != process:
            _end_child(fault)
        changed = outside.restore()
        if changed or owner in _changes:
            _changes[owner] = changed
        streams.put_back()
    if key.pressed:
        raise KeyboardInterrupt from None
    if fault is None:
        return
    if isinstance(fault, (AubenchError, MemoryError, *passing)):
        raise fault
    raise describe(_named(fault, seconds)) from fault


def _named(fault: BaseException, seconds: float | None) -> Fault:
    if isinstance(fault, _LeftError):
        return Fault("SystemExit", "it called os._exit", fault)
    if isinstance(fault, _OverdueError):
        return Fault("TimeoutError", f"it took more than {seconds:g} s", fault)
    return fault_of(fault)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@dataclass
class _Key:
    """Ctrl-C: whether the user pressed it, and whether that waits until the state is put back."""

    pressed: bool = False
    deferred: bool = False


@contextmanager
def _watch() -> Iterator[_Key]:
    """Yield what tells whether the user pressed Ctrl-C; handlers of signals are put back.

    Python's own handler only raises KeyboardInterrupt, as a plug-in may do by itself.
    """
    key = _Key()
    if not _in_main_thread():
        yield key
        return
    before = {number: signal.getsignal(number) for number in WATCHED}

    def press(number: int, frame: FrameType | None) -> None:
        key.pressed = True
        former = before[signal.SIGINT]
        if callable(former) and not key.deferred:
            former(number, frame)

    if callable(before[signal.SIGINT]):
        signal.signal(signal.SIGINT, press)
    try:
        yield key
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that C code has installed cannot be set again
                signal.signal(number, handler)


@contextmanager
def _limit(seconds: float | None) -> Iterator[None]:
    """Interrupt the block after some time, and each second from then where it swallows that."""
    if seconds is None or not _in_main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise _OverdueError

    start = time.monotonic()
    before = signal.signal(signal.SIGALRM, ring)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:  # somebody else's alarm, which goes on
            rest = left - (time.monotonic() - start)
            signal.setitimer(signal.ITIMER_REAL, max(rest, 1e-3), interval)


@contextmanager
def _no_exit() -> Iterator[None]:
    """Let `os._exit` raise in this thread; other threads end this process, never with code 0.

    Forked children may end by it as they like.
    """
    real, process, thread = os._exit, os.getpid(), threading.get_ident()
    at_work = [True]

    def refuse(status: int) -> None:
        if not at_work or os.getpid() != process:
            real(status)
        if threading.get_ident() == thread:
            raise _LeftError
        real(status or FELL_OUT)

    os._exit = refuse  # type: ignore[assignment]
    try:
        yield
    finally:
        at_work.clear()  # whoever imported the name goes on with the real one
        os._exit = real


def _end_child(fault: BaseException | None) -> None:
    """End a process that a plug-in forked, where its code is left: the run is its parent's."""
    code = FELL_OUT
    if isinstance(fault, SystemExit):
        code = fault.code if isinstance(fault.code, int) else 0 if fault.code is None else 1
    os._exit(code)
