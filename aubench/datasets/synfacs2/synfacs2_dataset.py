"""synfacs 2: who is seen with which AUs in which scene, in two conditions; its images.

``synfacs2`` is clean and has the protocols of both conditions; ``synfacs2-wild`` has the training
faces with everything that real frames have. Subjects, AU sets and intensities of both are alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.datasets.dataset import Dataset, DefaultNetworks
from aubench.datasets.labelled_faces import ArrayPictures, LabelledFaces, Pictures
from aubench.datasets.samples import INTENSITIES, LABELS, combinations_of, seed_of
from aubench.datasets.synfacs2.occurrence import (
    HELD_OUT,
    draw_intensities,
    draw_labels,
    held_out_in,
)
from aubench.errors import AubenchError, suggest
from aubench.facs import AUS
from aubench.storage.files import sha256_bytes, shipped
from aubench.synfacs2.keys import CONDITIONS, FRESH, SPLITS, format_key, parse_key, subject_name

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from aubench.datasets.samples import ImageSource, SampleSet
    from aubench.datasets.synfacs.rendered_images import SynfacsImages
    from aubench.facs.describe import Allocation

RENDERER = "synfacs2"
COUNTS = {"train": 10_000, "validation": 1_000, "test": 2_000}
SEED = {"train": 21, "validation": 22, "test": 23}

SCENES = 1000
"""Scene seeds of a subject: its number times this, and on."""
NEUTRAL_SCENES = range(900, 904)
"""Scenes of a subject's references, among these; no target is in one."""


def scene_seed(subject: int, index: int) -> int:
    """Return the seed of one of a subject's scenes, 0 to 999."""
    return subject * SCENES + index


def reference_key(subject: str, scene: int, condition: str, *, same_scene: bool = False) -> str:
    """Return the key of the neutral face that goes with a target's subject and scene.

    Another scene by default (other light, pose, background and moment), which follows from the
    target's; with ``same_scene`` the same.
    """
    first = scene - scene % SCENES
    place = NEUTRAL_SCENES[scene % len(NEUTRAL_SCENES)]
    return format_key(subject, [0.0] * len(AUS), scene if same_scene else first + place, condition)


def frame_of(
    prefix: str,
    subjects: npt.NDArray[np.int64],
    scenes: npt.NDArray[np.int64],
    intensities: npt.NDArray[np.float32],
    condition: str,
    **columns: Any,
) -> pd.DataFrame:
    """Return rows of samples without text: id, subject, target, reference, AUs, combination.

    Args:
        prefix: Begin of the ids.
        subjects: Numbers, int64 [N].
        scenes: Seeds, int64 [N].
        intensities: float32 [N, 12].
        condition: ``studio`` or ``wild``.
        columns: Further ones; ``reference`` in place of the usual.
    """
    import pandas as pd

    labels = (intensities > 0).astype("uint8")
    names = [subject_name(int(s)) for s in subjects]
    places = [int(scene) for scene in scenes]
    data: dict[str, Any] = {
        "sample_id": [f"{prefix}-{i:05d}" for i in range(len(names))],
        "subject": names,
        "reference": [reference_key(s, k, condition) for s, k in zip(names, places, strict=True)],
        "target": [
            format_key(s, v, k, condition)
            for s, v, k in zip(names, intensities, places, strict=True)
        ],
        **{name: labels[:, i] for i, name in enumerate(LABELS)},
        **{name: intensities[:, i] for i, name in enumerate(INTENSITIES)},
        "combination": combinations_of(labels),
        **columns,
    }
    return pd.DataFrame(data)


@lru_cache(maxsize=6)
def split_frame(split: str, condition: str = "studio") -> pd.DataFrame:
    """Return the samples of a split, the same on every machine.

    Raises:
        AubenchError: The split is unknown.
    """
    import numpy as np

    if split not in SPLITS:
        raise AubenchError(f"unknown split '{split}'{suggest(split, SPLITS)}")
    count, people = COUNTS[split], np.array(SPLITS[split])
    rng = np.random.default_rng([SEED[split], CONDITIONS.index(condition)])
    intensities = draw_intensities(rng, draw_labels(rng, count))
    rows = np.arange(count)
    subjects = people[rows % len(people)]
    scenes = subjects * SCENES + rows // len(people)
    frame = frame_of(f"{split}-{condition}", subjects, scenes, intensities, condition)
    frame["seed"] = [seed_of(name, SEED[split]) for name in frame["sample_id"]]
    frame["strata"] = "all"
    return frame


