"""What the Stable Diffusion baseline trains on: images and texts, by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from aubench.datasets.labelled_faces import ArrayPictures, Pictures
from aubench.errors import AubenchError
from aubench.storage.files import sha256_bytes
from aubench.storage.pictures import load_picture
from aubench.storage.tables import read_table

if TYPE_CHECKING:
    import numpy.typing as npt

    from aubench.datasets.dataset import Dataset
    from aubench.datasets.labelled_faces import LabelledFaces
    from aubench_baselines.sd15_lora.loop import Settings

    Rows = npt.NDArray[np.int64]
    Images = npt.NDArray[np.uint8]

WORDINGS = 6
"""Texts of each AU combination of synfacs that a training draws from."""


class TrainingImages(Protocol):
    """Images with texts."""

    @property
    def fingerprint(self) -> str:
        """Identifies the data."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def images(self, rows: Rows) -> Images:
        """Return uint8 [B, S, S, 3]."""

    def texts(self, row: int) -> Sequence[str]:
        """Return the texts of a sample, any of which may be drawn."""


@dataclass(frozen=True)
class Arrays:
    """Images in memory; ``words[kinds[row]]`` are the texts of a row."""

    fingerprint: str
    pixels: Images
    kinds: npt.NDArray[np.int64]
    words: tuple[tuple[str, ...], ...]

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, rows: Rows) -> Images:
        """Return uint8 [B, S, S, 3]."""
        return self.pixels[rows]

    def texts(self, row: int) -> Sequence[str]:
        """Return the texts of a row."""
        return self.words[int(self.kinds[row])]


@dataclass(frozen=True)
class Folder:
    """Image files with one text each, read when asked for."""

    fingerprint: str
    paths: tuple[Path, ...]
    words: tuple[str, ...]
    size: int

    def __len__(self) -> int:
        return len(self.paths)

    def images(self, rows: Rows) -> Images:
        """Return uint8 [B, S, S, 3]: shorter side to S, centre crop.

        Raises:
            AubenchError: A file is not an image.
        """
        return np.stack([read_image(self.paths[int(row)], self.size) for row in rows])

    def texts(self, row: int) -> Sequence[str]:
        """Return the text of a row."""
        return self.words[row : row + 1]


def read_image(path: Path, size: int) -> Images:
    """Return uint8 [size, size, 3]: upright, shorter side to ``size`` (bicubic), centre crop.

    Raises:
        AubenchError: The file is missing or not an image.
    """
    from PIL import Image, ImageOps

    image = Image.fromarray(load_picture(path))
    return np.asarray(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC), np.uint8)


@dataclass(frozen=True)
class Keyed:
    """Faces of a data set that are read when asked for; ``words[row]`` are the texts of a row."""

    fingerprint: str
    pictures: Pictures
    words: tuple[Sequence[str], ...]

    def __len__(self) -> int:
        return len(self.pictures)

    def images(self, rows: Rows) -> Images:
        """Return uint8 [B, S, S, 3]."""
        return self.pictures.take(rows)

    def texts(self, row: int) -> Sequence[str]:
        """Return the texts of a row."""
        return self.words[row]


def _train(settings: Settings) -> tuple[Dataset, LabelledFaces]:
    """Return the data set of a training and its training part.

    Raises:
        AubenchError: The settings name a folder, which holds no references.
    """
    from aubench.datasets.registry import dataset_names, find_dataset

    if settings.data not in dataset_names() and Path(settings.data).is_dir():
        raise AubenchError(
            f"stage {settings.stage} reads a data set, not the folder {settings.data}",
            "--stage 3 reads a folder with metadata.csv; `aubench data import` adds data sets",
        )
    source = find_dataset(settings.data)
    faces = source.faces("train", source.usual_fold(settings.fold))
    return source, faces.head(settings.limit)


def neutral_faces(settings: Settings, size: int) -> TrainingImages:
    """Return the references of a data set and their mirror images, with generic texts."""
    from aubench_baselines.stable_diffusion.text import GENERIC

    source, faces = _train(settings)
    references = _references(source, faces, size)
    name = f"{faces.title} references"
    if isinstance(references, ArrayPictures):
        one = references.images
        pixels = np.concatenate([one, one[:, :, ::-1]])
        kinds = np.zeros(len(pixels), np.int64)
        return Arrays(_print(name, pixels), pixels, kinds, (GENERIC,))
    both = Mirrored(references)
    print_ = f"{name}@{source.fingerprint}/{faces.digest}, n={len(both)}"
    return Keyed(print_, both, (GENERIC,) * len(both))


