"""What GANimation trains on: faces with AU values, unpaired.

Either any data set of ``aubench.datasets``, or a folder in the layout of the official data:
``imgs/``, ``train_ids.csv`` (one file name a line) and ``aus_openface.pkl``, a pickle of {file
name without its ending: 17 intensities in 0..5 in the order of OpenFace's columns}; instead of the
pickle ``aus.csv`` with a column ``file`` and a column ``AU1`` … ``AU24`` for each of the 12 AUs,
labels or intensities.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aubench.datasets.labelled_faces import ArrayPictures, LabelledFaces, Pictures
from aubench.errors import AubenchError, suggest
from aubench.facs import AUS
from aubench.facs.coding import parse_intensity
from aubench.storage.files import sha256_bytes, sha256_file
from aubench.storage.pictures import load_picture
from aubench.storage.tables import Row, read_table
from aubench.storage.text_files import read_text
from aubench_baselines.ganimation.generator import OPENFACE, SCALE, SIZE

if TYPE_CHECKING:
    from aubench.datasets.dataset import Dataset

Images = npt.NDArray[np.uint8]
KINDS = ("intensities", "labels")
ARRAYS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),  # how Python 3 writes the bytes of an array at protocol 2
}


@dataclass(frozen=True)
class Faces:
    """Training faces.

    Attributes:
        aus: float32 [N, A], intensities over 5, or labels 0/1.
        numbers: AU of each column.
        images: Gives uint8 [B, size, size, 3] of rows.
        fingerprint: Identifies images and AUs.
    """

    aus: npt.NDArray[np.float32]
    numbers: tuple[int, ...]
    images: Callable[[npt.NDArray[np.int64]], Images]
    fingerprint: str

    @property
    def level(self) -> float:
        """Mean of the values of active AUs: what a bare label stands for."""
        active = self.aus[self.aus > 0]
        return round(float(active.mean()), 4) if len(active) else 1.0


def load_faces(data: str, kind: str, size: int, limit: int, fold: int | None = None) -> Faces:
    """Return the training faces of a data set or of a folder.

    Args:
        data: Name of a data set, or a path.
        kind: ``intensities`` or ``labels``.
        size: Side in pixels.
        limit: Only the first so many samples; 0 for all.
        fold: Fold of the data set.

    Raises:
        AubenchError: Unknown data or kind, a file that is missing, malformed or wrongly sized.
    """
    from aubench.datasets.registry import dataset_or_path

    if kind not in KINDS:
        raise AubenchError(f"unknown AUs '{kind}'{suggest(kind, KINDS)}", "labels or intensities")
    found = dataset_or_path(data, "a folder with imgs/ and train_ids.csv")
    if not isinstance(found, Path):
        return _dataset(found, kind, size, limit, fold)
    return _folder(found, kind, size, limit)


def _dataset(source: Dataset, kind: str, size: int, limit: int, fold: int | None) -> Faces:
    """Return targets and neutral references of the training part.

    The loss has no mask: faces with an unknown AU are left out. Sides that divide 128 are averaged
    from faces of 128 pixels, as the adapter does with references at generation.
    """
    whole = source.faces("train", source.usual_fold(fold))
    faces = whole.rows(whole.complete).head(limit)
    if not len(faces):
        raise AubenchError(
            f"no face of {whole.title} knows all twelve AUs", "ganimation learns from all of them"
        )
    factor = SIZE // size if SIZE % size == 0 else 1
    side = size * factor
    active = {key for key, row in zip(faces.keys, faces.labels, strict=True) if row.any()}
    names = sorted(set(faces.references) - active)  # who has no neutral face shows an AU there
    targets = source.pictures(faces, side, f"{faces.title} faces")
    references = source.pictures_of(names, side, f"{faces.title} references")
    values = np.concatenate([_values(faces, kind), np.zeros((len(names), len(AUS)), np.float32)])
    fingerprint = (
        f"{source.fingerprint} {faces.title} {len(faces)} targets, {len(names)} references, "
        f"{kind}, {side} px" + (f" averaged to {size}" if factor > 1 else "") + f", {faces.digest}"
    )
    images = _Images(_shrunk(targets, factor), _shrunk(references, factor), factor)
    return Faces(values, AUS, images, fingerprint)


def _values(faces: LabelledFaces, kind: str) -> npt.NDArray[np.float32]:
    """Return AU values float32 [N, 12]: labels, or intensities over 5.

    Raises:
        AubenchError: The intensity of an active AU is unknown.
    """
    if kind == "labels":
        return faces.labels.astype(np.float32)
    values = np.where(faces.labels == 0, 0.0, faces.intensities).astype(np.float32)
    lacking = np.isnan(values)
    if lacking.any():
        row, column = np.argwhere(lacking)[0]
        raise AubenchError(
            f"{faces.dataset}: the intensity of AU{AUS[column]} in {faces.keys[row]} is unknown "
            f"({int(lacking.any(1).sum()):,} faces in all)",
            "--set kind=labels",
        )
    return values / SCALE


def _shrunk(pictures: Pictures, factor: int) -> Pictures:
    """Return pictures in memory averaged once; others are averaged as they are read."""
    if isinstance(pictures, ArrayPictures):
        return ArrayPictures(shrink(pictures.images, factor))
    return pictures


@dataclass(frozen=True)
class _Images:
    """Targets, and behind them references, by row."""

    targets: Pictures
    references: Pictures
    factor: int

    def __call__(self, rows: npt.NDArray[np.int64]) -> Images:
        """Return uint8 [B, size, size, 3]."""
        count = len(self.targets)
        return np.stack(
            [
                self._one(self.targets, r) if r < count else self._one(self.references, r - count)
                for r in map(int, rows)
            ]
        )

    def _one(self, pictures: Pictures, row: int) -> Images:
        taken = pictures.take([row])
        if not isinstance(pictures, ArrayPictures):
            taken = shrink(taken, self.factor)
        one: Images = taken[0]
        return one


def shrink(images: Images, factor: int) -> Images:
    """Return uint8 [N, H, W, 3] as means of ``factor`` × ``factor`` pixels, rounded."""
    if factor == 1:
        return images
    n, side = len(images), images.shape[1] // factor
    out = np.empty((n, side, side, 3), np.uint8)
    for start in range(0, n, 512):  # a copy in floats of all would not fit
        part = images[start : start + 512].reshape(-1, side, factor, side, factor, 3)
        out[start : start + 512] = np.rint(part.mean((2, 4), dtype=np.float32))
    return out


def _folder(folder: Path, kind: str, size: int, limit: int) -> Faces:
    names = _ids(folder / "train_ids.csv")
    names = names[:limit] if limit else names
    numbers: tuple[int, ...]
    file = folder / "aus_openface.pkl"
    if file.is_file():
        table, numbers = read_openface(file), OPENFACE
    else:
        file = folder / "aus.csv"
        table, numbers = _read_csv(file), AUS
    lacking = [name for name in names if Path(name).stem not in table]
    if lacking:
        raise AubenchError(f"{file} has no AUs of {lacking[0]} ({len(lacking)} in all)")
    values = np.stack([table[Path(name).stem] for name in names]).astype(np.float32)
    if kind == "labels":
        # OpenFace's values are estimates; from 1.0, a trace, an AU counts as shown.
        values = (values >= 1).astype(np.float32)
    else:
        values /= SCALE
    paths = [folder / "imgs" / name for name in names]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise AubenchError(f"{missing[0]} is missing ({len(missing)} in all)")

    def images(rows: npt.NDArray[np.int64]) -> Images:
        return np.stack([_read_image(paths[r], size) for r in rows])

    digest = sha256_bytes("\n".join(names).encode() + sha256_file(file).encode())
    return Faces(values, numbers, images, f"{folder.name} {digest[:12]}, {len(names)}, {kind}")


def _ids(path: Path) -> list[str]:
    try:
        lines = read_text(path).splitlines()
    except OSError as error:
        raise AubenchError(f"cannot read {path}", "one file name of imgs/ a line") from error
    except ValueError as error:
        raise AubenchError(f"{path} {error}", "save it as UTF-8") from error
    names = [line.strip() for line in lines if line.strip()]
    if len(names) < 2:
        raise AubenchError(f"{path} names fewer than two images")
    strange = [name for name in names if Path(name).name != name]
    if strange:
        raise AubenchError(f"{path}: '{strange[0]}' is not a plain file name")
    return names


def _read_image(path: Path, size: int) -> Images:
    image = load_picture(path)
    if image.shape != (size, size, 3):
        raise AubenchError(
            f"{path} is {image.shape[1]} by {image.shape[0]} pixels, not {size} by {size}",
            "crop and resize the faces first",
        )
    return image


def _read_csv(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    if not path.is_file():
        raise AubenchError(
            f"{path.parent} holds neither aus_openface.pkl nor aus.csv", "see docs/ganimation.md"
        )
    table = read_table(path)
    columns = [f"AU{au}" for au in AUS]
    table.require("file", *columns)
    values = {}
    for row in table.rows:
        name = Path(row["file"]).stem
        if not name or name in values:
            raise row.error(f"file is '{row['file']}', empty or named before", "name each once")
        values[name] = np.array([_intensity(row, column) for column in columns], np.float32)
    return values


def _intensity(row: Row, column: str) -> float:
    """Return an intensity that is known."""
    try:
        value = parse_intensity(row[column], row.separator)
    except ValueError:
        value = float("nan")
    if value != value:
        raise row.error(f"{column} is '{row[column][:20]}'", "AU values must lie in 0..5")
    return value


def _checked(values: npt.NDArray[np.float32], where: str) -> npt.NDArray[np.float32]:
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= SCALE):
        raise AubenchError(f"{where}: AU values must lie in 0..5")
    return values


class _Restricted(pickle.Unpickler):
    """Reads dictionaries, lists, numbers, strings and numpy arrays, and nothing that can act."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAYS:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        if (module, name) == ("_codecs", "encode"):
            return _latin
        return super().find_class(module, name)