def train_combinations() -> list[str]:
    """Return the sorted names of all AU combinations in train, of both conditions."""
    found = {name for c in CONDITIONS for name in split_frame("train", c)["combination"]}
    return sorted(found)


class Synfacs2Dataset(Dataset):
    """The rendered faces that ship, clean: exact AUs, and any face to order."""

    name = "synfacs2"
    condition = "studio"
    restricted = False
    default_networks: DefaultNetworks = DefaultNetworks(
        "nano2-a,nano2-b", "efficientnet-lite0", "nano2-id", witness="mp-geo"
    )
    exact_intensities = True
    drawn_protocols = True
    description = "synfacs 2, rendered faces, studio"

    def images(self, processes: int | None = None) -> ImageSource:
        """Return the renderer with its cache."""
        return self._renderer(processes)

    def _renderer(self, processes: int | None = None) -> SynfacsImages:
        from aubench.datasets.synfacs.rendered_images import SynfacsImages

        return SynfacsImages(processes, renderer=RENDERER)

    def split_faces(self, split: str) -> LabelledFaces:
        """Return the faces of a split, the same on every machine."""
        return _split_faces(self.name, split, self.condition)

    def pictures(self, faces: LabelledFaces, size: int, label: str) -> Pictures:
        """Return the images of faces in memory; a fold is taken from the packs of its split."""
        import numpy as np

        if faces.pool is None:
            return self.pictures_of(faces.keys, size, label)
        whole = self._renderer().packed(list(faces.pool), size, label)
        place = {key: row for row, key in enumerate(faces.pool)}
        return ArrayPictures(whole[np.array([place[key] for key in faces.keys], np.int64)])

    def pictures_of(self, keys: Sequence[str], size: int, label: str) -> Pictures:
        """Return images by key in memory, from packs of sorted keys."""
        return ArrayPictures(self._renderer().packed(list(keys), size, label))

    @property
    def protocols(self) -> Path:
        """Folder of the protocols that ship."""
        return shipped("protocols")

    def read_protocol(
        self, path: Path, seed: int, *, graded: bool, allocation: Allocation = "conflicts"
    ) -> SampleSet:
        """Return the samples of a frozen ``samples.csv``: targets, references and strata."""
        return _read_protocol(self.name, path, seed, (graded, allocation))

    def protocol_proof(self, place: Path, asked: list[str]) -> dict[str, object]:
        """Return the proof that train holds none of the combinations, nor any held-out pair."""
        train = train_combinations()
        known = set(train)
        pairs = {name: held_out_in(_aus(name)) for name in train}
        return {
            "train combinations": len(train),
            "train sha256": sha256_bytes("\n".join(train).encode()),
            "held-out pairs": sorted(f"{a}+{b}" for a, b in HELD_OUT),
            "train combinations with a held-out pair": sorted(n for n, p in pairs.items() if p),
            "protocol combinations": asked,
            "without a held-out pair": [n for n in asked if not held_out_in(_aus(n))],
            "in both": [name for name in asked if name in known],
        }

    def check_protocol(self, place: Path, samples: SampleSet) -> dict[str, object]:
        """Check that a protocol asks for test subjects or fresh ones, each with an own reference.

        Raises:
            AubenchError: Names the first that is none.
        """
        own = (SPLITS["test"], FRESH)
        strangers = [s for s in samples.subjects() if not any(int(s[1:]) in part for part in own)]
        if strangers:
            raise AubenchError(f"{place.name}: subject {strangers[0]} is not a test subject")
        pairs = zip(samples.frame["target"], samples.frame["reference"], strict=True)
        for target, reference in pairs:
            subject, _, _, condition = parse_key(str(target))
            person, values, _, other = parse_key(str(reference))
            if (person, other) != (subject, condition) or values.any():
                raise AubenchError(f"{place.name}: '{reference}' is no reference of '{target}'")
        return {}

    def key_with(
        self, key: str, intensities: Sequence[float] | npt.NDArray[np.floating]
    ) -> str | None:
        """Return the key of the same face in the same scene with other AUs."""
        subject, _, scene, condition = parse_key(key)
        return format_key(subject, intensities, scene, condition)

    @property
    def counts(self) -> dict[str, int]:
        """Number of faces by split."""
        return dict(COUNTS)