def _references(source: Dataset, faces: LabelledFaces, size: int) -> Pictures:
    return source.pictures_of(sorted(set(faces.references)), size, f"{faces.title} references")


@dataclass(frozen=True)
class Mirrored:
    """Pictures, and behind them their mirror images."""

    pictures: Pictures

    def __len__(self) -> int:
        return 2 * len(self.pictures)

    def take(self, rows: Sequence[int] | Rows) -> Images:
        """Return uint8 [B, S, S, 3]."""
        count, at = len(self.pictures), np.asarray(rows)
        taken = self.pictures.take(at % count)
        return np.where((at >= count)[:, None, None, None], taken[:, :, ::-1], taken)


@dataclass(frozen=True)
class Joined:
    """Pictures, and behind them others."""

    first: Pictures
    second: Pictures

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def take(self, rows: Sequence[int] | Rows) -> Images:
        """Return uint8 [B, S, S, 3]."""
        count = len(self.first)
        return np.concatenate(
            [
                self.first.take([row]) if row < count else self.second.take([row - count])
                for row in map(int, rows)
            ]
        )


def au_faces(settings: Settings, size: int, *, references: bool) -> TrainingImages:
    """Return the targets of a data set with AU texts; with the references if asked for.

    Texts that were attached to the data are taken as they are. References, which stage 1 also
    sees, have no AU text and get generic ones.
    """
    from aubench.facs import parse_aus
    from aubench.facs.describe import describe
    from aubench_baselines.stable_diffusion.text import GENERIC

    source, faces = _train(settings)
    targets = source.pictures(faces, size, f"{faces.title} faces")
    neutral = _references(source, faces, size) if references else None
    names, kinds = np.unique(np.array(faces.combinations(), np.str_), return_inverse=True)
    words = [
        tuple(describe(parse_aus(str(name)), seed=k).text for k in range(WORDINGS))
        for name in names
    ]
    if isinstance(targets, ArrayPictures) and faces.texts is None:
        pixels, kinds = targets.images, kinds.astype(np.int64)
        if isinstance(neutral, ArrayPictures):
            pixels = np.concatenate([pixels, neutral.images])
            kinds = np.concatenate([kinds, np.full(len(neutral.images), len(words))])
            words.append(GENERIC)
        return Arrays(_print(faces.title, pixels), pixels, kinds.astype(np.int64), tuple(words))
    texts: list[Sequence[str]] = (
        [words[k] for k in kinds] if faces.texts is None else [(text,) for text in faces.texts]
    )
    whole: Pictures = targets
    if neutral is not None:
        whole, texts = Joined(targets, neutral), texts + [GENERIC] * len(neutral)
    name = f"{faces.title}@{source.fingerprint}/{faces.digest}, n={len(whole)}"
    return Keyed(name, whole, tuple(texts))


def folder_faces(folder: Path, size: int, limit: int) -> Folder:
    """Return the images that ``metadata.csv`` (``file_name,text``) of a folder names.

    Raises:
        AubenchError: The table is missing, lacks a column or names a missing file.
    """
    table = read_table(folder / "metadata.csv")
    table.require("file_name", "text")
    rows = table.rows[: limit or None]
    for row in rows:
        if not row["file_name"] or not row["text"]:
            raise row.error("it lacks file_name or text", "fill in both")
        if not (folder / row["file_name"]).is_file():
            raise row.error(f"{row['file_name']} is missing", "mend its path")
    digest = sha256_bytes(table.path.read_bytes())[:12]
    paths = tuple(folder / row["file_name"] for row in rows)
    return Folder(f"{folder.name}@{digest}", paths, tuple(row["text"] for row in rows), size)


def load_pictures(settings: Settings, size: int) -> TrainingImages:
    """Return what stage 3 trains on, by data set name or folder.

    Raises:
        AubenchError: Neither a known data set nor a folder.
    """
    from aubench.datasets.registry import dataset_or_path

    found = dataset_or_path(settings.data, "a folder with metadata.csv")
    if isinstance(found, Path):
        return folder_faces(found, size, settings.limit)
    return au_faces(settings, size, references=False)


def _print(name: str, pixels: Any) -> str:
    """Return a name with a digest of count and of some of the pixels' rows."""
    some = np.ascontiguousarray(pixels[:: max(1, len(pixels) // 64)])
    return f"{name}@{sha256_bytes(some.tobytes())[:12]}, n={len(pixels)}"