def _latin(text: object, encoding: object) -> bytes:
    """Return the bytes of an array; any other use of a codec is refused."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("only the bytes of arrays are decoded")
    return text.encode("latin-1")


def read_openface(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Return {image name: float32 [17] in 0..5} of a pickle, also one that Python 2 wrote.

    Raises:
        AubenchError: It is damaged, holds something else, or would run code.
    """
    try:
        loaded = _Restricted(io.BytesIO(path.read_bytes()), encoding="latin-1").load()
    except pickle.UnpicklingError as error:
        raise AubenchError(f"{path} is refused: {error}", "want a dict of arrays") from error
    except Exception as error:
        raise AubenchError(f"{path} is not a pickle of AUs: {type(error).__name__}") from error
    if not isinstance(loaded, dict) or not loaded:
        raise AubenchError(f"{path} holds no dictionary of AUs")
    return {str(name): _row(value, name, path) for name, value in loaded.items()}


def _row(value: object, name: object, path: Path) -> npt.NDArray[np.float32]:
    numbers = value if isinstance(value, Sequence | np.ndarray) else ()
    array = np.asarray(numbers)
    if array.dtype.kind not in "fiu" or array.shape != (len(OPENFACE),):
        raise AubenchError(f"{path}: '{name}' has not {len(OPENFACE)} AU values")
    return _checked(array.astype(np.float32), f"{path}: '{name}'")


def digest_of(faces: Faces) -> str:
    """Return a digest of fingerprint and AUs; a checkpoint of other data is refused."""
    return hashlib.sha256(faces.fingerprint.encode() + faces.aus.tobytes()).hexdigest()[:16]
