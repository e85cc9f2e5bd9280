"""Work of an import: some frames of a sequence to one archive of aligned faces and its ledger."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.datasets.face_finders import DEFAULT_FINDER, load_finder
from aubench.datasets.imported.files import member
from aubench.datasets.readers.trees import CORRUPT, Entry, read_entry
from aubench.storage.files import atomic_path
from aubench.storage.pictures import PictureError, is_plain, read_picture

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from aubench.datasets.alignment import Face

    Image = npt.NDArray[np.uint8]

GIVEN = ("landmarks", "none")
"""Ways to align for which no face is looked for."""
LEDGER = "ledger.json"
FOUND = "found"
Points = tuple[float, ...]


@dataclass(frozen=True)
class Cropping:
    """How faces are cut; a change cuts all of them anew.

    Attributes:
        align: A finder of faces, ``landmarks`` that are given, or ``none``, which takes a square
            image as it is.
        size: Side of the crop.
        device: Torch device of the finder; no part of the identity.
    """

    align: str = DEFAULT_FINDER
    size: int = 256
    device: str = "cpu"


@dataclass(frozen=True)
class Frame:
    """A frame to crop.

    Attributes:
        name: Name inside the pack, the last part of its key.
        image: File, or video.
        number: Number of the frame in a video, from 1; 0 of a single image.
        points: Five landmarks, ten numbers, where they are given.
    """

    name: str
    image: Entry
    number: int = 0
    points: Points | None = None


@dataclass(frozen=True)
class Job:
    """Frames that go into one pack.

    Attributes:
        root: Root of the source.
        path: Path of the pack.
        frames: Frames in the order of the sequence.
        cropping: How.
        first: Stop at the first frame whose face is found; for references.
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
        name: Name of the frame.
        status: ``found``, ``no face``, ``one colour`` of a crop that shows nothing,
            ``unreadable``, ``not square``, ``no landmarks``.
        source: First 16 digits of the digest of the file it came from, and the frame of a video.
        pixels: First 16 digits of the digest of the crop's pixels, empty if there is none.
        faces: How many were found.
        score: Score of the finder.
        notes: Notes of the finder, such as ``several faces``, joined by semicolons; or why it is
            unreadable.
    """

    name: str
    status: str
    source: str
    pixels: str = ""
    faces: int = 0
    score: float = 0.0
    notes: str = ""


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
        AubenchError: The pack cannot be written, a package is missing.
    """
    before = _before(job)
    rows: list[Cropped] = []
    with (
        atomic_path(job.path, durable=True) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as stream,
    ):
        for frame, source, image in _images(job):
            row, png = before.get((frame.name, source)) or _cropped(job, frame, source, image)
            rows.append(row)
            if png is not None:
                stream.writestr(zipfile.ZipInfo(member(frame.name)), png)
                if job.first:
                    break
        ledger = {
            "digest": job.digest,
            "cropping": _identity(job.cropping),
            "rows": [asdict(row) for row in rows],
        }
        stream.writestr(zipfile.ZipInfo(LEDGER), json.dumps(ledger))
    return rows


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


def _images(job: Job) -> Iterator[tuple[Frame, str, Image | PictureError]]:
    """Yield each frame, the digest of its source, and the picture, or why there is none."""
    if job.frames and job.frames[0].number:
        yield from _video_frames(job)
        return
    for frame in job.frames:
        data = read_entry(job.root, frame.image)
        if data is None:
            yield frame, "", PictureError("cannot be read")
            continue
        digest = hashlib.sha256(data).hexdigest()[:16]
        try:
            yield frame, digest, read_picture(data).pixels
        except PictureError as error:
            yield frame, digest, error


def _video_frames(job: Job) -> Iterator[tuple[Frame, str, Image | PictureError]]:
    from aubench.datasets.readers.video import read_frames

    path = job.root / job.frames[0].image.path
    digest = _video_digest(path, path.stat().st_mtime_ns)
    pictures = read_frames(path, [frame.number for frame in job.frames])
    for frame in job.frames:
        image = next(pictures, None)
        missing = PictureError("is no frame of the video")
        yield frame, f"{digest}:{frame.number}", missing if image is None else image


@lru_cache(maxsize=4)
def _video_digest(path: Path, changed: int) -> str:
    from aubench.storage.files import sha256_file

    return sha256_file(path)[:16]


def _cropped(
    job: Job, frame: Frame, source: str, image: Image | PictureError
) -> tuple[Cropped, bytes | None]:
    if isinstance(image, PictureError):
        return Cropped(frame.name, "unreadable", source, notes=str(image)), None
    if job.cropping.align in GIVEN:
        face, status = _given(job.cropping, frame, image)
        found = None
    else:
        face, found = _found(job.cropping, image)
        status = FOUND if face is not None else "no face"
    if face is None:
        return Cropped(frame.name, status, source), None
    if is_plain(face):
        return Cropped(frame.name, "one colour", source), None
    from PIL import Image as Picture

    pixels = hashlib.sha256(face.tobytes()).hexdigest()[:16]
    buffer = io.BytesIO()
    Picture.fromarray(face).save(buffer, format="PNG", compress_level=1)
    row = Cropped(frame.name, FOUND, source, pixels, 1, 1.0)
    if found is not None:
        notes = "; ".join(found.notes)
        row = replace(row, faces=found.count, score=round(found.score, 4), notes=notes)
    return row, buffer.getvalue()


def _given(cropping: Cropping, frame: Frame, image: Image) -> tuple[Image | None, str]:
    """Return the crop of an image whose face need not be found, or None, and the status."""
    import numpy as np
    from PIL import Image as Picture

    from aubench.datasets.alignment import align

    if cropping.align == "landmarks":
        if frame.points is None:
            return None, "no landmarks"
        points = np.array(frame.points, np.float32).reshape(5, 2)
        return align(image, points, cropping.size), FOUND
    high, wide = image.shape[:2]
    if abs(high - wide) > 0.01 * max(high, wide):
        return None, "not square"
    side = (cropping.size, cropping.size)
    small = Picture.fromarray(image).resize(side, Picture.Resampling.BICUBIC)
    return np.asarray(small, np.uint8), FOUND


def _found(cropping: Cropping, image: Image) -> tuple[Image | None, Face | None]:
    """Return the crop of the largest face, and the face."""
    import numpy as np

    from aubench.datasets.alignment import align

    face = load_finder(cropping.align, cropping.device)(image)
    if face is None:
        return None, None
    # Noise of the last digits, which differs between machines, moves hardly a pixel.
    steady = np.round(np.asarray(face.points) * 4) / 4
    return align(image, steady, cropping.size), face


def check_cropping(cropping: Cropping) -> None:
    """Refuse what cannot work, before any work.

    Raises:
        AubenchError: No such finder of faces, or its weights or package are missing.
    """
    if cropping.align not in GIVEN:
        load_finder(cropping.align, cropping.device)
