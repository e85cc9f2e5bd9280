"""What a rater gave is taken out of everything that the study folder holds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from aubench.study.design.files import EXPORTED
from aubench.study.server.store import Store


def note_exports(study: Path, paths: Iterable[Path]) -> None:
    """Note in ``exported.log`` which files an analysis wrote."""
    with (study / EXPORTED).open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(str(path.resolve())) + "\n" for path in paths)


def _exports(study: Path) -> list[Path]:
    try:
        lines = (study / EXPORTED).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [Path(json.loads(line)) for line in lines]


def forget(study: Path, store: Store, rater: int) -> list[Path] | None:
    """Erase a rater from the data base, and remove the exports that were written with his answers.

    Returns:
        The removed files; None where there is no such rater.
    """
    if not store.erase(rater):
        return None
    removed = [path for path in dict.fromkeys(_exports(study)) if path.is_file()]
    for path in removed:
        path.unlink()
    (study / EXPORTED).unlink(missing_ok=True)
    return removed
