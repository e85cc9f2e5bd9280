"""synfacs: which AUs occur together, on whom, in which scene, and where its images come from.

AU sets are drawn from a Gaussian copula: each AU has a base rate and pairs have correlations,
both in the order of magnitude of spontaneous-behaviour data sets. Combinations reserved for the
``unseen`` protocol are redrawn, so that train never holds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.datasets.dataset import Dataset, DefaultNetworks
from aubench.datasets.labelled_faces import ArrayPictures, LabelledFaces, Pictures
from aubench.datasets.samples import INTENSITIES, LABELS, combinations_of, seed_of
from aubench.errors import AubenchError, suggest
from aubench.facs import AUS
from aubench.storage.files import sha256_bytes, shipped
from aubench.synfacs.keys import SPLITS, format_key, parse_key, subject_name

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from aubench.datasets.samples import ImageSource, SampleSet
    from aubench.datasets.synfacs.rendered_images import SynfacsImages
    from aubench.facs.describe import Allocation

COUNTS = {"train": 20_000, "validation": 2_000, "test": 4_000}
SCENES = {"train": 8, "validation": 5, "test": 10}
SEED = {"train": 11, "validation": 12, "test": 13}

RATES = {
    1: 0.21,
    2: 0.19,
    4: 0.21,
    6: 0.32,
    7: 0.30,
    10: 0.26,
    12: 0.34,
    14: 0.22,
    15: 0.19,
    17: 0.26,
    23: 0.18,
    24: 0.17,
}
"""Share of images in which an AU is active."""

CORRELATIONS = {
    (1, 2): 0.60,
    (1, 4): 0.15,
    (4, 7): 0.30,
    (4, 10): 0.15,
    (6, 7): 0.35,
    (6, 12): 0.55,
    (7, 12): 0.20,
    (6, 10): 0.25,
    (7, 10): 0.25,
    (10, 12): 0.15,
    (12, 14): 0.10,
    (12, 15): -0.10,
    (15, 17): 0.40,
    (17, 23): 0.20,
    (17, 24): 0.30,
    (23, 24): 0.15,
    (14, 17): 0.15,
    (12, 24): -0.20,
    (10, 24): -0.20,
    (4, 17): 0.15,
    (1, 12): -0.05,
    (10, 23): -0.10,
    (14, 24): 0.10,
}
"""Latent correlations of AU pairs; all others are zero."""

RESERVED_SINGLES = ("2", "10", "15", "23")
RESERVED_CONFLICTS = ("12+15+17", "6+12+15+17", "1+2+4", "10+15", "12+24", "10+17+23")
"""Combinations kept out of train, so that ``unseen`` has singles and conflicts to ask for."""


def reserved() -> frozenset[str]:
    """Return the names of the reserved combinations."""
    return frozenset(RESERVED_SINGLES) | frozenset(RESERVED_CONFLICTS)


def draw_labels(
    rng: np.random.Generator, count: int, forbidden: Iterable[str] = ()
) -> npt.NDArray[np.uint8]:
    """Return AU sets uint8 [count, 12] from the copula, redrawing forbidden ones.

    Args:
        rng: Consumed.
        count: Number of rows.
        forbidden: Combination names.
    """
    import numpy as np
    from scipy.stats import norm

    sigma = np.eye(len(AUS))
    for (a, b), value in CORRELATIONS.items():
        i, j = AUS.index(a), AUS.index(b)
        sigma[i, j] = sigma[j, i] = value
    values, vectors = np.linalg.eigh(sigma)
    root = vectors * np.sqrt(np.clip(values, 1e-6, None))
    root /= np.linalg.norm(root, axis=1, keepdims=True)
    threshold = norm.isf([RATES[au] for au in AUS])
    names, kept = frozenset(forbidden), np.zeros((0, len(AUS)), np.uint8)
    while len(kept) < count:
        drawn = (rng.standard_normal((count, len(AUS))) @ root.T > threshold).astype(np.uint8)
        good = [name not in names for name in combinations_of(drawn)]
        kept = np.concatenate([kept, drawn[good]])
    return kept[:count]


def draw_intensities(
    rng: np.random.Generator, labels: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float32]:
    """Return intensities float32 [N, 12]: uniform from B (2.0) to E (5.0) where active, else 0."""
    import numpy as np

    drawn = rng.integers(20, 51, labels.shape) / 10
    return np.where(labels, drawn, 0).astype(np.float32)


def frame_of(
    prefix: str,
    subjects: npt.NDArray[np.int64],
    scenes: npt.NDArray[np.int64],
    intensities: npt.NDArray[np.float32],
    seed: int,
    strata: Any = "all",
) -> pd.DataFrame:
    """Return rows of samples without text; the reference is the neutral face of the same scene."""
    import numpy as np
    import pandas as pd

    zero = np.zeros(len(AUS))
    labels = (intensities > 0).astype(np.uint8)
    names = [subject_name(int(s)) for s in subjects]
    ids = [f"{prefix}-{i:05d}" for i in range(len(names))]
    data: dict[str, Any] = {
        "sample_id": ids,
        "subject": names,
        "reference": [format_key(s, zero, int(k)) for s, k in zip(names, scenes, strict=True)],
        "target": [
            format_key(s, v, int(k)) for s, v, k in zip(names, intensities, scenes, strict=True)
        ],
        **{name: labels[:, i] for i, name in enumerate(LABELS)},
        **{name: intensities[:, i] for i, name in enumerate(INTENSITIES)},
        "combination": combinations_of(labels),
        "seed": [seed_of(name, seed) for name in ids],
        "strata": strata,
    }
    return pd.DataFrame(data)


def scene_seed(subject: int, index: int) -> int:
    """Return the seed of one of a subject's scenes."""
    return subject * 100 + index


