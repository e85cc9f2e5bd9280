"""What made the images of a run folder, kept so that a whole one need not load the model again.

``generator.json`` is written when all images are made and removed before any is made anew. It
counts only while nothing that the model is loaded from has changed: the modules of its class,
weights, options that name files. Sizes and times tell, as in ``make``; the record goes on naming
the digest of the weights that made the images.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from aubench.errors import AubenchError
from aubench.generators.contract import Generator
from aubench.generators.plain_info import info_of, plain_info
from aubench.run.build_record import GenerationResult
from aubench.storage.files import home, sha256_json, write_text
from aubench.storage.text_files import read_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aubench.run.config import RunConfig
    from aubench.storage.run_folder import RunFolder

NAME = "generator.json"
PASSED = ("__pycache__", ".")
"""Folders that begin like this are no source: Python and others write them unasked."""


def save(folder: RunFolder, made: GenerationResult, loaded_from: str) -> None:
    """Keep what made the images of a folder that holds them all.

    Args:
        folder: Folder of the images.
        made: What made them.
        loaded_from: ``source_digest`` before it was loaded.
    """
    data = {
        "info": plain_info(made.info),
        "size": made.size,
        "weights": made.weights_sha256,
        "hardware": list(made.hardware),
        "device": made.device,
        "sources": loaded_from,
    }
    write_text(folder.path / NAME, json.dumps({**data, "sha256": sha256_json(data)}) + "\n")


def invalidate(folder: RunFolder) -> None:
    """Remove it, before images are made."""
    (folder.path / NAME).unlink(missing_ok=True)


def load_if_current(
    folder: RunFolder, config: RunConfig, ids: Sequence[str]
) -> GenerationResult | None:
    """Return what made the images, if that is known, unchanged, and they are all whole.

    Args:
        folder: Its ledger read.
        config: Config of the run.
        ids: Samples that are asked for.
    """
    try:
        data = read_json(folder.path / NAME)
        digest = data.pop("sha256")
        made = GenerationResult(
            info_of(data["info"]),
            data["size"],
            data["weights"],
            tuple(data["hardware"]),
            data["device"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, AubenchError):
        return None
    same = digest == sha256_json(data) and data["sources"] == source_digest(config)
    hopeless = folder.failures | folder.unsupported
    made_ids = [name for name in ids if name not in hopeless]
    known = all(name in folder.digests for name in made_ids)  # before any is decoded
    return made if same and known and all(map(folder.intact, made_ids)) else None


def source_digest(config: RunConfig) -> str:
    """Return a digest over size and times of all files that the model is loaded from."""
    from aubench.generators.registry import generator_class

    named = [config.weights, *config.options.values()]
    places = [
        *_modules(generator_class(config.model)),
        home() / "weights",
        *(Path(str(value)) for value in named if value),
    ]
    found = {str(path): _state(path) for place in places for path in _files(place)}
    return sha256_json(found)


def _modules(cls: type[Generator]) -> Iterator[Path]:
    """Yield where a class and its bases come from: their packages, or single files."""
    for base in cls.__mro__[: cls.__mro__.index(Generator)]:
        name, _, inside = base.__module__.partition(".")
        file = getattr(sys.modules.get(name), "__file__", None)
        own = getattr(sys.modules.get(base.__module__), "__file__", None)
        if file is not None and Path(file).name == "__init__.py":
            yield Path(file).parent
        elif own is not None:
            yield Path(own).parent if inside else Path(own)


def _files(place: Path) -> Iterator[Path]:
    try:
        if place.is_file():
            yield place
    except (OSError, ValueError):  # a value of an option that no path can be
        return
    for folder, folders, names in os.walk(place):
        folders[:] = [name for name in folders if not name.startswith(PASSED)]
        yield from (Path(folder, name) for name in names)


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns
