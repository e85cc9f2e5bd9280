"""Where records lie: the shipped leaderboards and, beside an installed package, your own.

In a source tree records are entered into its ``leaderboards/``. An installed package is not
written to, since the next upgrade would lose what was entered: your records lie in
``leaderboards`` of the folder of your own data, and every table shows both.
"""

from __future__ import annotations

from pathlib import Path

from aubench.storage.files import data_home, shipped


def roots(folder: Path | None = None) -> list[Path]:
    """Return the folders that records are read from; of the same name the last one's holds.

    Args:
        folder: The only one, in place of the usual ones.
    """
    if folder is not None:
        return [folder]
    ours = shipped("leaderboards")
    mine = entry(None)
    return [ours] if mine == ours or not mine.is_dir() else [ours, mine]


def entry(folder: Path | None = None) -> Path:
    """Return the folder that records are entered into.

    Args:
        folder: Folder in place of the usual one.
    """
    ours = shipped("leaderboards")
    installed = ours.parent.name == "_shipped"
    return folder or (data_home() / "leaderboards" if installed else ours)


def datasets(folder: Path | None = None) -> list[str]:
    """Return the data sets that have a folder, sorted."""
    return sorted({p.name for root in roots(folder) for p in _folders(root)})


def records(dataset: str, folder: Path | None = None) -> dict[str, dict[str, Path]]:
    """Return the files of the records of a data set by protocol and model, both sorted."""
    found: dict[str, dict[str, Path]] = {}
    for root in roots(folder):
        for place in _folders(root / dataset):
            files = found.setdefault(place.name, {})
            files |= {path.stem: path for path in place.glob("*.json")}
    return {name: dict(sorted(found[name].items())) for name in sorted(found)}


def _folders(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
