"""What can be counted and read of a data set or a protocol, for its card.

Of data under an agreement only sums, digests and the names of columns come here: no image, no row.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from aubench.datasets.dataset import SPLITS
from aubench.datasets.samples import INTENSITIES, LABELS
from aubench.facs import AUS
from aubench.storage.files import sha256_bytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from aubench.datasets.dataset import Dataset
    from aubench.datasets.labelled_faces import LabelledFaces
    from aubench.protocols.protocol import Protocol

TEXT, INTEGER, FLOAT = "sc:Text", "sc:Integer", "sc:Float"
COLUMNS = {
    "sample_id": (TEXT, "Name of the sample, and of the image made for it."),
    "key": (TEXT, "Name of the face; of rendered faces the image follows from it alone."),
    "subject": (TEXT, "Who is seen."),
    "split": (TEXT, "train, validation or test; empty where the data have no split of their own."),
    "target": (TEXT, "Key of the face that shows what is commanded."),
    "reference": (TEXT, "Key of the same subject's neutral face."),
    "combination": (TEXT, "Active AUs, joined by +; neutral for none."),
    "intensities": (TEXT, "AU=level in 0 to 5, parted by blanks; unknown ones are left out."),
    "strata": (TEXT, "Group of samples that is reported apart."),
    "source": (TEXT, "File or frame from which the face was cut."),
    "text": (TEXT, "Description of the face that came with the data."),
    **{
        name: (INTEGER, f"AU{au}: 1 active, 0 absent, empty unknown.")
        for au, name in zip(AUS, LABELS, strict=True)
    },
    **{
        name: (FLOAT, f"Intensity of AU{au}, 0 to 5 (FACS A to E are 1 to 5), empty unknown.")
        for au, name in zip(AUS, INTENSITIES, strict=True)
    },
}
"""Croissant's type and the meaning of every column that a table of ours may have."""


def type_of(column: str) -> str:
    """Return Croissant's type of a column; text where a package of others brought it."""
    return COLUMNS[column][0] if column in COLUMNS else TEXT


def meaning_of(column: str) -> str:
    """Return what a column holds."""
    return COLUMNS[column][1] if column in COLUMNS else "A column of the data's own."


@dataclass(frozen=True)
class DataFile:
    """A file that a card names.

    Attributes:
        name: Name beside the card.
        encoding: Media type.
        about: What it holds.
        sha256: Digest of its bytes.
        size: Bytes.
        data: Its bytes; None where it must stay on the user's machines.
    """

    name: str
    encoding: str
    about: str
    sha256: str
    size: int
    data: bytes | None


@dataclass(frozen=True)
class Table:
    """A CSV file and the meaning of its columns.

    Attributes:
        name: Name of the set of records.
        file: The file.
        columns: Names of the columns, in order.
        key: Column that names a row; empty where none does.
        rows: How many.
    """

    name: str
    file: DataFile
    columns: tuple[str, ...]
    key: str
    rows: int


@dataclass(frozen=True)
class Contents:
    """What a card describes.

    Attributes:
        name: Name of data set, or of data set and protocol.
        about: What it is in a few words.
        version: ``MAJOR.MINOR.PATCH``; empty where there is none.
        restricted: Whether images and rows must stay on the user's machines.
        composition: Numbers and digests by what they are of.
        shares: Share of the faces in which each AU is active, of those where it is known.
        strata: Number of samples by stratum; empty for a data set.
        table: The rows.
        others: Further files.
    """

    name: str
    about: str
    version: str
    restricted: bool
    composition: dict[str, str]
    shares: dict[int, float]
    strata: dict[str, int]
    table: Table
    others: tuple[DataFile, ...] = ()

    @property
    def files(self) -> tuple[DataFile, ...]:
        """All files that are named."""
        return (self.table.file, *self.others)


