"""Features of some of the samples of a run, measured elsewhere, put together without measuring.

A part is a folder: ``part.json`` tells of which samples its files hold features and how each was
measured. Rows are taken by sample and pixel digest, so parts may overlap, come in any order, and
hold samples that were made again since; what cannot be put together whole is measured again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aubench.engine.features import (
    Arrays,
    cache_path,
    content_key,
    content_of,
    features,
    read_arrays,
    reference_path,
    write_arrays,
)
from aubench.engine.folder import RunFolder
from aubench.files import write_text

if TYPE_CHECKING:
    from aubench.datasets.samples import ImageSource, SampleSet
    from aubench.engine.job import Job

ABOUT = "part.json"
MADE, PAIRS, TARGETS = "made", "pairs", "targets"


@dataclass(frozen=True)
class Measurement:
    """One file of a part.

    Attributes:
        file: its name in the folder of the part, and in the features of a run.
        over: rows are of generated images (``made``), of them and their targets (``pairs``), or of
            the targets alone (``targets``).
        key: what the features depend on beside the pixels: network and weights.
    """

    file: str
    over: str
    key: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """What ``part.json`` tells.

    Attributes:
        made: sample id and pixel digest of the generated images, in the order of the rows.
        asked: ids of the samples whose targets were measured, in the order of the rows.
        measurements: the files.
    """

    made: tuple[tuple[str, str], ...]
    asked: tuple[str, ...]
    measurements: tuple[Measurement, ...]

    def rows(self, over: str) -> list[str]:
        """Return the sample ids of the rows of a measurement."""
        return list(self.asked) if over == TARGETS else [name for name, _ in self.made]


def measure_part(
    job: Job, folder: RunFolder, samples: SampleSet, size: int, place: Path | None = None
) -> Part:
    """Measure some samples of a run.

    Targets are measured only where the cache holds no features of all targets of the run.

    Args:
        job: the run.
        folder: holds the images.
        samples: some of the run's; those without an image are left out.
        size: side of the images.
        place: folder of the part, ``features`` of the run folder if None.
    """
    from aubench.engine.measured import networks_of
    from aubench.engine.pairs import Side, compare, steps_of

    place = place or folder.path / "features"
    ids = samples.ids
    asked = samples.subset([name not in folder.unsupported for name in ids])
    there = samples.subset([name in folder.digests for name in ids])
    made = there.ids
    config, images = job.config, job.images
    if not made:
        return _written(place, Part((), (), ()))

    def load_made(names: Sequence[str]) -> npt.NDArray[np.uint8]:
        return np.stack([folder.read(name) for name in names])

    def load_real(keys: Sequence[str]) -> npt.NDArray[np.uint8]:
        return images.load_many(keys, size)

    networks = networks_of(job.protocol.dataset, config.metrics, config.device, job.choices).all()
    pixels, found = folder.digest(made), []
    paths = {n.name: place / f"{n.name}.safetensors" for n in networks}
    features(made, load_made, networks, paths, pixels, "measure generated")
    found += [Measurement(paths[n.name].name, MADE, (n.id, n.sha256)) for n in networks]

    whole = content_of(images, size, job.samples)
    lacking = [n for n in networks if not reference_path(whole, n).is_file()]
    paths = {n.name: place / f"targets-{n.name}.safetensors" for n in lacking}
    keys = [str(key) for key in asked.frame["target"]]
    content = content_of(images, size, asked)
    features(keys, load_real, lacking, paths, content, "measure targets")
    found += [Measurement(paths[n.name].name, TARGETS, (n.id, n.sha256)) for n in lacking]

    compare(
        Side(made, load_made),
        Side([str(key) for key in there.frame["target"]], load_real),
        Side([str(key) for key in there.frame["reference"]], load_real),
        there.labels(), config.metrics, place, pixels + content_of(images, size, there), size,
        config.device,
    )  # fmt: skip
    steps, _ = steps_of(config.metrics, size, config.device)
    found += [Measurement(f"{name}.safetensors", PAIRS, (key,)) for name, (_, key) in steps.items()]
    told = tuple((name, folder.digests[name]) for name in made)
    return _written(place, Part(told, tuple(map(str, asked.frame["sample_id"])), tuple(found)))


def _written(place: Path, part: Part) -> Part:
    write_text(place / ABOUT, json.dumps(asdict(part)) + "\n")
    return part


def read_part(place: Path) -> Part | None:
    """Return what a folder holds; None where it is no part or damaged."""
    try:
        data = json.loads((place / ABOUT).read_text(encoding="utf-8"))
        return Part(
            tuple((str(name), str(digest)) for name, digest in data["made"]),
            tuple(str(name) for name in data["asked"]),
            tuple(
                Measurement(str(m["file"]), str(m["over"]), tuple(map(str, m["key"])))
                for m in data["measurements"]
            ),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class _Whole:
    """The run that parts are put together for."""

    folder: RunFolder
    samples: SampleSet
    images: ImageSource
    size: int

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each sample."""
        return {str(name): i for i, name in enumerate(self.samples.frame["sample_id"])}

    @cached_property
    def made(self) -> list[str]:
        """Ids of the samples that have an image."""
        return [name for name in self.rows if name not in self.folder.failures]

    def content(self, over: str) -> str:
        """Return what the pixels are identified by."""
        targets = content_of(self.images, self.size, self.samples)
        return _content(over, self.folder.digest(self.made), targets)

    def content_of_part(self, over: str, part: Part) -> str:
        """Return the same for the rows of a part."""
        rows = [self.rows[name] for name in part.rows(over)]
        targets = content_of(self.images, self.size, self.samples.subset(rows))
        made = RunFolder(self.folder.path, digests=dict(part.made))
        return _content(over, made.digest([name for name, _ in part.made]), targets)


