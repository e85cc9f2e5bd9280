"""Where files live and how they are written: under a temporary name, then renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import struct
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from aubench.errors import AubenchError
from aubench.storage.text_files import read_json

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR)

TEMPORARY = re.compile(r"\..+\.(?:([0-9a-f]{6})-(\d+)-(\d+)-)?[0-9a-f]{8}\.tmp", re.DOTALL)
"""Name of a temporary file: machine, process and its start, then a random part."""


class ClosedError(AubenchError):
    """The file system takes nothing at this place: read-only, or of somebody else."""


def home() -> Path:
    """Return the cache folder: ``AUBENCH_HOME``, else ``~/.cache/aubench``."""
    return Path(os.environ.get("AUBENCH_HOME") or Path.home() / ".cache" / "aubench")


def data_home() -> Path:
    """Return where a user's own data and protocols live, which no cleaning of caches may take.

    ``AUBENCH_HOME`` if it is set, else ``aubench`` in ``XDG_DATA_HOME`` or ``~/.local/share``.
    """
    named = os.environ.get("AUBENCH_HOME")
    if named:
        return Path(named)
    shared = os.environ.get("XDG_DATA_HOME")
    return (Path(shared) if shared else Path.home() / ".local" / "share") / "aubench"


def shipped(name: str) -> Path:
    """Return what is shipped beside the code: ``protocols``, ``leaderboards``, ``constraints.txt``.

    An installed wheel carries it inside the package; a source tree has it at the top.
    """
    package = Path(__file__).resolve().parents[1]
    inside = package / "_shipped" / name
    return inside if inside.exists() else package.parent / name


@contextmanager
def atomic_path(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it when the block succeeds.

    Args:
        path: The file; folders that lack are made.
        durable: Whether it must outlast a power cut: for what cannot be made again. A cache needs
            it not, and pays for it.

    Raises:
        AubenchError: The disk is full or the folder cannot be written.
    """
    temporary = path.with_name(
        f".{path.name[:48]}.{_writer(os.getpid())}-{uuid.uuid4().hex[:8]}.tmp"
    )
    try:
        with translate_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if temporary.is_file():  # safetensors writes for the owner alone; folders are shared
                temporary.chmod(0o666 & ~_mask())
            if durable:
                sync(temporary)
            temporary.replace(path)
            if durable:
                _sync_name(path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def sync(path: Path) -> None:
    """Force a file's bytes, or the names in a folder, to the disk.

    A rename without it may be on the disk before the bytes that it names: after a power cut the
    file is empty. A file system that knows no such thing is left as it is.

    Raises:
        OSError: The disk failed, or there is nothing at this place.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EROFS):
            raise
    finally:
        os.close(handle)


def _sync_name(path: Path) -> None:
    """Force the name of a file to the disk, and those of its folders, which may be new."""
    sync(path.parent)
    for folder in path.absolute().parents[1:]:
        with suppress(PermissionError):  # of somebody else, and so not made here
            sync(folder)


def sync_tree(folder: Path) -> None:
    """Force every file and folder below a folder, and itself, to the disk; innermost first."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync(Path(place, name))
        sync(Path(place))


def append(path: Path, data: bytes) -> None:
    """Append bytes to a file as one piece: all of them, or none where the system refuses.

    Raises:
        AubenchError: The disk is full or the file cannot be written.
    """
    with translate_os_errors(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            before = os.fstat(handle).st_size
            # A kill may have cut the last line short.
            ended = not before or os.pread(handle, 1, before - 1) == b"\n"
            left = memoryview(data if ended else b"\n" + data)
            try:
                while left:
                    left = left[os.write(handle, left) :]
            except OSError:
                os.ftruncate(handle, before)
                raise
        finally:
            os.close(handle)


@contextmanager
def translate_os_errors(path: Path) -> Iterator[None]:
    """Turn what the system says of a full disk or a closed folder into one line.

    Raises:
        AubenchError: The disk is full.
        ClosedError: Nothing can be written at this place.
    """
    try:
        yield
    except AubenchError:
        raise
    except Exception as error:
        code = _system_code(error)
        if code in FULL:
            raise AubenchError(f"no space left to write {path}", "free some disk") from error
        if code in CLOSED:
            cached = path.is_relative_to(home())
            remedy = "set AUBENCH_HOME to a writable folder" if cached else "choose a writable one"
            raise ClosedError(f"cannot write {path}", remedy) from error
        raise


@lru_cache(maxsize=1)
def _mask() -> int:
    """Return the bits that this process takes away from new files."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@lru_cache(maxsize=8)
def _writer(process: int) -> str:
    """Return what names this process in a temporary file; a fork has another number."""
    return f"{_machine()}-{process}-{_start(process) or 0}"


@lru_cache(maxsize=1)
def _machine() -> str:
    """Return six digits for this host and its numbering of processes."""
    words = os.uname().nodename
    with suppress(OSError):
        words += f"|{Path('/proc/self/ns/pid').readlink()}"
    return sha256_bytes(words.encode())[:6]


def _start(process: int) -> int | None:
    """Return when a process began, in the kernel's ticks since boot; None if it has ended."""
    try:
        words = Path(f"/proc/{process}/stat").read_text(encoding="latin-1").rpartition(")")[2]
    except OSError:
        return None
    state, *rest = words.split()
    return None if state in "ZX" else int(rest[18])


def sweep(folder: Path, *, owned: bool = False, apart: str = "") -> int:
    """Remove the temporary files that killed writers left below a folder; return how many.

    Args:
        folder: Need not exist.
        owned: Nobody else writes here, so that every temporary file is a leftover. Otherwise only
            those of processes of this machine that have ended.
        apart: Name of folders below it that have owners of their own.
    """
    removed = 0
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != apart]
        for name in names:
            found = TEMPORARY.fullmatch(name) if name.endswith(".tmp") else None
            if found and (owned or _orphan(*found.groups())):
                with suppress(OSError):  # a read-only cache keeps it
                    Path(place, name).unlink()
                    removed += 1
    return removed


def _orphan(machine: str | None, process: str | None, start: str | None) -> bool:
    known = process is not None and start is not None and machine == _machine()
    return known and _start(int(process or 0)) != int(start or 0)


def _system_code(error: Exception) -> int | None:
    """Return the system's error number, also where a library tells it in its message alone."""
    if isinstance(error, OSError):
        return error.errno
    # safetensors, now and at 0.4
    found = re.search(r"\b(?:os error|Os \{ code:) (\d+)", str(error))
    if found:
        return int(found.group(1))
    # torch names only the line that failed to write; other than a full disk hardly anything does.
    return errno.ENOSPC if "inline_container" in str(error) else None


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Write UTF-8 text atomically; ``durable`` as in ``atomic_path``."""
    with atomic_path(path, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Write bytes atomically; ``durable`` as in ``atomic_path``."""
    with atomic_path(path, durable=durable) as temporary:
        temporary.write_bytes(data)


def read_checked_png(path: Path) -> bytes:
    """Return the bytes of a PNG after comparing the checksum of every chunk.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no PNG, cut short, or damaged.
    """
    data = path.read_bytes()
    check_png(data, path.name)
    return data


def check_png(data: bytes, name: str = "it") -> None:
    """Compare the checksum of every chunk of a PNG.

    Decoders skip those of the pixels, so that a flipped bit may pass as another colour.

    Raises:
        ValueError: It is no PNG, cut short, or damaged.
    """
    view, at, kind = memoryview(data), 8, b""
    while kind != b"IEND":
        if at + 12 > len(data):
            raise ValueError(f"{name} is cut short")
        (size,), kind = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        end = at + 8 + size
        if end + 4 > len(data) or zlib.crc32(view[at + 4 : end]) != int.from_bytes(
            view[end : end + 4], "big"
        ):
            raise ValueError(f"{name} is damaged")
        at = end + 4


def sha256_bytes(data: bytes) -> str:
    """Return the hexadecimal sha256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def sha256_json(data: Any) -> str:
    """Return the hexadecimal sha256 of what JSON holds, whatever the order of its keys."""
    return sha256_bytes(json.dumps(data, sort_keys=True).encode())


def sha256_file(path: Path) -> str:
    """Return the hexadecimal sha256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def read_card(path: Path, digest: str) -> dict[str, Any]:
    """Return the card beside weights, after comparing the digest it tells.

    Args:
        path: Path of the card.
        digest: sha256 of the weights beside it.

    Raises:
        AubenchError: It is no card, or the card of other weights.
    """
    try:
        card: dict[str, Any] = read_json(path)
        expected = str(card["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise AubenchError(f"{path} is not a card of weights", "restore the file") from error
    if digest != expected:
        raise AubenchError(
            f"weights beside {path} have sha256 {digest[:12]}, the card says {expected[:12]}",
            "restore the file",
        )
    return card
