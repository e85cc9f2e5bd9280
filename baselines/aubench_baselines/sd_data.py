"""What the Stable Diffusion baseline trains on: images and texts, by row."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from aubench.errors import AubenchError
from aubench.files import sha256_bytes

if TYPE_CHECKING:
    import numpy.typing as npt

    from aubench_baselines.sd_loop import Settings

    Rows = npt.NDArray[np.int64]
    Images = npt.NDArray[np.uint8]

WORDINGS = 6
"""Texts of each AU combination of synfacs that a training draws from."""


class Pictures(Protocol):
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
            AubenchError: a file is not an image.
        """
        return np.stack([read_image(self.paths[int(row)], self.size) for row in rows])

    def texts(self, row: int) -> Sequence[str]:
        """Return the text of a row."""
        return self.words[row : row + 1]


def read_image(path: Path, size: int) -> Images:
    """Return uint8 [size, size, 3]: upright, shorter side to ``size`` (bicubic), centre crop.

    Raises:
        AubenchError: the file is missing or not an image.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            fitted = ImageOps.fit(
                ImageOps.exif_transpose(opened).convert("RGB"),
                (size, size),
                Image.Resampling.BICUBIC,
            )
    except (OSError, ValueError) as error:
        raise AubenchError(f"{path} is not a readable image") from error
    return np.asarray(fitted, dtype=np.uint8)


def neutral_faces(size: int, limit: int) -> Arrays:
    """Return the references of synfacs train and their mirror images, with generic texts."""
    from aubench.datasets.synfacs import load_split
    from aubench_baselines.sd_text import GENERIC

    _, references, _, _ = load_split("train", size, limit or None)
    pixels = np.concatenate([references, references[:, :, ::-1]])
    kinds = np.zeros(len(pixels), np.int64)
    return Arrays(_print("synfacs/train references", pixels), pixels, kinds, (GENERIC,))


def au_faces(size: int, limit: int, *, references: bool) -> Arrays:
    """Return the targets of synfacs train with AU texts; with the references if asked for.

    References, which stage 1 also sees, have no AU text and get generic ones.
    """
    from aubench.datasets.synfacs import load_split
    from aubench.describe import describe
    from aubench.facs import parse_aus
    from aubench_baselines.sd_text import GENERIC

    targets, neutral, _, frame = load_split("train", size, limit or None)
    names, kinds = np.unique(frame["combination"].to_numpy(str), return_inverse=True)
    words = [
        tuple(describe(parse_aus(str(name)), seed=k).text for k in range(WORDINGS))
        for name in names
    ]
    if references:
        targets = np.concatenate([targets, neutral])
        kinds = np.concatenate([kinds, np.full(len(neutral), len(words))])
        words.append(GENERIC)
    return Arrays(_print("synfacs/train", targets), targets, kinds.astype(np.int64), tuple(words))


def folder_faces(folder: Path, size: int, limit: int) -> Folder:
    """Return the images that ``metadata.csv`` (``file_name,text``) of a folder names.

    Raises:
        AubenchError: the table is missing, lacks a column or names a missing file.
    """
    table = folder / "metadata.csv"
    try:
        with table.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AubenchError(
            f"cannot read {table}: {error}", "a table with the columns file_name,text"
        ) from error
    for column in ("file_name", "text"):
        if not rows or not all(row.get(column) for row in rows):
            raise AubenchError(f"{table} lacks '{column}' in some row", "columns: file_name,text")
    rows = rows[: limit or None]
    paths = tuple(folder / row["file_name"] for row in rows)
    for path in paths:
        if not path.is_file():
            raise AubenchError(f"{table} names {path.name}, which is missing")
    digest = sha256_bytes(table.read_bytes())[:12]
    return Folder(f"{folder.name}@{digest}", paths, tuple(row["text"] for row in rows), size)


def load_pictures(data: str, size: int, limit: int) -> Pictures:
    """Return what stage 3 trains on, by data set name or folder.

    Raises:
        AubenchError: neither a known data set nor a folder.
    """
    if data == "synfacs":
        return au_faces(size, limit, references=False)
    if Path(data).is_dir():
        return folder_faces(Path(data), size, limit)
    raise AubenchError(
        f"sd15-lora cannot read data '{data}'", "synfacs, or a folder with metadata.csv"
    )


def only_synfacs(settings: Settings) -> None:
    """Refuse other data for a base, which is made of neutral faces of synfacs.

    Raises:
        AubenchError: other data were asked for.
    """
    if settings.data != "synfacs":
        raise AubenchError(
            f"stage {settings.stage} reads synfacs, not {settings.data}",
            "--stage 3 reads a folder with metadata.csv",
        )


def _print(name: str, pixels: Any) -> str:
    """Return a name with a digest of count and of some of the pixels' rows."""
    some = np.ascontiguousarray(pixels[:: max(1, len(pixels) // 64)])
    return f"{name}@{sha256_bytes(some.tobytes())[:12]}, n={len(pixels)}"
