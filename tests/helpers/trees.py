"""Trees in the layouts of BP4D, BP4D+, DISFA and a folder, small, their faces from synfacs."""

from __future__ import annotations

import csv
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from aubench.datasets.readers.codings import BP4D_PLUS
from aubench.datasets.synfacs.rendered_images import SynfacsImages
from aubench.facs import AUS, labels_of, parse_aus
from aubench.synfacs.keys import format_key

SIZE = 64
SETS = ("neutral", "12", "6+12", "1+2", "neutral", "4+7", "6+12+15", "12+15", "1+4", "17+24")
"""AU sets of a sequence's frames, in order; a sequence may end earlier."""

BP4D_COLUMNS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 23, 24, 27, 28)
GRADED = (6, 10, 12, 14, 17)
DISFA_COLUMNS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
STRENGTH = 3


@dataclass(frozen=True)
class Shot:
    """A frame of a tree."""

    subject: str
    task: str
    frame: int
    labels: np.ndarray
    image: np.ndarray


def shots(subjects, tasks, count=10, first=2440, sets=SETS, size=SIZE, person=320) -> list[Shot]:
    """Return frames of every subject and task: a person each, from a number on, a scene each."""
    out = []
    for s, subject in enumerate(subjects):
        who = f"S{person + s:03d}"
        for t, task in enumerate(tasks):
            names = [sets[(i + t) % len(sets)] for i in range(count)]
            labels = [labels_of(parse_aus(name)) for name in names]
            keys = [format_key(who, row.astype(np.float32) * STRENGTH, t) for row in labels]
            images = SynfacsImages(1).load_many(keys, size)
            frames = [first + i for i in range(count)]
            out += [Shot(subject, task, *row) for row in zip(frames, labels, images, strict=True)]
    return out


def code(labels, au) -> int:
    """Return the code that a file holds: 9 for an AU outside the twelve."""
    return int(labels[AUS.index(au)]) if au in AUS else 9


def jpeg(image, **options) -> bytes:
    """Return an image as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=95, **options)
    return buffer.getvalue()


def write(path: Path, data: bytes | str) -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def occurrence(rows: list[Shot], columns=BP4D_COLUMNS, header=True, end="\n") -> str:
    """Return an AU_OCC file."""
    lines = [",".join(map(str, (0, *columns)))] if header else []
    lines += [",".join(map(str, (s.frame, *(code(s.labels, au) for au in columns)))) for s in rows]
    return end.join(lines) + end


def by_sequence(rows: list[Shot]) -> dict[tuple[str, str], list[Shot]]:
    """Return shots by subject and task."""
    out: dict[tuple[str, str], list[Shot]] = {}
    for shot in rows:
        out.setdefault((shot.subject, shot.task), []).append(shot)
    return out


def write_bp4d(root: Path, rows: list[Shot], padded=False, header=True) -> Path:
    """Write BP4D: frames unpacked, intensities in one file a sequence."""
    columns = BP4D_COLUMNS if header else AUS
    for (subject, task), group in by_sequence(rows).items():
        write(root / f"AUCoding/AU_OCC/{subject}_{task}.csv", occurrence(group, columns, header))
        lines = [",".join(map(str, (0, *GRADED)))]
        for s in group:
            values = [STRENGTH * code(s.labels, au) for au in GRADED]
            lines.append(",".join(map(str, (s.frame, *values))))
        write(root / f"AUCoding/AU_INT/{subject}_{task}.csv", "\n".join(lines) + "\n")
        for s in group:
            name = f"{s.frame:08d}" if padded else str(s.frame)
            write(root / subject / task / f"{name}.jpg", jpeg(s.image))
    return root


def write_bp4dplus(root: Path, rows: list[Shot], unpacked=()) -> Path:
    """Write BP4D+: an archive a subject, of some the frames unpacked; intensities a file an AU."""
    for subject in sorted({s.subject for s in rows}):
        mine = [s for s in rows if s.subject == subject]
        place = root / "2D+3D" / f"{subject}.zip"
        place.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as stream:
            for s in mine:
                stream.writestr(f"{subject}/{s.task}/{s.frame:06d}.jpg", jpeg(s.image))
                stream.writestr(f"{subject}/{s.task}/{s.frame:06d}.obj", "v 0 0 0\n")
        if subject in unpacked:
            for s in mine[: len(mine) // 2]:
                path = root / "2D+3D" / subject / s.task / f"{s.frame:06d}.jpg"
                write(path, jpeg(s.image))
    for (subject, task), group in by_sequence(rows).items():
        write(root / f"AUCoding/AU_OCC/{subject}_{task}.csv", occurrence(group, BP4D_PLUS))
        for au in GRADED:
            lines = [f"{s.frame},{STRENGTH * code(s.labels, au)}\n" for s in group]
            path = root / f"AUCoding/AU_INT/AU{au:02d}/{subject}_{task}_AU{au:02d}.csv"
            write(path, "".join(lines))
    return root


def write_disfa(root: Path, rows: list[Shot], cameras=("Left", "Right")) -> Path:
    """Write DISFA: a video a camera, a file of intensities an AU, frames from 1."""
    import av

    for subject in sorted({s.subject for s in rows}):
        mine = sorted((s for s in rows if s.subject == subject), key=lambda s: s.frame)
        for au in DISFA_COLUMNS:
            value = {s.frame: code(s.labels, au) % 9 * STRENGTH for s in mine}
            lines = [f"{frame},{level}\r\n" for frame, level in value.items()]
            write(root / f"ActionUnit_Labels/{subject}/{subject}_au{au}.txt", "".join(lines))
        for camera in cameras:
            path = root / f"Videos_{camera}Camera" / f"{camera}Video{subject}_comp.avi"
            path.parent.mkdir(parents=True, exist_ok=True)
            with av.open(str(path), "w") as container:
                stream = container.add_stream("mpeg4", rate=20)
                stream.width, stream.height = mine[0].image.shape[1::-1]
                stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
                for s in mine:
                    image = s.image if camera == "Left" else s.image[:, ::-1]
                    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
                    container.mux(stream.encode(picture))
                container.mux(stream.encode(None))
    return root


def write_folder(root: Path, rows: list[Shot], **columns) -> Path:
    """Write images and ``faces.csv``; ``columns`` are functions of a shot. Returns the CSV."""
    names = [f"{s.subject}/{s.task}-{s.frame}.png" for s in rows]
    root.mkdir(parents=True, exist_ok=True)
    with (root / "faces.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "subject", *columns, *(f"AU{au}" for au in AUS)])
        for name, s in zip(names, rows, strict=True):
            cells = [told(s) for told in columns.values()]
            writer.writerow([name, s.subject, *cells, *s.labels.tolist()])
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(s.image).save(path)
    return root / "faces.csv"
