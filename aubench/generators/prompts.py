"""What a system without code here needs: requests as a table, references and targets as PNG."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aubench.errors import AubenchError
from aubench.progress import bar
from aubench.storage.files import atomic_path, sha256_bytes, write_text
from aubench.storage.run_folder import read_png, write_png

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from aubench.datasets.samples import ImageSource, SampleSet

TABLE, REFERENCES, CARD = "requests.csv", "references", "card.toml"
TARGET_TABLE, TARGETS = "targets.csv", "targets"
CARD_TEXT = """\
# Put this file beside your images and say what made them; all of it goes to the record.
# What you leave out is recorded as unknown.
# name = "my-system"                  # how tables call it
# inputs = ["text", "reference"]      # what it was given of text, au and reference
# training = "diffusion, 100 epochs"
# trained_on = ["BP4D"]
# metrics_in_training = []            # scorers it was trained with; tables mark them
# licence = "MIT"
# citation = "Doe et al. 2026"
"""


def _file_names(keys: Sequence[str]) -> dict[str, str]:
    """Return a file for each key; a key whose name another one has is told apart by its digest."""
    found: dict[str, str] = {}
    taken = set()
    for key in keys:
        name = re.sub(r"[^A-Za-z0-9.+=-]+", "-", key)
        if name in taken:
            name += f"-{sha256_bytes(key.encode())[:8]}"
        taken.add(name)
        found[key] = f"{REFERENCES}/{name}.png"
    return found


def _holds(path: Path, image: npt.NDArray[np.uint8]) -> bool:
    """Whether a file holds these pixels: a call that was killed may have written others."""
    import numpy as np

    try:
        return np.array_equal(read_png(path), image)
    except (OSError, ValueError, SyntaxError):
        return False


def write_prompts(samples: SampleSet, images: ImageSource, out: Path, size: int) -> int:
    """Write ``requests.csv``, ``references/*.png`` and a ``card.toml`` to fill in.

    Columns: ``sample_id``, ``text``, ``AU1`` to ``AU24`` (0/1), ``I1`` to ``I24`` (intensity in
    0..5, empty where unknown), ``seed``, ``reference`` (file), ``size`` (pixels wanted).
    Faces that are already there are kept, so that a run can be taken up again.

    Returns:
        The number of reference faces.

    Raises:
        AubenchError: The folder holds the requests of something else, or cannot be written.
    """
    from aubench.datasets.samples import INTENSITIES, LABELS

    frame = samples.frame
    keys = list(dict.fromkeys(str(key) for key in frame["reference"]))
    names = _file_names(keys)
    table = frame[["sample_id", "text", *LABELS, *INTENSITIES, "seed"]].assign(
        reference=[names[str(key)] for key in frame["reference"]], size=size
    )
    text = table.to_csv(index=False, float_format="%.4g", lineterminator="\n")
    faces = {names[key]: key for key in keys}
    _write_faces(_Faces(images, size, "references"), faces, out, TABLE, text)
    if not (out / CARD).is_file():
        write_text(out / CARD, CARD_TEXT)
    return len(keys)


def write_targets(samples: SampleSet, images: ImageSource, out: Path, size: int) -> int:
    """Write ``targets.csv`` and ``targets/SAMPLE_ID.png``, the faces that were asked for.

    Columns: ``sample_id``, ``subject``, ``combination``, ``strata``, ``target`` (file, empty where
    a sample has none). Taken up again as ``write_prompts`` is.

    Returns:
        The number of target faces.

    Raises:
        AubenchError: The folder holds the targets of something else, or cannot be written.
    """
    frame = samples.frame
    shown = frame[frame["target"].notna()]
    files = {
        f"{TARGETS}/{name}.png": str(key)
        for name, key in zip(shown["sample_id"], shown["target"], strict=True)
    }
    table = frame[["sample_id", "subject", "combination", "strata"]].assign(
        target=[
            f"{TARGETS}/{name}.png" if there else ""
            for name, there in zip(frame["sample_id"], frame["target"].notna(), strict=True)
        ]
    )
    text = table.to_csv(index=False, lineterminator="\n")
    _write_faces(_Faces(images, size, "targets"), files, out, TARGET_TABLE, text)
    return len(files)


@dataclass(frozen=True)
class _Faces:
    """Where faces come from, their side in pixels, and what a progress bar calls them."""

    images: ImageSource
    size: int
    label: str


def _write_faces(faces: _Faces, files: dict[str, str], out: Path, table: str, text: str) -> None:
    """Write faces by file and key, those that are not there yet, and then their table.

    Raises:
        AubenchError: The folder holds another table.
    """
    place = out / table
    if place.is_file() and place.read_text(encoding="utf-8") != text:
        raise AubenchError(f"{place} holds other {Path(table).stem}", "choose another --out")
    faces.images.prefetch(list(dict.fromkeys(files.values())), faces.size, faces.label)
    with bar(len(files), "write", "img") as progress:
        for name, key in files.items():
            image = faces.images.load(key, faces.size)
            if not _holds(out / name, image):
                write_png(out / name, image)
            progress.update(1)
    with atomic_path(place) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
