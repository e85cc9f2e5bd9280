"""What a command prints: for people by default, for machines with ``--json``.

A command returns a `Result`; `results` adds the option and prints one of its two faces. Whatever
else is written to stdout while a command works with ``--json`` goes to stderr, by child processes
and C code too, so that stdout holds one JSON document and nothing more.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from dataclasses import asdict, dataclass, is_dataclass
from functools import wraps
from math import isfinite
from os import PathLike, fspath
from typing import Any, TypeVar

import click

from aubench.errors import CheckFailed

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Result:
    """What a command found or made.

    Attributes:
        data: What ``--json`` prints; `plain` says what it may hold.
        show: Prints the same for people.
        failure: What a check found amiss, in one line; the exit code is then 1.
    """

    data: Any
    show: Callable[[], None]
    failure: str | None = None


def written(*paths: PathLike[str] | str, line: str | None = None, **more: Any) -> Result:
    """Return the result of a command that writes files.

    Args:
        paths: Paths of the files or folders.
        line: Printed in place of ``wrote PATH``.
        more: Further keys for machines.
    """
    names = [fspath(path) for path in paths]
    text = line or "\n".join(f"wrote {name}" for name in names)
    return Result({"files": names, **more}, lambda: click.echo(text))


def results(command: Command) -> Command:
    """Give a command that returns a `Result` the option ``--json``.

    A group that is called with a sub-command returns None and prints nothing.
    """

    @wraps(command)
    def wrapped(*args: Any, as_json: bool, **kwargs: Any) -> int:
        machine = as_json or _asked_before()
        with stdout_to_stderr() if machine else nullcontext():
            found: Result | None = command(*args, **kwargs)
        if found is None:
            return 0
        if machine:
            emit(found.data)
        else:
            found.show()
        if found.failure is not None:
            raise CheckFailed(found.failure)
        return 0

    option = click.option("--json", "as_json", is_flag=True, help="Print JSON; see docs/cli.md.")
    return option(wrapped)  # type: ignore[return-value]


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send to stderr what anything writes to stdout meanwhile: Python, C code, child processes."""
    sys.stdout.flush()
    try:
        kept, target = os.dup(1), os.dup(2)
    except OSError:  # one of them is closed
        with redirect_stdout(sys.stderr):
            yield
        return
    try:
        os.dup2(target, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _flush_c_streams()
        os.dup2(kept, 1)
        os.close(kept)
        os.close(target)


def _flush_c_streams() -> None:
    """Let C code write now what it has kept back, before descriptor 1 is stdout again."""
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).fflush(None)


def _asked_before() -> bool:
    """Whether ``--json`` stands before the sub-command, as in ``aubench models --json show X``."""
    parent = click.get_current_context().parent
    return parent is not None and bool(parent.params.get("as_json"))


def emit(data: Any) -> None:
    """Print one JSON document, in ASCII, whatever the terminal."""
    click.echo(json.dumps(plain(data), indent=1, allow_nan=False))


def plain(value: Any) -> Any:
    """Return a value as JSON holds it.

    Dataclasses, pydantic models, mappings, sequences, sets (sorted), paths and numpy's scalars and
    arrays are taken; numbers that are not finite become null, keys become strings, tuples of
    numbers as keys are joined by ``+``, as in ``6+12``.

    Raises:
        TypeError: Something else.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {_key(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, Set):
        return sorted(plain(inner) for inner in value)
    if isinstance(value, PathLike):
        return fspath(value)
    for name in ("model_dump", "tolist"):  # pydantic, numpy: neither is imported for this
        method = getattr(value, name, None)
        if callable(method):
            return plain(method())
    raise TypeError(f"{type(value).__name__} is nothing that JSON holds")


def _key(key: Any) -> str:
    return "+".join(map(str, key)) if isinstance(key, tuple) else str(key)
