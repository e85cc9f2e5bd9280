"""Whether the texts that were attached to faces say what the faces' AU codes say."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aubench.datasets.imported.au_texts import read_texts
from aubench.datasets.imported.files import folder_of, read_index
from aubench.datasets.samples import LABELS
from aubench.facs import AUS
from aubench.networks.textau import load_text_au
from aubench.networks.textau.checks import check_reading
from aubench.networks.textau.corpus import UNKNOWN_AU
from aubench.networks.textau.report import exact, f1
from aubench.storage.files import write_text

CHECK = "text-check.csv"


@dataclass(frozen=True)
class Disagreement:
    """A text in which the classifier reads other AUs than were coded, or cannot read.

    Attributes:
        key: Of the face.
        text: Of it.
        missing: Coded AUs that are not read.
        added: AUs that are read and coded as absent.
        unsure: Why the text could not be read, empty where it could.
    """

    key: str
    text: str
    missing: tuple[int, ...]
    added: tuple[int, ...]
    unsure: str


@dataclass(frozen=True)
class TextCheck:
    """How the texts of a data set compare with its codes.

    Attributes:
        classifier: Id of the one that read them.
        texts: How many.
        f1: Mean over AUs, NaN where none is coded.
        exact: Share of texts of which all known AUs agree.
        unsure: Texts that could not be read.
        rows: Disagreements and texts that could not be read, in the order of the texts.
        path: Of the list.
    """

    classifier: str
    texts: int
    f1: float
    exact: float
    unsure: int
    rows: tuple[Disagreement, ...]
    path: Path

    def plain(self) -> dict[str, Any]:
        """Return the figures, without the rows."""
        return {
            "classifier": self.classifier,
            "texts": self.texts,
            "F1": round(self.f1, 4) if np.isfinite(self.f1) else None,
            "exact sets": round(self.exact, 4),
            "disagreements": sum(bool(row.missing or row.added) for row in self.rows),
            "unsure": self.unsure,
            "list": str(self.path),
        }


def check_attached(name: str, text_au: str | None = None) -> TextCheck:
    """Read the attached texts of a data set, compare with its codes, and list what differs.

    ``text-check.csv`` beside the texts holds a row a text that disagrees or cannot be read.

    Args:
        name: Of the imported data set.
        text_au: Classifier; None for the default.

    Raises:
        AubenchError: No texts were attached, or no such classifier.
    """
    model, table = load_text_au(text_au), read_texts(name)
    index = read_index(name, ["key", *LABELS]).drop_duplicates("key").set_index("key")
    coded = index.loc[table["key"], list(LABELS)].to_numpy(np.int8)
    labels = np.where(coded < 0, UNKNOWN_AU, coded).astype(np.uint8)
    texts = [str(text) for text in table["text"]]
    readings = model.read(texts)
    p = np.stack([reading.probabilities for reading in readings])
    rows, unsure = [], 0
    for key, text, reading, label in zip(table["key"], texts, readings, labels, strict=True):
        reason = check_reading(text, reading) or ""
        unsure += bool(reason)
        known = [(au, value) for au, value in zip(AUS, label, strict=True) if value != UNKNOWN_AU]
        missing = tuple(au for au, value in known if value and au not in reading.aus)
        added = tuple(au for au, value in known if not value and au in reading.aus)
        if missing or added or reason:
            rows.append(Disagreement(str(key), text, missing, added, reason))
    path = folder_of(name) / CHECK
    write_text(path, _as_csv(rows))
    return TextCheck(
        model.id, len(texts), f1(p, labels), exact(p, labels), unsure, tuple(rows), path
    )


def _as_csv(rows: list[Disagreement]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["key", "coded and not read", "read and not coded", "unsure", "text"])
    for row in rows:
        missing, added = ("+".join(map(str, aus)) for aus in (row.missing, row.added))
        writer.writerow([row.key, missing, added, row.unsure, row.text])
    return stream.getvalue()