def of_protocol(protocol: Protocol) -> Contents:
    """Return what a frozen protocol holds.

    Raises:
        AubenchError: Its samples cannot be read.
    """
    import pandas as pd

    from aubench.datasets.registry import named_dataset
    from aubench.protocols.protocol import DEFINITION, SAMPLES

    closed = named_dataset(protocol.dataset).restricted
    samples, told = protocol.samples(), protocol.definition
    data = (protocol.folder / SAMPLES).read_bytes()
    columns = tuple(str(name) for name in pd.read_csv(BytesIO(data), nrows=0).columns)
    file = _file(SAMPLES, "text/csv", "The samples as frozen.", data, closed=closed)
    definition = (protocol.folder / DEFINITION).read_bytes()
    frame = samples.frame
    return Contents(
        name=f"{protocol.dataset}-{protocol.name}",
        about=told.description,
        version=f"{protocol.version}.0",
        restricted=closed,
        composition={
            "data set": protocol.dataset,
            "samples": f"{len(samples):,}",
            "subjects": f"{frame['subject'].nunique():,}",
            "AU sets": f"{frame['combination'].nunique():,}",
            "a model is told": "AU labels" if told.input == "labels" else "a text",
            "size": f"{protocol.size} px",
            "AU sets absent from train": "all, with proof" if told.unseen else "not claimed",
            "sha256 of the protocol": protocol.sha256,
        },
        shares=_shares(samples.labels()),
        strata={str(k): int(v) for k, v in frame["strata"].value_counts().sort_index().items()},
        table=Table("samples", file, columns, "sample_id", len(samples)),
        others=(_file(DEFINITION, "application/toml", "Definition of the protocol.", definition),),
    )


def of_dataset(source: Dataset) -> Contents:
    """Return what a data set holds, all splits."""
    import numpy as np

    faces = _faces(source)
    data = faces.to_csv(index=False, float_format="%.4g", lineterminator="\n").encode()
    labels = faces[list(LABELS)].fillna(-1).to_numpy(np.int8)
    splits = faces["split"].value_counts()
    file = _file("faces.csv", "text/csv", "All faces.", data, closed=source.restricted)
    return Contents(
        name=source.name,
        about=source.description,
        version=_version(source),
        restricted=source.restricted,
        composition={
            "faces": f"{len(faces):,}",
            "subjects": f"{faces['subject'].nunique():,}",
            **{name: f"{splits[name]:,} faces" for name in SPLITS if name in splits},
            **({} if source.own_split else {"folds": str(source.folds)}),
            "coded AUs": ", ".join(map(str, source.coded)),
            "sha256 of the content": source.content,
            "pixels": source.fingerprint,
        },
        shares=_shares(labels),
        strata={},
        table=Table("faces", file, tuple(map(str, faces.columns)), "", len(faces)),
    )


def _faces(source: Dataset) -> pd.DataFrame:
    """Return the faces of all splits, references left out; unknown labels are missing.

    Columns: ``key``, ``subject``, ``split``, ``reference``, ``AU1`` to ``AU24``, ``I1`` to ``I24``.
    """
    import pandas as pd

    if source.own_split:
        parts = [_rows(source.faces(split)) for split in SPLITS]
        faces = pd.concat([part for part in parts if len(part)], ignore_index=True)
    else:
        index = source.index()
        faces = index[index["sample"].astype(bool)].assign(split="")
    labels = faces[list(LABELS)].astype("Int8")
    told = faces[["key", "subject", "split", "reference"]].assign(
        **{name: labels[name].mask(labels[name] < 0) for name in LABELS},
        **{name: faces[name] for name in INTENSITIES},
    )
    return told.reset_index(drop=True)


def _rows(faces: LabelledFaces) -> pd.DataFrame:
    """Return a row a face of one split."""
    import pandas as pd

    return pd.DataFrame(
        {
            "key": faces.keys,
            "subject": faces.subjects,
            "split": faces.split,
            "reference": faces.references,
            **{name: faces.labels[:, i] for i, name in enumerate(LABELS)},
            **{name: faces.intensities[:, i] for i, name in enumerate(INTENSITIES)},
        }
    )


def _version(source: Dataset) -> str:
    """Return the version of a data set of ours, which its renderer's id tells; else nothing."""
    if source.restricted or not source.drawn_protocols:
        return ""
    return f"{source.fingerprint.partition('+')[0].rpartition('-')[2]}.0.0"


def _shares(labels: npt.NDArray[np.integer]) -> dict[int, float]:
    """Return the share of active faces by AU, of those where it is known (negative is unknown)."""
    return {
        au: float((labels[:, i] == 1).sum() / known)
        for i, au in enumerate(AUS)
        if (known := int((labels[:, i] >= 0).sum()))
    }


def _file(name: str, encoding: str, about: str, data: bytes, *, closed: bool = False) -> DataFile:
    kept = None if closed else data
    return DataFile(name, encoding, about, sha256_bytes(data), len(data), kept)