@lru_cache(maxsize=3)
def split_frame(split: str) -> pd.DataFrame:
    """Return the samples of a split, the same on every machine.

    Raises:
        AubenchError: The split is unknown.
    """
    import numpy as np

    if split not in SPLITS:
        raise AubenchError(f"unknown split '{split}'{suggest(split, SPLITS)}")
    rng = np.random.default_rng(SEED[split])
    count = COUNTS[split]
    labels = draw_labels(rng, count, reserved() if split != "test" else ())
    intensities = draw_intensities(rng, labels)
    people = np.array(SPLITS[split])
    subjects = people[np.arange(count) % len(people)]
    scenes = subjects * 100 + rng.integers(0, SCENES[split], count)
    return frame_of(f"{split}", subjects, scenes, intensities, SEED[split])


def train_combinations() -> list[str]:
    """Return the sorted names of all AU combinations in train."""
    return sorted(set(split_frame("train")["combination"]))


def load_split(
    split: str, size: int, limit: int | None = None, processes: int | None = None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.int64], pd.DataFrame]:
    """Return a split for training, rendering what the cache lacks.

    Args:
        split: ``train``, ``validation`` or ``test``.
        size: Pixels.
        limit: Only the first samples.
        processes: How many render at once; one a core if None.

    Returns:
        Targets uint8 [N, size, size, 3]; the distinct references uint8 [R, size, size, 3]; for
        each sample the row of its reference, int64 [N]; the frame.
    """
    import numpy as np

    from aubench.datasets.synfacs.rendered_images import SynfacsImages

    frame = split_frame(split).head(limit) if limit else split_frame(split)
    source = SynfacsImages(processes)
    names, rows = np.unique(frame["reference"].to_numpy(str), return_inverse=True)
    targets = source.packed(list(frame["target"]), size, f"{split} faces")
    references = source.packed([str(n) for n in names], size, f"{split} references")
    return targets, references, rows.astype(np.int64), frame


