"""Where files live and how they are written: under a temporary name, then renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from aubench.errors import AubenchError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CLOSED = (errno.EACCES, errno.EROFS, errno.ENOTDIR)


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
    """Return a folder shipped beside the code, ``protocols`` or ``leaderboards``.

    An installed wheel carries it inside the package; a source tree has it at the top.
    """
    package = Path(__file__).resolve().parent
    inside = package / "_shipped" / name
    return inside if inside.is_dir() else package.parent / name


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it when the block succeeds.

    Raises:
        AubenchError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except AubenchError:
        raise
    except Exception as error:
        code = _system_code(error)
        if code in FULL:
            raise AubenchError(f"no space left to write {path}", "free some disk") from error
        if code in CLOSED:
            raise AubenchError(f"cannot write {path}", "choose a writable folder") from error
        raise
    finally:
        with suppress(OSError):
            temporary.unlink()


def _system_code(error: Exception) -> int | None:
    """Return the system's error number, also where a library tells it in its message alone."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\bos error (\d+)", str(error))  # safetensors
    if found:
        return int(found.group(1))
    # torch names only the line that failed to write; other than a full disk hardly anything does.
    return errno.ENOSPC if "inline_container" in str(error) else None


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def sha256_bytes(data: bytes) -> str:
    """Return the hexadecimal sha256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


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
        path: of the card.
        digest: sha256 of the weights beside it.

    Raises:
        AubenchError: it is no card, or the card of other weights.
    """
    try:
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        told = str(card["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise AubenchError(f"{path} is not a card of weights", "restore the file") from error
    if digest != told:
        raise AubenchError(
            f"weights beside {path} have sha256 {digest[:12]}, the card says {told[:12]}",
            "restore the file",
        )
    return card
