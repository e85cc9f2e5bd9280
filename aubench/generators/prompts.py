"""What a system without code here needs to take part: requests as a table, references as PNG."""

from __future__ import annotations

import re
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
    place = out / TABLE
    if place.is_file() and place.read_text(encoding="utf-8") != text:
        raise AubenchError(f"{place} holds other requests", "choose another --out")
    images.prefetch(keys, size, "references")
    with bar(len(keys), "write", "img") as progress:
        for key in keys:
            image = images.load(key, size)
            if not _holds(out / names[key], image):
                write_png(out / names[key], image)
            progress.update(1)
    with atomic_path(place) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    if not (out / CARD).is_file():
        write_text(out / CARD, CARD_TEXT)
    return len(keys)
