"""Work of an import: some frames of a sequence to one archive of aligned faces and its ledger."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.datasets.trees import CORRUPT, Entry, read_entry
from aubench.errors import AubenchError
from aubench.files import atomic_path

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from aubench.alignment import Face

    Image = npt.NDArray[np.uint8]

LEDGER = "ledger.json"
FOUND = "found"
SEARCHED = 640
"""Longest side in pixels at which a face is looked for first."""

Points = tuple[float, ...]


@dataclass(frozen=True)
class Cropping:
    """How faces are cut; a change cuts all of them anew.

    Attributes:
        align: ``mtcnn`` finds the face, ``landmarks`` are given, ``none`` takes a square image as
            it is.
        size: side of the crop.
        device: torch device of the finder; no part of the identity.
    """

    align: str = "mtcnn"
    size: int = 256
    device: str = "cpu"


@dataclass(frozen=True)
class Frame:
    """A frame to crop.

    Attributes:
        name: inside the pack, the last part of its key.
        image: file, or video.
        number: of the frame in a video, from 1; 0 of a single image.
        points: five landmarks, ten numbers, where they are given.
    """

    name: str
    image: Entry
    number: int = 0
    points: Points | None = None


@dataclass(frozen=True)
class Job:
    """Frames that go into one pack.

    Attributes:
        root: of the source.
        path: of the pack.
        frames: in the order of the sequence.
        cropping: how.
        first: stop at the first frame whose face is found; for references.
    """

    root: Path
    path: Path
    frames: tuple[Frame, ...]
    cropping: Cropping
    first: bool = False

    @property
    def digest(self) -> str:
        """Identifies what was asked for; a pack with this digest need not be made again."""
        asked = [self.cropping.align, self.cropping.size, self.first]
        for f in self.frames:
            asked += [f.name, f.image.place, f.image.size, f.image.stamp, f.number, f.points]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


@dataclass(frozen=True)
class Cropped:
    """What became of a frame.

    Attributes:
        name: of the frame.
        status: ``found``, ``no face``, ``unreadable``, ``not square``.
        source: first 16 digits of the digest of the file it came from, and the frame of a video.
        pixels: first 16 digits of the digest of the crop's pixels, empty if there is none.
        faces: how many were found.
        score: of the finder.
    """

    name: str
    status: str
    source: str
    pixels: str = ""
    faces: int = 0
    score: float = 0.0


def read_ledger(path: Path) -> tuple[str, list[Cropped]] | None:
    """Return the digest and the rows of a pack, None if there is no whole pack."""
    try:
        with zipfile.ZipFile(path) as stream:
            data = json.loads(stream.read(LEDGER))
            return str(data["digest"]), [Cropped(**row) for row in data["rows"]]
    except (*CORRUPT, KeyError, TypeError, ValueError):
        return None


def finished(job: Job) -> list[Cropped] | None:
    """Return the rows of a job that is done, None if it is not."""
    found = read_ledger(job.path)
    return found[1] if found is not None and found[0] == job.digest else None


def crop(job: Job) -> list[Cropped]:
    """Do a job, taking over faces whose source is the same as before.

    Raises:
        AubenchError: the pack cannot be written, a package is missing.
    """
    before = _before(job)
    rows: list[Cropped] = []
    with (
        atomic_path(job.path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as stream,
    ):
        for frame, source, image in _images(job):
            row, png = before.get((frame.name, source)) or _cropped(job, frame, source, image)
            rows.append(row)
            if png is not None:
                stream.writestr(zipfile.ZipInfo(member(frame.name)), png)
                if job.first:
                    break
        ledger = {"digest": job.digest, "cropping": _identity(job.cropping),
                  "rows": [asdict(row) for row in rows]}  # fmt: skip
        stream.writestr(zipfile.ZipInfo(LEDGER), json.dumps(ledger))
    return rows


def member(name: str) -> str:
    """Return the name of a frame's face inside a pack."""
    return f"faces/{name}.png"


def _identity(cropping: Cropping) -> list[Any]:
    return [cropping.align, cropping.size]


def _before(job: Job) -> dict[tuple[str, str], tuple[Cropped, bytes | None]]:
    """Return what an older pack holds, if it was cropped in the same way."""
    if job.cropping.align == "landmarks":  # they may have moved
        return {}
    out: dict[tuple[str, str], tuple[Cropped, bytes | None]] = {}
    try:
        with zipfile.ZipFile(job.path) as stream:
            data = json.loads(stream.read(LEDGER))
            if data["cropping"] != _identity(job.cropping):
                return {}
            for values in data["rows"]:
                row = Cropped(**values)
                png = stream.read(member(row.name)) if row.status == FOUND else None
                out[row.name, row.source] = (row, png)
    except (*CORRUPT, KeyError, TypeError, ValueError):
        return {}
    return out


