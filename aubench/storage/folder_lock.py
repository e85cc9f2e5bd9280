"""One writer a folder: an advisory lock that the kernel frees when its holder dies.

``flock`` on the file ``.lock``. Linux carries it to the server on NFS (version 4, or 3 with
lockd), so that it holds between machines; mounted with ``nolock`` or ``local_lock`` it holds on one
machine only. Where a file system knows no locks at all, a warning says so and the run goes on.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aubench.errors import AubenchError
from aubench.storage.files import translate_os_errors

NAME = ".lock"
BUSY = (errno.EAGAIN, errno.EACCES)
_held: set[int] = set()
"""Descriptors of the locks that this process holds."""

UNKNOWN = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which is made if it is not there.

    Raises:
        AubenchError: Another process holds it; names the folder and the process.
    """
    path = folder / NAME
    handle = _take(path)
    _held.add(handle)
    process = os.getpid()
    try:
        yield
    finally:
        _held.discard(handle)
        if os.getpid() == process:  # a fork has closed its copy, and the lock is its parent's
            # Gone before it is free: who opens the path now makes a file of its own.
            with suppress(OSError):
                path.unlink()
            os.close(handle)


def _close_in_fork() -> None:
    """Let no child that a plug-in forks hold a lock beyond its parent's life."""
    for handle in _held:
        with suppress(OSError):
            os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_fork)


def _take(path: Path) -> int:
    with translate_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                _lock(path, handle)
                if _same(path, handle):
                    with suppress(OSError):  # on a full disk the lock holds without a name
                        os.ftruncate(handle, 0)
                        os.pwrite(handle, _holder().encode(), 0)
                    return handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)  # the former holder has removed it in between


def _lock(path: Path, handle: int) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in BUSY:
            who = os.pread(handle, 200, 0).decode("utf-8", "replace").strip() or "another process"
            remedy = "wait for its end, or choose another --out"
            if _is_gone(who):
                who += ", which has ended, but a child of it lives on"
                remedy = f"end what `fuser {path}` lists, or choose another --out"
            raise AubenchError(f"{path.parent} is in use by {who}", remedy) from error
        if error.errno not in UNKNOWN:
            raise
        sys.stderr.write(
            f"{path.parent} lies on a file system without locks: start no second run on it\n"
        )


def _is_gone(who: str) -> bool:
    """Whether the holder is a process of this machine that is no more."""
    found = re.fullmatch(r"process (\d+) on (\S+)", who)
    if found is None or found[2] != os.uname().nodename:
        return False
    return not Path("/proc", found[1]).exists() and Path("/proc/self").exists()


def _same(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _holder() -> str:
    return f"process {os.getpid()} on {os.uname().nodename}\n"
