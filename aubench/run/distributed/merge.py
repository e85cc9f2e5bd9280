"""Shards into one ordinary run folder: refused by name unless they are whole and of one run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any

from aubench.errors import AubenchError
from aubench.evaluate.parts import assemble
from aubench.progress import bar
from aubench.records.record import Record
from aubench.run.build_record import GenerationResult
from aubench.run.config import Job, RunConfig, check_device, config_of, prepare
from aubench.run.distributed.shards import (
    FINISHED,
    Finished,
    ShardFolder,
    find_shards,
    read_finished,
    versions,
)
from aubench.run.execute import check_weights_unchanged, finish, supported
from aubench.stage_times import COSTS, Meter, read_calls, write_calls
from aubench.storage.files import atomic_path
from aubench.storage.run_folder import SHARDS, RunFolder

AGAIN = "run this shard again, with the options of the others"


@dataclass(frozen=True)
class Piece:
    """A finished shard, its ledger read."""

    found: ShardFolder
    finished: Finished
    folder: RunFolder
    ids: list[str]


def merge(places: Sequence[Path], out: Path | None = None) -> tuple[RunConfig, Record]:
    """Put all shards of a run into one run folder; measure what they have not, and score.

    Args:
        places: Run folders that hold ``shards``, or folders of shards.
        out: The run folder to make; the only place if it holds ``shards``, when None.

    Returns:
        The options of the run and its record.

    Raises:
        AubenchError: A shard is missing, unfinished, there twice, damaged, or of another run.
    """
    shards = find_shards(places)
    target = out or _only(places)
    _check_complete(shards)
    finished = [_finished(found) for found in shards]
    _check_agreement(shards, finished)
    job = _job(shards[0], finished[0], target)
    pieces = [_piece(job, *pair) for pair in zip(shards, finished, strict=True)]
    identity = {**job.identity(), "weights": shards[0].identity.get("weights")}
    with RunFolder.exclusive(target, identity, fresh=False) as folder:
        return job.config, _filled(job, folder, pieces)


def _only(places: Sequence[Path]) -> Path:
    if len(places) == 1 and (places[0] / SHARDS).is_dir():
        return places[0]
    raise AubenchError("folders of shards are named, but not the run folder", "add --out RUN")


def _named(numbers: Iterable[int]) -> str:
    """Return some numbers in words, at most ten of them."""
    numbers = sorted(numbers)
    words = ", ".join(map(str, numbers[:10]))
    return words + (f" and {len(numbers) - 10} more" if len(numbers) > 10 else "")


def _check_complete(shards: Sequence[ShardFolder]) -> None:
    first = shards[0]
    for found in shards:
        if found.shard.count != first.shard.count:
            raise AubenchError(
                f"{first.path} is a shard of {first.shard.count}, {found.path} one of "
                f"{found.shard.count}",
                "move away those that are not of this run",
            )
    seen: dict[int, ShardFolder] = {}
    for found in shards:
        twin = seen.setdefault(found.shard.index, found)
        if twin is not found:
            raise AubenchError(
                f"shard {found.shard} is there twice: {twin.path} and {found.path}", "name one"
            )
    count = first.shard.count
    gone = set(range(1, count + 1)) - set(seen)
    if gone:
        word = "shard" if len(gone) == 1 else "shards"
        raise AubenchError(
            f"{word} {_named(gone)} of {count} {'is' if len(gone) == 1 else 'are'} missing",
            f"`aubench run … --shard {min(gone)}/{count}`",
        )


def _finished(found: ShardFolder) -> Finished:
    path = found.path / FINISHED
    if not path.is_file():
        raise AubenchError(
            f"shard {found.shard} in {found.path} is unfinished", "the same command resumes it"
        )
    return read_finished(path)


def _check_agreement(shards: Sequence[ShardFolder], finished: Sequence[Finished]) -> None:
    """Refuse shards of another run, or of another installation."""
    first = _told(shards[0], finished[0])
    for found, one in zip(shards[1:], finished[1:], strict=True):
        _agree(
            first,
            _told(found, one),
            f"shard {shards[0].shard}",
            f"shard {found.shard} in {found.path}",
            AGAIN,
        )
    here = versions()
    _agree(
        finished[0].versions,
        here,
        "the shards were made",
        "here",
        "merge in the environment that made them",
    )


def _told(found: ShardFolder, finished: Finished) -> dict[str, Any]:
    return {
        **found.identity,
        **{
            f"--{key.replace('_', '-')}": value
            for key, value in finished.config.items()
            if key not in found.identity
        },
        "weights' sha256": finished.weights_sha256,
        "size": finished.size,
        "generator": finished.info,
        **finished.versions,
    }


def _agree(
    first: Mapping[str, Any], second: Mapping[str, Any], one: str, other: str, hint: str
) -> None:
    for key in dict.fromkeys([*first, *second]):
        a, b = first.get(key), second.get(key)
        if a != b:
            raise AubenchError(f"{one} has {key} = {_short(a)}, {other} {_short(b)}", hint)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _job(found: ShardFolder, finished: Finished, out: Path) -> Job:
    """Return the run that the shards are of, as this machine knows it."""
    try:
        config = config_of(finished.config, out)
    except TypeError as error:
        raise AubenchError(f"{found.path / FINISHED} is of another version", AGAIN) from error
    try:
        check_device(config.device)
        job = prepare(config)
    except AubenchError:
        if config.device == "cpu":
            raise
        # The shards have measured: whatever is left, or no more than loading, the processor does.
        job = prepare(replace(config, device="cpu"))
        job = replace(job, config=replace(job.config, device="cpu"))
    here = {**job.identity(), "weights": found.identity.get("weights")}
    del here["shard"]
    _agree(
        found.identity,
        here,
        f"shard {found.shard} in {found.path}",
        "this machine",
        "merge where protocol and data are those of the shards",
    )
    return job


def _piece(job: Job, found: ShardFolder, finished: Finished) -> Piece:
    """Read the ledger of a shard and compare every image with it."""
    part = job.samples.shard(found.shard.index - 1, found.shard.count)
    ids = part.ids
    folder = RunFolder.resume(found.path, {**found.identity, "shard": str(found.shard)})
    left = [name for name in ids if not folder.known(name)]
    if left or folder.digest(ids) != finished.images_sha256:
        where = f" from {left[0]}" if left else ""
        raise AubenchError(
            f"{folder.ledger} does not hold what shard {found.shard} finished{where}",
            "run this shard again: it makes what is missing",
        )
    return Piece(found, finished, folder, ids)


def _filled(job: Job, folder: RunFolder, pieces: Sequence[Piece]) -> Record:
    first = pieces[0].finished
    check_weights_unchanged(folder, first.weights_sha256)
    job.choices.write(folder.path)
    with bar(sum(len(piece.ids) for piece in pieces), "merge", "img") as progress:
        for piece in pieces:
            _take(folder, piece)
            progress.update(len(piece.ids))
    write_calls(
        folder.path / COSTS,
        [call for piece in pieces for call in read_calls(piece.found.path / COSTS)],
    )
    info = first.generator
    samples, _ = supported(job.samples, folder, info.name)
    places = [piece.found.path / "features" for piece in pieces]
    assemble(folder, samples, job.images, first.size, places)
    machines = tuple(dict.fromkeys(piece.finished.hardware for piece in pieces))
    made = GenerationResult(
        info, first.size, first.weights_sha256, machines, str(first.config["device"])
    )
    return finish(job, folder, made, Meter(folder.path / COSTS))


def _take(folder: RunFolder, piece: Piece) -> None:
    """Bring the images of a shard into the run folder, then enter them in its ledger.

    An image that was damaged in the run folder since a former merge gives way to the shard's; one
    that was damaged in the shard is not missed where the run folder has it.
    """
    theirs = piece.folder
    made = [name for name in piece.ids if name in theirs.digests]
    kept = [name for name in made if folder.digests.get(name) == theirs.digests[name]]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        here = set(compress(kept, pool.map(folder.intact, kept)))
        left = [name for name in made if name not in here]
        for name, intact in zip(left, pool.map(theirs.intact, left), strict=True):
            if not intact:
                raise AubenchError(
                    f"{theirs.image(name)} is missing or damaged",
                    f"run shard {piece.found.shard} again: it makes it anew",
                )
    for name in left:
        _link(theirs.image(name), folder.image(name))
    mine = {json.dumps(row) for row in folder.rows(piece.ids)}
    folder.enter([row for row in theirs.rows(piece.ids) if json.dumps(row) not in mine])


def _link(source: Path, target: Path) -> None:
    """Link a file, or copy it where links cannot be."""
    with atomic_path(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
