"""Shards: a run in parts that know nothing of each other, and one run folder made of them.

A shard is a run folder of its own, ``shards/<i>-of-<N>`` below the run's: ledger, images, features,
costs, and ``shard.json`` when it is finished. Files are all that shards share, so they may be made
on any machine, in any order, at any time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aubench import __version__
from aubench.errors import AubenchError
from aubench.evaluate.parts import measure_part
from aubench.generators.contract import GeneratorInfo
from aubench.generators.plain_info import info_of, plain_info
from aubench.run.config import RunConfig, prepare
from aubench.run.execute import ensure_images, generate_locally
from aubench.stage_times import COSTS, Meter
from aubench.storage.files import sha256_json, write_text
from aubench.storage.run_folder import SHARDS, RunFolder
from aubench.storage.text_files import read_json

FINISHED = "shard.json"


@dataclass(frozen=True, order=True)
class Shard:
    """One of ``count`` shards; they count from 1."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.index}-of-{self.count}"


def parse_shard(text: str) -> Shard:
    """Return the shard that ``I/N`` names.

    Raises:
        AubenchError: It is not of that form, or I is not one of 1 to N.
    """
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
    if found is None:
        raise AubenchError(f"--shard {text} is not I/N", "for example 3/8, the third of eight")
    index, count = int(found.group(1)), int(found.group(2))
    if not 1 <= index <= count:
        hint = f"shards count from 1 to {count}" if count else "shards count from 1"
        raise AubenchError(f"--shard {text}: there is no such shard", hint)
    return Shard(index, count)


@dataclass(frozen=True)
class Finished:
    """What ``shard.json`` tells: how a shard was made, and of which images it consists.

    Attributes:
        config: The options that decide the record.
        info: Info of the generator.
        size: Side of the images.
        weights_sha256: Weights sha256 of the generator.
        images_sha256: Digest over all its images.
        samples: How many they are.
        generated: How many of them have an image.
        failed: How many the generator gave up on.
        versions: Versions of aubench and the packages that touch a number.
        hardware: Hardware in words.
    """

    config: dict[str, Any]
    info: dict[str, Any]
    size: int
    weights_sha256: str | None
    images_sha256: str
    samples: int
    generated: int
    failed: int
    versions: dict[str, str]
    hardware: str

    @property
    def generator(self) -> GeneratorInfo:
        """What the generator says of itself."""
        return info_of(self.info)

    def write(self, path: Path) -> None:
        """Write JSON with a digest of it, atomically."""
        data = asdict(self)
        write_text(
            path, json.dumps({**data, "sha256": sha256_json(data)}, indent=1) + "\n", durable=True
        )


def read_finished(path: Path) -> Finished:
    """Return what a finished shard tells of itself.

    Raises:
        AubenchError: The file is damaged.
    """
    try:
        data = read_json(path)
        digest = data.pop("sha256")
        if digest != sha256_json(data):
            raise ValueError("another digest")
        return Finished(**data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AubenchError(f"{path} is damaged", "run this shard again") from error


def versions() -> dict[str, str]:
    """Return the versions that shards of one run must share."""
    from aubench.run.provenance import package_versions

    return {"aubench": __version__, **package_versions()}


def run_shard(config: RunConfig, shard: Shard) -> tuple[Path, Finished]:
    """Make and measure one shard of a run; resumes what its folder holds.

    Args:
        config: Config of the whole run; the shard's folder lies below its own.
        shard: Which shard.

    Returns:
        The folder of the shard and what it holds.

    Raises:
        AubenchError: As a run; there are fewer samples than shards.
    """
    from aubench.run.provenance import hardware

    job = prepare(config)
    if shard.count > len(job.samples):
        raise AubenchError(
            f"--shard {shard}: there are only {len(job.samples)} samples", "take fewer shards"
        )
    part = job.samples.shard(shard.index - 1, shard.count)
    place = config.out / SHARDS / shard.name
    with RunFolder.exclusive(place, job.identity(str(shard)), fresh=config.fresh) as folder:
        meter = Meter(folder.path / COSTS)
        made = ensure_images(job, folder, meter, partial(generate_locally, part=part), part)
        with meter.stage("measure"):
            measure_part(job.evaluation(folder, part, made.info, made.size), job.samples)
        ids = part.ids
        finished = Finished(
            config=config.plain(),
            info=plain_info(made.info),
            size=made.size,
            weights_sha256=made.weights_sha256,
            images_sha256=folder.digest(ids),
            samples=len(ids),
            generated=sum(name in folder.digests for name in ids),
            failed=sum(name in folder.failures for name in ids),
            versions=versions(),
            hardware=hardware(),
        )
        finished.write(folder.path / FINISHED)
    return folder.path, finished


@dataclass(frozen=True)
class ShardFolder:
    """A folder that holds a shard, finished or not.

    Attributes:
        path: Path of the folder.
        shard: Which shard it is.
        identity: What its run was asked for.
    """

    path: Path
    shard: Shard
    identity: dict[str, Any]


def find_shards(places: Sequence[Path]) -> list[ShardFolder]:
    """Return the shards in some folders: each a shard itself, or a run folder with ``shards``.

    Raises:
        AubenchError: A place holds none, or a folder in it is no shard.
    """
    found = []
    for place in places:
        own = _shard_at(place)
        inner = [] if own else [p for p in sorted((place / SHARDS).glob("*-of-*")) if p.is_dir()]
        if own is None and not inner:
            raise AubenchError(
                f"{place} holds no shards",
                "`aubench run … --shard I/N` makes them, below its --out",
            )
        for path in inner:
            at = _shard_at(path)
            if at is None:
                raise AubenchError(
                    f"{path} is no shard: its run.json is missing or damaged",
                    "move it away, or run this shard again",
                )
            found.append(at)
        found += [own] if own else []
    return sorted(found, key=lambda f: (f.shard.count, f.shard.index, str(f.path)))


def _shard_at(path: Path) -> ShardFolder | None:
    try:
        identity = read_json(path / "run.json")
        shard = parse_shard(str(identity.pop("shard")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, AubenchError):
        return None
    return ShardFolder(path, shard, identity)
