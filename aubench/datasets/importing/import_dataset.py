"""Importing: from coded sequences to aligned faces, references and an index; resumable."""

from __future__ import annotations

import csv
import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aubench.datasets.imported.files import (
    FAULTS,
    INDEX,
    RECORD,
    ImportRecord,
    check_name,
    folder_of,
    read_record,
)
from aubench.datasets.imported.index import Row, write_index
from aubench.datasets.importing.crop_jobs import (
    FOUND,
    Cropped,
    Cropping,
    Frame,
    Job,
    check_cropping,
    crop,
    finished,
)
from aubench.datasets.importing.references import candidates, coded_aus
from aubench.datasets.readers.sequences import Coded, Fault, SourceData
from aubench.errors import AubenchError
from aubench.facs import AUS
from aubench.progress import bar
from aubench.storage.files import atomic_path, sha256_file
from aubench.worker_processes import workers, working

if TYPE_CHECKING:
    from aubench.datasets.readers.landmarks import Landmarks
    from aubench.datasets.readers.reader import Reader

PACK, VIDEO_PACK, VIDEO_TRIES = 256, 2000, 4
"""Frames of a pack, the most that a kill can cost a process; a video is decoded for each pack."""


@dataclass(frozen=True)
class ImportRequest:
    """What is to be imported as what.

    Attributes:
        name: Of the data set.
        reader: Of the source, with its options.
        cropping: How faces are cut.
        seed: Draws the reference faces.
        processes: How many crop at once; one a core if None.
        landmarks: Points by sequence and frame, where they are given.
    """

    name: str
    reader: Reader
    cropping: Cropping = field(default_factory=Cropping)
    seed: int = 0
    processes: int | None = None
    landmarks: Landmarks | None = None

    def check(self) -> None:
        """Refuse what cannot work, before any work.

        Raises:
            AubenchError: The name cannot be used, or a package is missing.
        """
        check_name(self.name)
        self.reader.check()


def check_settings(request: ImportRequest) -> None:
    """Refuse to go on with an import in another way than it was begun.

    Raises:
        AubenchError: Names what differs.
    """
    if not (folder_of(request.name) / RECORD).is_file():
        return
    old = read_record(request.name)
    now = {
        "kind": request.reader.kind,
        "align": request.cropping.align,
        "size": request.cropping.size,
        "seed": request.seed,
        "options": request.reader.options(),
    }
    for key, value in now.items():
        if getattr(old, key) != value:
            raise AubenchError(
                f"'{request.name}' was imported with {key} {getattr(old, key)}, not {value}",
                "--fresh starts again, --name keeps both",
            )


def remove(name: str) -> None:
    """Remove an import and all its faces."""
    shutil.rmtree(folder_of(name), ignore_errors=True)


def import_found(request: ImportRequest, found: SourceData) -> ImportRecord:
    """Crop what a reader found and write the index; finished packs are not made again.

    Raises:
        AubenchError: Settings differ from those of the import so far, a package is missing, no face
            was found.
    """
    check_settings(request)
    check_cropping(request.cropping)
    jobs = [job for sequence in found.sequences for job in _jobs(request, found.root, sequence)]
    coded, people = coded_aus(found.sequences), _people(found.sequences)
    extra = [_reference_job(request, found.root, group, coded) for group in people.values()]
    tries = [job for job in extra if job is not None]
    done = _run([*jobs, *tries], request.processes)
    faults = list(found.faults)
    rows: list[Row] = []
    faces = _Faces(done, _of_several(people, done, request))
    for subject, group in people.items():
        rows += _rows(request, subject, group, coded, faces, faults)
    if not any(row.sample for row in rows):
        raise _no_face(request, found, faults)
    content, pixels = write_index(request.name, rows)
    _write_faults(request, faults)
    _tidy(folder_of(request.name) / "packs", {job.path for job in [*jobs, *tries]})
    attributes = {
        name: {f"{request.name}/{subject}": group for subject, group in sorted(table.items())}
        for name, table in sorted(found.attributes.items())
    }
    record = ImportRecord(
        request.name,
        request.reader.kind,
        request.reader.restricted,
        request.cropping.align,
        request.cropping.size,
        request.seed,
        request.reader.options(),
        counts_of(found) | _outcomes(rows, done, jobs),
        dict(request.reader.published),
        content,
        f"{request.name}-{pixels[:16]}",
        [au for au, known in zip(AUS, coded, strict=True) if known],
        attributes,
        {f"{request.name}/{name}": split for name, split in sorted(found.splits.items())},
        index_sha256=sha256_file(folder_of(request.name) / INDEX),
    )
    record.write()
    return record


