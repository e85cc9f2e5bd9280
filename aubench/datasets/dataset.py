"""What a data set is: faces with AUs, their splits, and what is said of them elsewhere."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from aubench.datasets.labelled_faces import KeyPictures, LabelledFaces, Pictures
from aubench.errors import AubenchError, suggest
from aubench.plugins import PluginGroup

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from aubench.datasets.given_texts import GivenTexts
    from aubench.datasets.samples import ImageSource, SampleSet
    from aubench.datasets.splits import Split
    from aubench.datasets.training_faces import TrainingFaces
    from aubench.facs.describe import Allocation

GROUP = PluginGroup("aubench.datasets", "data set")
SPLITS = ("train", "validation", "test")
FOLDS = 3


@dataclass(frozen=True)
class DefaultNetworks:
    """Networks that measure a data set unless the user names others.

    Attributes:
        detectors: One or two AU detectors, ``A`` or ``A,B``.
        extractor: Extractor of the features of FID and KID.
        identity: Tells persons apart.
        witness: An AU detector that is reported beside them; ``none`` for none.
        text_au: Classifier of AUs from text.
    """

    detectors: str = "mp-zero"
    extractor: str = "inception-2015-12-05"
    identity: str = "dlib-resnet"
    witness: str = "mp-zero"
    text_au: str = "nano"


class Dataset(ABC):
    """Faces with AUs, by name; registered under the entry point group ``aubench.datasets``.

    A data set of one's own gives ``name``, ``images`` and ``split_faces``; all else follows.

    Attributes:
        name: Name under which it is registered; small letters, digits, ``. _ -``.
        restricted: Whether its images must not leave the user's machines by themselves.
        default_networks: What measures it.
        exact_intensities: Whether intensities are what was drawn and not what somebody judged.
        folds: Number of subject-exclusive folds.
        own_split: Whether train, validation and test are there without a fold.
        attached_texts: Whether descriptions come with the faces.
        drawn_protocols: Whether its protocols are drawn anew by a script of ours, not frozen from
            the faces there are.
        description: Description of the training data, in a few words.
    """

    name: str
    restricted: bool = True
    default_networks: DefaultNetworks = DefaultNetworks()
    exact_intensities: bool = False
    folds: int = FOLDS
    own_split: bool = True
    attached_texts: bool = False
    drawn_protocols: bool = False
    description: str = ""

    @abstractmethod
    def images(self, processes: int | None = None) -> ImageSource:
        """Return where the images come from.

        Args:
            processes: How many may make images at once; one a core if None.
        """

    @abstractmethod
    def split_faces(self, split: str) -> LabelledFaces:
        """Return the faces of ``train``, ``validation`` or ``test`` in a fixed order.

        No subject is in two of them; ``validation`` may be empty.
        """

    def faces(self, split: str = "train", fold: int | None = None) -> LabelledFaces:
        """Return the faces of a split, or of a fold of train's subjects.

        Fold K of three tests every third of train's sorted subjects, from the K-th, and trains on
        the others; its validation part is empty.

        Raises:
            AubenchError: No such split or fold.
        """
        import numpy as np

        self.check_part(split, fold)
        if not fold:
            return self.split_faces(split)
        whole = self.split_faces("train")
        tested = fold_members(np.array(whole.subjects, np.str_), fold, self.folds)
        kept = {"train": ~tested, "test": tested, "validation": np.zeros(len(whole), np.bool_)}
        part = whole.rows(kept[split])
        return replace(part, split=split, fold=fold, pool=whole.keys)

    def check_part(self, split: str, fold: int | None) -> None:
        """Refuse a split or a fold that is not there.

        Raises:
            AubenchError: Says which there are.
        """
        if split not in SPLITS:
            raise AubenchError(
                f"unknown split '{split}'{suggest(split, SPLITS)}",
                f"choose from {', '.join(SPLITS)}",
            )
        if fold is not None and not 1 <= fold <= self.folds:
            raise AubenchError(f"no fold {fold} of '{self.name}'", f"choose 1 to {self.folds}")

    def usual_fold(self, fold: int | None) -> int | None:
        """Return the fold that a training without ``--fold`` takes: the first where one is needed.

        ``aubench protocol freeze`` takes the same.
        """
        return fold if fold is not None or self.own_split else 1

    def pictures(self, faces: LabelledFaces, size: int, label: str) -> Pictures:
        """Return the images of faces, read when they are asked for, or made beforehand.

        Args:
            faces: Faces of this data set.
            size: Side in pixels.
            label: Label of a progress bar.
        """
        source = self.images()
        source.prefetch(list(faces.keys), size, label)
        return KeyPictures(source, faces.keys, size)

    def pictures_of(self, keys: Sequence[str], size: int, label: str) -> Pictures:
        """Return images by key, such as references; see ``pictures``."""
        source = self.images()
        source.prefetch(list(keys), size, label)
        return KeyPictures(source, tuple(keys), size)

    def samples(self, split: str, fold: int | None = None, seed: int = 0) -> SampleSet:
        """Return the faces of a split of which all twelve AUs are known, described.

        Args:
            split: ``train``, ``validation`` or ``test``.
            fold: Fold in place of the data set's own split.
            seed: Seed from which texts and seeds follow, with the ids.
        """
        from aubench.datasets.frozen_splits import described_samples

        return described_samples(self.faces(split, fold), seed)

    def attributes(self, subjects: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """Return by attribute, such as ``sex``, the group of each subject [N]."""
        return self.images().attributes(subjects)

    def train_of(self, subjects: Sequence[str]) -> LabelledFaces | None:
        """Return the faces to train on for a test of some subjects.

        Args:
            subjects: Persons who are tested; those of one fold, where the data set has no own
                split.

        Returns:
            None where some of them are in train of every part.
        """
        people = set(subjects)
        for fold in (None,) if self.own_split else range(1, self.folds + 1):
            faces = self.faces("train", fold)
            if not people.intersection(faces.subjects):
                return faces
        return None

    def training_faces(self, subjects: Sequence[str] = ()) -> TrainingFaces | None:
        """Return the faces that models train on who are judged on some subjects.

        Returns:
            None where they are not known.
        """
        from aubench.datasets.training_faces import faces_in_packs

        faces = self.train_of(subjects)
        return faces_in_packs(self.images(), faces) if faces is not None and len(faces) else None

    def combinations(self, fold: int | None = None) -> list[str]:
        """Return the sorted names of all AU sets in train of which all AUs are known."""
        import numpy as np

        faces = self.faces("train", self.usual_fold(fold))
        return sorted(set(faces.rows(np.asarray(faces.complete)).combinations()))

    @property
    def fingerprint(self) -> str:
        """What identifies every pixel."""
        return self.images().fingerprint

    # ------------------------------------------------------------------ protocols

    @property
    def protocols(self) -> Path | None:
        """Folder with ``NAME/PROTOCOL/`` of protocols that come with the data set, None if none."""
        return None

    def index(self) -> pd.DataFrame:
        """Return every face, those of references too, for freezing protocols.

        Columns: ``key``, ``subject``, ``sample`` (False of a reference that is no sample), ``AU1``
        to ``AU24`` (int8, -1 unknown), ``I1`` to ``I24`` (float32, NaN unknown), ``reference``,
        ``source``.
        """
        import pandas as pd

        parts = [_indexed(self.split_faces(split)) for split in SPLITS]
        whole = pd.concat([part for part in parts if len(part)], ignore_index=True)
        return pd.DataFrame(whole.drop_duplicates("key", ignore_index=True))

    def split(self, fold: int) -> Split:
        """Return the subjects of train and test; a fold counts where there is no own split.

        Raises:
            AubenchError: No such fold.
        """
        from aubench.datasets.splits import Split

        chosen = None if self.own_split else fold
        train, test = (
            tuple(sorted(set(self.faces(part, chosen).subjects))) for part in ("train", "test")
        )
        return Split(chosen or 0, self.folds, train, test)

    @cached_property
    def content(self) -> str:
        """Digest of faces, references and codes, whatever the machine."""
        parts = [self.split_faces(split).digest for split in SPLITS]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def coded(self) -> tuple[int, ...]:
        """AUs of the twelve that the data code."""
        import numpy as np

        from aubench.datasets.samples import LABELS
        from aubench.facs import AUS

        known = np.asarray((self.index()[list(LABELS)].to_numpy(np.int8) >= 0).any(0))
        return tuple(au for au, there in zip(AUS, known.tolist(), strict=True) if there)

    def given_texts(self) -> GivenTexts | None:
        """Return the texts of others that were attached to the faces, None where none were."""
        return None

    def read_protocol(
        self, path: Path, seed: int, *, graded: bool, allocation: Allocation = "paper"
    ) -> SampleSet:
        """Return the samples of a frozen ``samples.csv``; texts and seeds follow from ids and seed.

        Args:
            path: The file.
            seed: Seed of the protocol.
            graded: Texts tell intensities.
            allocation: Which AUs our texts describe together.

        Raises:
            AubenchError: Names the row that cannot be read.
        """
        from aubench.datasets.frozen_splits import read_frozen

        return read_frozen(path, self.name, seed, allocation)

    def protocol_proof(self, place: Path, asked: list[str]) -> dict[str, object]:
        """Return the proof that none of the combinations asked for occurs in train.

        Raises:
            AubenchError: The folds of the protocol cannot be read.
        """
        from aubench.datasets.frozen_splits import read_folds
        from aubench.datasets.splits import proof_of, train_sets

        stated = read_folds(place)
        split, strict = self.split(int(stated["fold"])), bool(stated.get("strict", True))
        return proof_of(train_sets(self.index(), split.train, strict=strict), asked)

    def check_protocol(self, place: Path, samples: SampleSet) -> dict[str, object]:
        """Check that a protocol asks for test subjects and for images that are there.

        Returns:
            What was found, for a report.

        Raises:
            AubenchError: Names the sample that should not be there.
        """
        from aubench.datasets.frozen_splits import check_split

        return check_split(place, samples.frame, self.name, self.index(), self.content)

    # ------------------------------------------------------------------ elsewhere

    def key_with(
        self, key: str, intensities: Sequence[float] | npt.NDArray[np.floating]
    ) -> str | None:
        """Return the key of the same face in the same scene with other AUs.

        Args:
            key: Key of a face.
            intensities: Float [12] in 0..5.

        Returns:
            None where faces are not made to order.
        """
        return None

    @property
    def counts(self) -> dict[str, int]:
        """Number of faces by split where that is known without reading the data; else empty."""
        return {}


def fold_members(subjects: npt.NDArray[np.str_], fold: int, folds: int) -> npt.NDArray[np.bool_]:
    """Return whose faces a fold tests, bool [N]: every third of the sorted subjects."""
    import numpy as np

    return np.isin(subjects, np.unique(subjects)[fold - 1 :: folds])


def _indexed(faces: LabelledFaces) -> pd.DataFrame:
    """Return the rows of an index of some faces, samples first, then references."""
    import numpy as np
    import pandas as pd

    from aubench.datasets.samples import INTENSITIES, LABELS

    own = {key: who for key, who in zip(faces.references, faces.subjects, strict=True)}
    extra = sorted(set(own) - set(faces.keys))
    labels = np.concatenate([faces.labels, np.zeros((len(extra), faces.labels.shape[1]), np.int8)])
    unknown = np.full((len(extra), faces.labels.shape[1]), np.nan, np.float32)
    values = np.concatenate([faces.intensities, unknown])
    keys = [*faces.keys, *extra]
    return pd.DataFrame(
        {
            "key": keys,
            "subject": [*faces.subjects, *(own[key] for key in extra)],
            "sample": np.arange(len(keys)) < len(faces),
            **{name: labels[:, i] for i, name in enumerate(LABELS)},
            **{name: values[:, i] for i, name in enumerate(INTENSITIES)},
            "reference": [*faces.references, *extra],
            "source": "",
        }
    )