class Synfacs2WildDataset(Synfacs2Dataset):
    """The same subjects with everything that real frames have; the protocols end in ``-wild``."""

    name = "synfacs2-wild"
    condition = "wild"
    description = "synfacs 2, rendered faces, wild"


class Synfacs2MixedDataset(Synfacs2Dataset):
    """Faces of both conditions in turn, for networks that have to read both."""

    name = "synfacs2-mixed"
    description = "synfacs 2, rendered faces, studio and wild"

    def split_faces(self, split: str) -> LabelledFaces:
        """Return the faces of a split, studio and wild in turn."""
        return _mixed_faces(self.name, split)

    def pictures_of(self, keys: Sequence[str], size: int, label: str) -> Pictures:
        """Return images by key in memory, from the packs of each condition."""
        import numpy as np

        wild = np.array([parse_key(key)[3] == "wild" for key in keys], np.bool_)
        out = np.empty((len(keys), size, size, 3), np.uint8)
        for which in (wild, ~wild):
            rows = np.nonzero(which)[0]
            if len(rows):
                some = [keys[int(i)] for i in rows]
                out[rows] = self._renderer().packed(some, size, label)
        return ArrayPictures(out)

    @property
    def counts(self) -> dict[str, int]:
        """Number of faces by split."""
        return {split: 2 * count for split, count in COUNTS.items()}


def _aus(name: str) -> tuple[int, ...]:
    return tuple(int(au) for au in name.split("+")) if name != "neutral" else ()


@lru_cache(maxsize=6)
def _split_faces(name: str, split: str, condition: str) -> LabelledFaces:
    import numpy as np

    frame = split_frame(split, condition)
    keys, references, subjects = (
        tuple(map(str, frame[column])) for column in ("target", "reference", "subject")
    )
    return LabelledFaces(
        name,
        split,
        keys,
        references,
        subjects,
        frame[list(LABELS)].to_numpy(np.int8),
        frame[list(INTENSITIES)].to_numpy(np.float32),
    )


@lru_cache(maxsize=3)
def _mixed_faces(name: str, split: str) -> LabelledFaces:
    import numpy as np

    parts = [_split_faces(name, split, condition) for condition in CONDITIONS]

    def in_turn(field: str) -> tuple[str, ...]:
        pairs = zip(*(getattr(part, field) for part in parts), strict=True)
        return tuple(value for pair in pairs for value in pair)

    def stacked(field: str) -> Any:
        both = np.stack([np.asarray(getattr(part, field)) for part in parts], 1)
        return both.reshape(-1, both.shape[-1])

    return LabelledFaces(
        name,
        split,
        in_turn("keys"),
        in_turn("references"),
        in_turn("subjects"),
        stacked("labels"),
        stacked("intensities"),
    )


def _read_protocol(
    dataset: str, path: Path, seed: int, wording: tuple[bool, Allocation]
) -> SampleSet:
    import numpy as np
    import pandas as pd

    from aubench.datasets.samples import SampleSet
    from aubench.facs.describe import describe

    graded, allocation = wording
    frame = pd.read_csv(path, dtype=str)
    parsed = [parse_key(key) for key in frame["target"]]
    array = np.stack([values for _, values, _, _ in parsed])
    labels = (array > 0).astype(np.uint8)
    seeds = [seed_of(name, seed) for name in frame["sample_id"]]
    active = [[au for au, on in zip(AUS, row, strict=True) if on] for row in labels]
    frame["subject"] = [subject for subject, _, _, _ in parsed]
    for i in range(len(AUS)):
        frame[LABELS[i]], frame[INTENSITIES[i]] = labels[:, i], array[:, i]
    frame["combination"] = combinations_of(labels)
    told = [dict(zip(AUS, map(float, row), strict=True)) for row in array]
    frame["text"] = [
        describe(aus, seed=seed, intensities=levels if graded else None, allocation=allocation).text
        for aus, seed, levels in zip(active, seeds, told, strict=True)
    ]
    frame["seed"] = seeds
    return SampleSet(frame, dataset)
