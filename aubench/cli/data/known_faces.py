"""Faces that were photographed, not drawn: one or some of a data set, labelled as far as known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from aubench.errors import AubenchError, suggest
from aubench.facs import AUS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from aubench.datasets.dataset import Dataset

ACROSS = 6
"""Faces a line of a sheet."""
LINE, LETTER = 12, 6
"""Pixels between lines of text, and of a letter; letters of the font are narrower."""


@dataclass(frozen=True)
class KnownFace:
    """A face of a data set and what is known of it.

    Attributes:
        key: Key of its image.
        subject: Person seen.
        active: Intensity by active AU; None unknown.
        absent: AUs coded as absent.
        unknown: AUs that nobody coded.
    """

    key: str
    subject: str
    active: dict[int, float | None]
    absent: tuple[int, ...]
    unknown: tuple[int, ...]

    @property
    def labels(self) -> list[str]:
        """What is known, a line each, as ``12=4.5+15=?`` and ``unknown 1 2``."""
        words = [f"{au}={'?' if v is None else f'{v:g}'}" for au, v in self.active.items()]
        nothing = "none of the AUs coded" if self.unknown else "neutral"
        lines = [f"AU {'+'.join(words)}" if words else nothing if self.absent else ""]
        if self.unknown:
            several = " ".join(map(str, self.unknown)) if len(self.unknown) < len(AUS) else "all"
            lines.append(f"unknown {several}")
        return [line for line in lines if line]

    def data(self) -> dict[str, Any]:
        """Return what ``--json`` tells of the face."""
        intensities = {str(au): value for au, value in self.active.items()}
        return {
            "key": self.key,
            "subject": self.subject,
            "intensities": intensities,
            "absent": list(self.absent),
            "unknown": list(self.unknown),
        }


def open_faces(dataset: str, restricted_faces: bool) -> Dataset:
    """Return a data set whose faces may be written.

    Raises:
        AubenchError: It is unknown, or restricted and nobody said that its faces may be shown.
    """
    from aubench.datasets.registry import find_dataset

    found = find_dataset(dataset)
    if found.restricted and not restricted_faces:
        raise AubenchError(
            f"images of {dataset} are restricted, so no face is written",
            "add --restricted-faces if your agreement allows it",
        )
    if found.restricted:
        click.echo(
            f"images of {dataset} are restricted: keep them where its agreement allows", err=True
        )
    return found


def one_face(dataset: Dataset, wanted: str) -> KnownFace:
    """Return the face of a key, or of a row of the data set's index, the first being 1.

    Raises:
        AubenchError: There is no such key and no such row.
    """
    index = dataset.index()
    keys = [str(key) for key in index["key"]]
    if wanted in keys:
        return _known(index, keys.index(wanted))
    if not wanted.isdecimal():
        near = suggest(wanted, keys)
        raise AubenchError(
            f"'{dataset.name}' has no face '{wanted}'{near}",
            f"a key, such as {keys[0]}, or a row, 1 to {len(keys)}",
        )
    if not 1 <= int(wanted) <= len(keys):
        raise AubenchError(f"'{dataset.name}' has no row {wanted}", f"choose 1 to {len(keys)}")
    return _known(index, int(wanted) - 1)


def some_faces(dataset: Dataset, count: int, subjects: Sequence[str] | None) -> list[KnownFace]:
    """Return samples of a data set, spread evenly over the rows of its index.

    Args:
        dataset: Data set.
        count: How many at most.
        subjects: Only these persons; all if None.

    Raises:
        AubenchError: A person is unknown.
    """
    import numpy as np

    index = dataset.index()
    index = index[index["sample"].astype(bool)].reset_index(drop=True)
    people = sorted(set(index["subject"].astype(str)))
    for name in subjects or ():
        if name not in people:
            raise AubenchError(
                f"'{dataset.name}' has no subject '{name}'{suggest(name, people)}",
                f"such as {', '.join(people[:5])}",
            )
    if subjects is not None:
        index = index[index["subject"].astype(str).isin(subjects)].reset_index(drop=True)
    rows = np.unique(np.linspace(0, len(index) - 1, min(count, len(index))).round().astype(int))
    return [_known(index, int(row)) for row in rows]


def _known(index: pd.DataFrame, row: int) -> KnownFace:
    import math

    face = index.iloc[row]
    codes = {au: int(face[f"AU{au}"]) for au in AUS}
    values = {au: float(face[f"I{au}"]) for au in AUS}
    return KnownFace(
        str(face["key"]),
        str(face["subject"]),
        {
            au: None if math.isnan(values[au]) else round(values[au], 2)
            for au, code in codes.items()
            if code == 1
        },
        tuple(au for au, code in codes.items() if code == 0),
        tuple(au for au, code in codes.items() if code < 0),
    )


def labelled_sheet(
    dataset: Dataset, faces: Sequence[KnownFace], size: int
) -> npt.NDArray[np.uint8]:
    """Return faces over their labels, six a line; uint8 [H, W, 3].

    Args:
        dataset: Whose images are read.
        faces: At least one.
        size: Side of a face in pixels.
    """
    import textwrap

    import numpy as np
    from PIL import Image, ImageDraw

    letters = max(8, size // LETTER)
    captions = []
    for face in faces:
        told = [f"{face.key} ({face.subject})", *face.labels]
        captions.append([part for line in told for part in textwrap.wrap(line, letters)])
    across = min(ACROSS, len(faces))
    cell = size + LINE * max(map(len, captions)) + LINE // 2
    height = cell * -(-len(faces) // across)
    sheet = Image.new("RGB", (across * (size + 4) - 4, height), "white")
    draw = ImageDraw.Draw(sheet)
    images = dataset.images().load_many([face.key for face in faces], size)
    for i, (image, lines) in enumerate(zip(images, captions, strict=True)):
        left, top = (i % across) * (size + 4), (i // across) * cell
        sheet.paste(Image.fromarray(image), (left, top))
        for step, line in enumerate(lines):
            draw.text((left + 1, top + size + LINE * step), line, fill="black")
    return np.asarray(sheet)