class SynfacsDataset(Dataset):
    """The rendered faces that ship: exact AUs, and any face to order."""

    name = "synfacs"
    restricted = False
    default_networks: DefaultNetworks = DefaultNetworks(
        "nano-a,nano-b", "efficientnet-lite0", "nano-id", text_au="nano-dictionary"
    )
    exact_intensities = True
    drawn_protocols = True
    description = "synfacs, rendered faces"

    def images(self, processes: int | None = None) -> ImageSource:
        """Return the renderer with its cache."""
        return self._renderer(processes)

    def _renderer(self, processes: int | None = None) -> SynfacsImages:
        from aubench.datasets.synfacs.rendered_images import SynfacsImages

        return SynfacsImages(processes)

    def split_faces(self, split: str) -> LabelledFaces:
        """Return the faces of a split, the same on every machine."""
        return _split_faces(split)

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
        self, path: Path, seed: int, *, graded: bool, allocation: Allocation = "paper"
    ) -> SampleSet:
        """Return the samples of a frozen ``samples.csv``: all follows from the targets' keys."""
        return _read_protocol(path, seed, graded, allocation)

    def protocol_proof(self, place: Path, asked: list[str]) -> dict[str, object]:
        """Return the proof that none of the combinations asked for occurs in train."""
        train = train_combinations()
        known = set(train)
        return {
            "train combinations": len(train),
            "train sha256": sha256_bytes("\n".join(train).encode()),
            "protocol combinations": asked,
            "in both": [name for name in asked if name in known],
        }

    def check_protocol(self, place: Path, samples: SampleSet) -> dict[str, object]:
        """Check that a protocol asks for test subjects.

        Raises:
            AubenchError: Names the first that is none.
        """
        strangers = [s for s in samples.subjects() if int(s[1:]) not in SPLITS["test"]]
        if strangers:
            raise AubenchError(f"{place.name}: subject {strangers[0]} is not a test subject")
        return {}

    def key_with(
        self, key: str, intensities: Sequence[float] | npt.NDArray[np.floating]
    ) -> str | None:
        """Return the key of the same face in the same scene with other AUs."""
        subject, _, scene = parse_key(key)
        return format_key(subject, intensities, scene)

    @property
    def counts(self) -> dict[str, int]:
        """Number of faces by split."""
        return dict(COUNTS)


@lru_cache(maxsize=3)
def _split_faces(split: str) -> LabelledFaces:
    import numpy as np

    frame = split_frame(split)
    keys, references, subjects = (
        tuple(map(str, frame[column])) for column in ("target", "reference", "subject")
    )
    return LabelledFaces(
        SynfacsDataset.name,
        split,
        keys,
        references,
        subjects,
        frame[list(LABELS)].to_numpy(np.int8),
        frame[list(INTENSITIES)].to_numpy(np.float32),
    )


def _read_protocol(path: Path, seed: int, graded: bool, allocation: Allocation) -> SampleSet:
    import numpy as np
    import pandas as pd

    from aubench.datasets.samples import SampleSet
    from aubench.facs.describe import describe

    frame = pd.read_csv(path, dtype=str)
    subjects, references, values = [], [], []
    for key in frame["target"]:
        subject, intensities, scene = parse_key(key)
        subjects.append(subject)
        references.append(format_key(subject, np.zeros(len(AUS)), scene))
        values.append(intensities)
    array = np.stack(values)
    labels = (array > 0).astype(np.uint8)
    seeds = [seed_of(name, seed) for name in frame["sample_id"]]
    active = [[au for au, on in zip(AUS, row, strict=True) if on] for row in labels]
    frame["subject"], frame["reference"] = subjects, references
    for i in range(len(AUS)):
        frame[LABELS[i]], frame[INTENSITIES[i]] = labels[:, i], array[:, i]
    frame["combination"] = combinations_of(labels)
    graded_levels = [dict(zip(AUS, map(float, row), strict=True)) for row in array]
    frame["text"] = [
        describe(aus, seed=seed, intensities=levels if graded else None, allocation=allocation).text
        for aus, seed, levels in zip(active, seeds, graded_levels, strict=True)
    ]
    frame["seed"] = seeds
    return SampleSet(frame, SynfacsDataset.name)
