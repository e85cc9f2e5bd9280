"""Features of some of the samples of a run, measured elsewhere, put together without measuring.

A part is a folder: ``part.json`` tells of which samples its files hold features and how each was
measured. Rows are taken by sample and pixel digest, so parts may overlap, come in any order, and
hold samples that were made again since; what cannot be put together whole is measured again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aubench.evaluate.collect import Collector, Evaluation
from aubench.evaluate.feature_cache import FeatureCache, PixelReader, content_of
from aubench.storage.array_files import Arrays, content_key, read_arrays, write_arrays
from aubench.storage.files import write_text
from aubench.storage.run_folder import RunFolder
from aubench.storage.text_files import read_json

if TYPE_CHECKING:
    from aubench.datasets.samples import ImageSource, SampleSet

ABOUT = "part.json"
MADE, PAIRS, TARGETS = "made", "pairs", "targets"


@dataclass(frozen=True)
class Measurement:
    """One file of a part.

    Attributes:
        file: Its name in the folder of the part, and in the features of a run.
        over: Rows are of generated images (``made``), of them and their targets (``pairs``), or of
            the targets alone (``targets``).
        key: What the features depend on beside the pixels: network and weights.
    """

    file: str
    over: str
    key: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """What ``part.json`` tells.

    Attributes:
        made: Sample id and pixel digest of the generated images, in the order of the rows.
        asked: Ids of the samples whose targets were measured, in the order of the rows.
        measurements: The files.
    """

    made: tuple[tuple[str, str], ...]
    asked: tuple[str, ...]
    measurements: tuple[Measurement, ...]

    def rows(self, over: str) -> list[str]:
        """Return the sample ids of the rows of a measurement."""
        return list(self.asked) if over == TARGETS else [name for name, _ in self.made]


def measure_part(evaluation: Evaluation, run_samples: SampleSet, place: Path | None = None) -> Part:
    """Measure some samples of a run.

    Targets are measured only where the cache holds no features of all targets of the run.

    Args:
        evaluation: Of the run, with some of its samples; those without an image are left out.
        run_samples: All samples of the run.
        place: Folder of the part, ``features`` of the run folder if None.
    """
    place = place or evaluation.folder.path / "features"
    folder, samples = evaluation.folder, evaluation.samples
    supported = samples.subset([name not in folder.unsupported for name in samples.ids])
    there = samples.subset([name in folder.digests for name in samples.ids])
    if not len(there):
        return _written(place, Part((), (), ()))
    shared = replace(evaluation, given_reader=evaluation.reader)
    made = Collector(replace(shared, samples=there), there.ids, place)
    asked = Collector(replace(shared, samples=supported), there.ids, place)
    networks = made.networks.all()
    made.generated()
    found = [Measurement(made.file(n.name).name, MADE, (n.id, n.sha256)) for n in networks]

    whole = made.content_of(run_samples)
    lacking = [n for n in networks if not evaluation.cache.reference_path(whole, n).is_file()]
    paths = {n.name: asked.file(f"targets-{n.name}") for n in lacking}
    asked.targets(lacking, paths)
    found += [Measurement(paths[n.name].name, TARGETS, (n.id, n.sha256)) for n in lacking]

    _, keys, _ = made.pairs(range(len(there)))
    found += [Measurement(made.file(name).name, PAIRS, (key,)) for name, key in keys.items()]
    digests = tuple((name, folder.digests[name]) for name in there.ids)
    return _written(place, Part(digests, tuple(supported.ids), tuple(found)))


def _written(place: Path, part: Part) -> Part:
    write_text(place / ABOUT, json.dumps(asdict(part)) + "\n")
    return part


def read_part(place: Path) -> Part | None:
    """Return what a folder holds; None where it is no part or damaged."""
    try:
        data = read_json(place / ABOUT)
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
    reader: PixelReader

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
        ids = list(self.rows) if over == TARGETS else self.made
        return self._content(over, self.folder.digest(self.made), ids)

    def content_of_part(self, over: str, part: Part) -> str:
        """Return the same for the rows of a part."""
        made = RunFolder(self.folder.path, digests=dict(part.made))
        return self._content(over, made.digest([name for name, _ in part.made]), part.rows(over))

    def _content(self, over: str, pixels: str, ids: Sequence[str]) -> str:
        rows = [self.rows[name] for name in ids]
        if over == TARGETS:
            return self._side("target", rows)
        sides = [self._side(column, rows) for column in ("target", "reference") if over == PAIRS]
        return "|".join([pixels, *sides])

    def _side(self, column: str, rows: Sequence[int]) -> str:
        """Return the digest of the pixels of targets or references."""
        keys = self.samples.frame[column].to_numpy(str)
        return self.reader.digest([str(keys[row]) for row in rows])


def assemble(
    folder: RunFolder, samples: SampleSet, images: ImageSource, size: int, places: Iterable[Path]
) -> None:
    """Put parts together into the features of a run, and into the cache of reference features.

    Args:
        folder: Folder of the run, with the images and the ledger.
        samples: Samples that the generator is made for.
        images: Images of the data set.
        size: Side of the images.
        places: Folders of parts; damaged ones are passed over.
    """
    whole = _Whole(folder, samples, PixelReader(images, size))
    parts = [(place, part) for place in places if (part := read_part(place)) is not None]
    wanted = dict.fromkeys(m for _, part in parts for m in part.measurements)
    contents: dict[tuple[Path, str], str] = {}
    for measurement in wanted:
        key = content_key(whole.content(measurement.over), *measurement.key)
        path = folder.path / "features" / measurement.file
        if measurement.over == TARGETS:
            name = content_of(images, size, samples)
            path = FeatureCache().path(content_key(name, *measurement.key))
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
