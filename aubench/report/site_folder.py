"""Folders of pages that are written anew as a whole."""

from __future__ import annotations

import shutil
from pathlib import Path

from aubench.errors import AubenchError


def clear(out: Path, mark: str) -> None:
    """Empty a folder that was written before, so that nothing else is ever deleted.

    Args:
        out: The folder; it need not exist.
        mark: Name of the file by which a folder is known as written here.

    Raises:
        AubenchError: The folder holds something else.
    """
    if not out.exists():
        return
    if not out.is_dir() or (any(out.iterdir()) and not (out / mark).is_file()):
        raise AubenchError(f"{out} holds files of something else", "choose another --out")
    for path in out.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
