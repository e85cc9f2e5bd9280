"""The index of an import: a row a face, written with digests of content and pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from aubench.datasets.imported.files import INDEX, folder_of
from aubench.datasets.samples import INTENSITIES, LABELS
from aubench.storage.files import atomic_path

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Row:
    """A face of the index; see ``aubench.datasets.imported.files.read_index``."""

    key: str
    subject: str
    task: str
    frame: int
    sample: bool
    labels: npt.NDArray[np.int8]
    intensities: npt.NDArray[np.float32]
    reference: str
    source: str
    pixels: str
    pack: str

    def referring(self, reference: str) -> Self:
        """Return the row with its reference face."""
        return replace(self, reference=reference)


def write_index(name: str, rows: Sequence[Row]) -> tuple[str, str]:
    """Write the index; return the digests of its content and of its pixels.

    The content is keys, codes, source files and references: it does not depend on the machine that
    cropped the faces, unless its finder sees a face where another sees none.
    """
    import pandas as pd

    labels = np.stack([row.labels for row in rows])
    values = np.stack([row.intensities for row in rows])
    content, pixels = hashlib.sha256(), hashlib.sha256()
    for row in rows:
        about = (row.key, row.reference, row.source, str(row.sample))
        content.update("\x1f".join(about).encode() + b"\n")
        pixels.update(f"{row.key}\x1f{row.pixels}\n".encode())
    content.update(labels.tobytes())
    content.update(np.where(np.isnan(values), -1, values * 100).round().astype("<i4").tobytes())
    data: dict[str, Any] = {
        "key": [row.key for row in rows],
        "subject": pd.Categorical([row.subject for row in rows]),
        "task": pd.Categorical([row.task for row in rows]),
        "frame": np.array([row.frame for row in rows], np.int32),
        "sample": np.array([row.sample for row in rows], np.bool_),
        **{column: labels[:, i] for i, column in enumerate(LABELS)},
        **{column: values[:, i] for i, column in enumerate(INTENSITIES)},
        "reference": pd.Categorical([row.reference for row in rows]),
        "source": [row.source for row in rows],
        "pixels": [row.pixels for row in rows],
        "pack": pd.Categorical([row.pack for row in rows]),
    }
    with atomic_path(folder_of(name) / INDEX, durable=True) as temporary:
        pd.DataFrame(data).to_parquet(temporary, index=False)
    return content.hexdigest(), pixels.hexdigest()