def _no_face(request: ImportRequest, found: SourceData, faults: Sequence[Fault]) -> AubenchError:
    """Return why nothing was imported."""
    counts = counts_of(found)
    return AubenchError(
        f"no face in {found.root}: of {counts['coded frames']} coded frames "
        f"{counts['coded frames with image']} have an image, {counts['with an active AU']} of "
        "these an active AU",
        f"frames with image, face and an active AU are kept; see {_write_faults(request, faults)}",
    )


def counts_of(found: SourceData) -> dict[str, int]:
    """Return what was found, before any image is opened."""
    active = [(s.labels == 1).any(1) for s in found.sequences]
    there = [np.array([e is not None for e in s.images], np.bool_) for s in found.sequences]
    return {
        "subjects": len({s.subject for s in found.sequences}),
        "sequences": len(found.sequences),
        "coded frames": sum(len(s.frames) for s in found.sequences),
        "images": found.images,
        "coded frames with image": int(sum(t.sum() for t in there)),
        "with an active AU": int(sum((a & t).sum() for a, t in zip(active, there, strict=True))),
    }


def _outcomes(
    rows: Sequence[Row], done: dict[Path, list[Cropped]], jobs: Sequence[Job]
) -> dict[str, int]:
    frames = [row for job in jobs for row in done[job.path]]
    samples = [row for row in rows if row.sample]
    notes = Counter(note for row in frames if row.status == FOUND for note in _notes(row))
    lost = {
        status: sum(row.status == status for row in frames)
        for status in sorted({row.status for row in frames} - {FOUND})
    }
    return {
        "faces": len(samples),
        **lost,
        **{note: notes[note] for note in sorted(notes)},
        "with an unknown AU": sum(bool((row.labels < 0).any()) for row in samples),
        "neutral references": sum(not row.sample for row in rows),
    }


TAKEN = "taken as it is"


def _notes(cropped: Cropped) -> list[str]:
    return cropped.notes.split("; ") if cropped.notes else []


@dataclass(frozen=True)
class _Faces:
    """What became of the frames.

    Attributes:
        done: Rows of each pack.
        several: Subjects whose faces have the same pixels, by the digest of these.
    """

    done: dict[Path, list[Cropped]]
    several: dict[str, list[str]]

    def fault(self, cropped: Cropped, subject: str, key: str, outcome: str) -> Fault | None:
        """Return why a frame cannot be taken, None if it can."""
        if cropped.status != FOUND:
            why = f"{cropped.notes}; " if cropped.notes else ""
            return Fault(cropped.status, key, why + outcome)
        others = [name for name in self.several.get(cropped.pixels, ()) if name != subject]
        if others:
            return Fault("image of two subjects", key, f"also of {', '.join(others)}; {outcome}")
        return None


def _of_several(
    people: dict[str, list[Coded]], done: dict[Path, list[Cropped]], request: ImportRequest
) -> dict[str, list[str]]:
    """Return the subjects of pixels that more than one has, by their digest."""
    found: dict[str, set[str]] = {}
    for subject, group in people.items():
        paths = [job.path for sequence in group for job in _jobs(request, Path(), sequence)]
        for path in [*paths, _reference_path(request, subject)]:
            for cropped in done.get(path, []):
                if cropped.status == FOUND:
                    found.setdefault(cropped.pixels, set()).add(subject)
    return {pixels: sorted(names) for pixels, names in found.items() if len(names) > 1}


def _people(sequences: Sequence[Coded]) -> dict[str, list[Coded]]:
    out: dict[str, list[Coded]] = {}
    for sequence in sequences:
        out.setdefault(sequence.subject, []).append(sequence)
    return out


def _frame(request: ImportRequest, sequence: Coded, row: int) -> Frame:
    image, number = sequence.images[row], int(sequence.frames[row])
    assert image is not None
    name = sequence.name(row)
    points = request.landmarks.points(sequence, row) if request.landmarks else None
    inside = f"{sequence.task}/{name}" if sequence.task else name
    return Frame(inside, image, number if sequence.video else 0, points)


def _pack(name: str, sequence: Coded, number: int) -> Path:
    file = "_".join(part for part in (sequence.subject, sequence.task) if part)
    return folder_of(name) / "packs" / f"{_safe(file)}-{number:03d}.zip"


