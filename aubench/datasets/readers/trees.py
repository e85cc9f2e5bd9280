"""A folder as distributed: files, and those inside archives that were not all unpacked."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from aubench.errors import AubenchError
from aubench.storage.text_files import check_utf8

STRAY = frozenset({".ds_store", "thumbs.db", "desktop.ini"})
ENCRYPTED = 0x1
CORRUPT = (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError)
"""What reading an archive raises; zlib's own error is a subclass of none and is added below."""


LARGEST = 1 << 30
"""Bytes of a picture or of codes, at most; an archive of kilobytes may hold more."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a tree.

    Attributes:
        path: Relative to the root, as if archives had been unpacked where they lie.
        archive: Path of the archive relative to the root, None if unpacked.
        member: Name inside the archive.
        size: Bytes.
        stamp: Time of change in ns, or inside an archive the CRC-32.
    """

    path: str
    archive: str | None
    member: str
    size: int
    stamp: int

    @property
    def place(self) -> str:
        """Path as a message names it."""
        return self.path if self.archive is None else f"{self.archive}:{self.member}"


@dataclass(frozen=True)
class Tree:
    """Files of a folder, in an order that does not depend on the file system.

    Attributes:
        root: The folder.
        entries: Sorted by path; a path may occur twice, unpacked and archived.
        broken: Archives that cannot be read, with the reason.
    """

    root: Path
    entries: tuple[Entry, ...]
    broken: dict[str, str]


def read_tree(root: Path, wanted: Callable[[str], bool]) -> Tree:
    """Return the files whose relative path is wanted.

    Args:
        root: Folder.
        wanted: Takes a posix path relative to the root.

    Raises:
        AubenchError: There is no such folder, or a name is not UTF-8.
    """
    if not root.is_dir():
        raise AubenchError(f"no folder {root}")
    found, broken = [], {}
    for path in _files(root):
        name = path.relative_to(root).as_posix()
        if path.suffix.lower() == ".zip":
            try:
                found += [entry for entry in _members(root, name) if wanted(entry.path)]
            except CORRUPT as error:
                broken[name] = str(error).splitlines()[0] if str(error) else "cannot be read"
        elif wanted(name):
            status = path.stat()
            found.append(Entry(name, None, "", status.st_size, status.st_mtime_ns))
    check_utf8(*broken, *(entry.path for entry in found))
    found.sort(key=lambda entry: (entry.path, entry.archive or ""))
    return Tree(root, tuple(found), broken)


def _files(root: Path) -> Iterator[Path]:
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not _stray(name))
        yield from (Path(folder, name) for name in sorted(names) if not _stray(name))


def _stray(name: str) -> bool:
    lower = name.lower()
    return lower in STRAY or lower.startswith((".", "__macosx"))


def _members(root: Path, archive: str) -> Iterator[Entry]:
    above = PurePosixPath(archive).parent
    with zipfile.ZipFile(root / archive) as stream:
        for info in stream.infolist():
            parts = PurePosixPath(info.filename.replace("\\", "/")).parts
            if info.is_dir() or not parts or any(map(_stray, parts)) or ".." in parts:
                continue
            if info.flag_bits & ENCRYPTED:
                raise RuntimeError("is encrypted")
            path = str(above.joinpath(*parts))
            yield Entry(path, archive, info.filename, info.file_size, info.CRC)


@lru_cache(maxsize=2)
def _opened(path: Path, changed: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def read_entry(root: Path, entry: Entry) -> bytes | None:
    """Return the bytes of a file, None if it cannot be read or is larger than any picture."""
    import zlib

    if entry.size > LARGEST:
        return None
    try:
        if entry.archive is None:
            return (root / entry.path).read_bytes()
        place = root / entry.archive
        return _opened(place, place.stat().st_mtime_ns).read(entry.member)
    except (*CORRUPT, zlib.error, KeyError):
        return None