def _content(over: str, pixels: str, targets: str) -> str:
    return {MADE: pixels, PAIRS: pixels + targets, TARGETS: targets}[over]


def assemble(
    folder: RunFolder, samples: SampleSet, images: ImageSource, size: int, places: Iterable[Path]
) -> None:
    """Put parts together into the features of a run, and into the cache of reference features.

    Args:
        folder: of the run, with the images and the ledger.
        samples: that the generator is made for.
        images: of the data set.
        size: side of the images.
        places: folders of parts; damaged ones are passed over.
    """
    whole = _Whole(folder, samples, images, size)
    parts = [(place, part) for place in places if (part := read_part(place)) is not None]
    wanted = dict.fromkeys(m for _, part in parts for m in part.measurements)
    contents: dict[tuple[Path, str], str] = {}
    for measurement in wanted:
        key = content_key(whole.content(measurement.over), *measurement.key)
        path = folder.path / "features" / measurement.file
        if measurement.over == TARGETS:
            path = cache_path(key)
        rows = list(whole.rows) if measurement.over == TARGETS else whole.made
        if read_arrays(path, key, len(rows)) is None:
            found = _joined(whole, measurement, rows, parts, contents)
            if found is not None:
                write_arrays(path, key, found)


def _joined(
    whole: _Whole,
    measurement: Measurement,
    wanted: Sequence[str],
    parts: Sequence[tuple[Path, Part]],
    contents: dict[tuple[Path, str], str],
) -> Arrays | None:
    """Return the rows wanted, None if some are in no part."""
    place_of = {name: i for i, name in enumerate(wanted)}
    have = np.zeros(len(wanted), bool)
    out: dict[str, npt.NDArray[Any]] = {}
    for place, part in parts:
        ids = part.rows(measurement.over)
        if measurement not in part.measurements or not set(ids) <= set(whole.rows):
            continue
        good = [i for i, name in enumerate(ids) if _same(whole, part, measurement.over, i, name)]
        at = place, measurement.over
        if at not in contents:
            contents[at] = whole.content_of_part(measurement.over, part)
        key = content_key(contents[at], *measurement.key)
        arrays = read_arrays(place / measurement.file, key, len(ids))
        if arrays is None:
            continue
        rows = [place_of[ids[i]] for i in good]  # others were made again since
        have[rows] = True
        for name, array in arrays.items():
            shape = (len(wanted), *array.shape[1:])
            out.setdefault(name, np.zeros(shape, array.dtype))[rows] = array[good]
    return out if have.all() and out else None


def _same(whole: _Whole, part: Part, over: str, i: int, name: str) -> bool:
    return over == TARGETS or whole.folder.digests.get(name) == part.made[i][1]