def _safe(name: str) -> str:
    """Return a file name; one that had to be changed is told apart by its digest."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
    if plain == name:
        return name
    return f"{plain}.{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _jobs(request: ImportRequest, root: Path, sequence: Coded) -> Iterator[Job]:
    """Yield the packs of a sequence: its frames with an active AU and an image."""
    active = (sequence.labels == 1).any(1)
    rows = [i for i in np.flatnonzero(active) if sequence.images[int(i)] is not None]
    step = VIDEO_PACK if sequence.video else PACK
    for number, start in enumerate(range(0, len(rows), step)):
        frames = tuple(_frame(request, sequence, int(i)) for i in rows[start : start + step])
        yield Job(root, _pack(request.name, sequence, number), frames, request.cropping)


def _reference_job(
    request: ImportRequest, root: Path, group: Sequence[Coded], coded: Any
) -> Job | None:
    tries = candidates(group, coded, request.seed)
    if not tries:
        return None
    video = group[tries[0][0]].video
    if video:  # a job reads one video, in rising order, and is not stopped by the first face
        same = [(i, row) for i, row in tries if i == tries[0][0]]
        tries = sorted(same[:VIDEO_TRIES], key=lambda t: t[1])
    frames = tuple(_frame(request, group[i], row) for i, row in tries)
    return Job(
        root, _reference_path(request, group[0].subject), frames, request.cropping, not video
    )


def _reference_path(request: ImportRequest, subject: str) -> Path:
    return folder_of(request.name) / "packs" / f"{_safe(subject)}-reference.zip"


def _run(jobs: Sequence[Job], processes: int | None) -> dict[Path, list[Cropped]]:
    """Return the rows of each pack, cropping what is not finished."""
    done: dict[Path, list[Cropped]] = {}
    for job in jobs:
        rows = finished(job)
        if rows is not None:
            done[job.path] = rows
    left = [job for job in jobs if job.path not in done]
    total = sum(_weight(job) for job in jobs)
    before = total - sum(_weight(job) for job in left)
    with bar(total, "faces", "img", initial=before) as progress:
        count = processes or workers()
        with working(crop, [(job,) for job in left], count, "cropping") as found:
            for job, rows in zip(left, found, strict=True):
                done[job.path] = rows
                progress.update(_weight(job))
    return done


def _weight(job: Job) -> int:
    return 1 if job.first else len(job.frames)


def _rows(
    request: ImportRequest,
    subject: str,
    group: Sequence[Coded],
    coded: Any,
    faces: _Faces,
    faults: list[Fault],
) -> list[Row]:
    """Return a person's rows of the index: samples in order, and the reference before them."""
    who, out = f"{request.name}/{subject}", []
    for sequence in group:
        places = {sequence.name(i): i for i in range(len(sequence.frames))}
        for job in _jobs(request, Path(), sequence):
            for cropped in faces.done[job.path]:
                key = f"{who}/{cropped.name}"
                fault = faces.fault(cropped, subject, key, "left out")
                if fault is not None:
                    faults.append(fault)
                    continue
                faults += [Fault(note, key, TAKEN) for note in _notes(cropped)]
                i = places[cropped.name.split("/", 1)[1] if sequence.task else cropped.name]
                out.append(_row(who, key, sequence, i, cropped, job.path, sample=True))
    reference = _reference(request, subject, group, coded, faces, faults)
    if reference is not None:
        return [row.referring(reference.key) for row in [reference, *out]]
    if not out:
        faults.append(Fault("subject without face", subject, "left out"))
        return []
    faults.append(Fault("no neutral frame", subject, f"{out[0].key} is the reference"))
    return [row.referring(out[0].key) for row in out]


def _reference(
    request: ImportRequest,
    subject: str,
    group: Sequence[Coded],
    coded: Any,
    faces: _Faces,
    faults: list[Fault],
) -> Row | None:
    """Return the first neutral frame, in the order drawn, whose face was found."""
    path = _reference_path(request, subject)
    rows = {cropped.name: cropped for cropped in faces.done.get(path, [])}
    for i, row in candidates(group, coded, request.seed) if rows else ():
        sequence = group[i]
        inside = f"{sequence.task}/{sequence.name(row)}" if sequence.task else sequence.name(row)
        cropped = rows.get(inside)
        if cropped is None:
            continue
        who = f"{request.name}/{subject}"
        key = f"{who}/{inside}"
        fault = faces.fault(cropped, subject, key, "not taken as reference")
        if fault is None:
            return _row(who, key, sequence, row, cropped, path, sample=False)
        faults.append(fault)
    return None


def _row(
    who: str, key: str, sequence: Coded, i: int, cropped: Cropped, pack: Path, *, sample: bool
) -> Row:
    return Row(
        key,
        who,
        sequence.task,
        int(sequence.frames[i]),
        sample,
        sequence.labels[i],
        sequence.intensities[i],
        "",
        cropped.source,
        cropped.pixels,
        pack.name,
    )


def _tidy(folder: Path, kept: set[Path]) -> None:
    """Remove packs of frames that are gone, and what a kill left."""
    for path in folder.iterdir():
        if path not in kept:
            path.unlink()


def _write_faults(request: ImportRequest, faults: Sequence[Fault]) -> Path:
    path = folder_of(request.name) / FAULTS
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.DictWriter(stream, ["kind", "where", "detail"])
        writer.writeheader()
        writer.writerows(asdict(fault) for fault in faults)
    return path