def _images(job: Job) -> Iterator[tuple[Frame, str, Image | None]]:
    """Yield each frame, the digest of its source, and the picture; None if it is unreadable."""
    if job.frames and job.frames[0].number:
        yield from _video_frames(job)
        return
    from aubench.datasets.crops import read_photograph

    for frame in job.frames:
        data = read_entry(job.root, frame.image)
        if data is None:
            yield frame, "", None
        else:
            digest = hashlib.sha256(data).hexdigest()[:16]
            yield frame, digest, read_photograph(io.BytesIO(data)) if data else None


def _video_frames(job: Job) -> Iterator[tuple[Frame, str, Image | None]]:
    from aubench.datasets.video import read_frames

    path = job.root / job.frames[0].image.path
    digest = _video_digest(path, path.stat().st_mtime_ns)
    pictures = read_frames(path, [frame.number for frame in job.frames])
    for frame in job.frames:
        yield frame, f"{digest}:{frame.number}", next(pictures, None)


@lru_cache(maxsize=4)
def _video_digest(path: Path, changed: int) -> str:
    from aubench.files import sha256_file

    return sha256_file(path)[:16]


def _cropped(
    job: Job, frame: Frame, source: str, image: Image | None
) -> tuple[Cropped, bytes | None]:
    if image is None:
        return Cropped(frame.name, "unreadable", source), None
    face, status, faces, score = _face(job.cropping, frame, image)
    if face is None:
        return Cropped(frame.name, status, source, "", faces, score), None
    from PIL import Image as Picture

    pixels = hashlib.sha256(face.tobytes()).hexdigest()[:16]
    buffer = io.BytesIO()
    Picture.fromarray(face).save(buffer, format="PNG", compress_level=1)
    return Cropped(frame.name, FOUND, source, pixels, faces, score), buffer.getvalue()


def _face(cropping: Cropping, frame: Frame, image: Image) -> tuple[Image | None, str, int, float]:
    """Return the crop or None, the status, the number of faces, the finder's score."""
    import numpy as np
    from PIL import Image as Picture

    from aubench.alignment import align

    if cropping.align == "none":
        high, wide = image.shape[:2]
        if abs(high - wide) > 0.01 * max(high, wide):
            return None, "not square", 0, 0.0
        side = (cropping.size, cropping.size)
        small = Picture.fromarray(image).resize(side, Picture.Resampling.BICUBIC)
        return np.asarray(small, np.uint8), FOUND, 1, 1.0
    if cropping.align == "landmarks":
        if frame.points is None:
            return None, "no landmarks", 0, 0.0
        points = np.array(frame.points, np.float32).reshape(5, 2)
        return align(image, points, cropping.size), FOUND, 1, 1.0
    face, scale = _search(cropping.device, image)
    if face is None:
        return None, "no face", 0, 0.0
    # Noise of the last digits, which differs between machines, moves hardly a pixel.
    steady = np.round(face.points / scale * 4) / 4
    return align(image, steady, cropping.size), FOUND, face.count, round(face.score, 4)


def _search(device: str, image: Image) -> tuple[Face | None, float]:
    """Return the largest face and the scale at which it was found.

    A large picture is searched small first, which is several times faster; whole if in vain.
    """
    import numpy as np
    from PIL import Image as Picture

    scale, finder = SEARCHED / max(image.shape), _finder(device)
    if scale < 1:
        side = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        small = Picture.fromarray(image).resize(side, Picture.Resampling.BICUBIC)
        face = finder(np.asarray(small, np.uint8))
        if face is not None:
            return face, scale
    return finder(image), 1.0


@lru_cache(maxsize=1)
def _finder(device: str) -> Any:
    from aubench.alignment import FaceFinder

    return FaceFinder(device)


def check_cropping(cropping: Cropping) -> None:
    """Refuse what cannot work, before any work.

    Raises:
        AubenchError: the package that finds faces is missing.
    """
    from importlib.util import find_spec

    if cropping.align == "mtcnn" and find_spec("facenet_pytorch") is None:
        raise AubenchError(
            "finding faces needs the package facenet-pytorch",
            "`pip install --no-deps facenet-pytorch`, or --align none for faces already cropped",
        )
