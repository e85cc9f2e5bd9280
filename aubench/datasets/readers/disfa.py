"""DISFA as distributed: one video a camera and subject, one file of intensities an AU.

``ActionUnit_Labels/SN001/SN001_au1.txt``; ``LeftVideoSN001_comp.avi`` and the like for the right.
DISFA codes seven of the twelve AUs; the five others are unknown in every frame.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aubench.datasets.readers.codings import Coding, CodingError, read_intensity
from aubench.datasets.readers.reader import Reader
from aubench.datasets.readers.sequences import Coded, Fault, SourceData, twelve
from aubench.datasets.readers.trees import Entry, read_entry, read_tree
from aubench.errors import AubenchError

CODES = re.compile(r"(?:^|/)(SN\d{3})_au(\d+)\.(?:txt|csv)$", re.I)
VIDEO = re.compile(r"(?:^|/)[^/]*(left|right)[^/]*?(SN\d{3})[^/]*\.(?:avi|mp4|mpg|mpeg|wmv)$", re.I)
THRESHOLD = 2
"""Least intensity of an active AU, as in ME-GraphAU and JAA-Net."""

CODED = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)
PUBLISHED = {"subjects": 27, "sequences": 27, "coded frames": 130_814}


@dataclass(frozen=True)
class DISFAReader(Reader):
    """Reads DISFA: a folder with videos and codes, these also inside an archive.

    Attributes:
        camera: ``left``, ``right`` or ``both``.
        threshold: Least intensity at which an AU is active.
    """

    camera: str = "left"
    threshold: float = THRESHOLD

    @property
    def kind(self) -> str:
        """The data set's name."""
        return "disfa"

    @property
    def published(self) -> dict[str, int]:
        """Counts of the data set as stated in public."""
        return PUBLISHED

    def check(self) -> None:
        """Refuse to begin where videos cannot be read.

        Raises:
            AubenchError: The package that reads videos is missing.
        """
        from aubench.datasets.readers.video import check_video

        check_video()

    def read(self, source: Path) -> SourceData:
        """Return a sequence a subject and camera.

        Raises:
            AubenchError: There is no folder, or no codes or no videos in it.
        """
        tree = read_tree(source, lambda path: bool(CODES.search(path) or VIDEO.search(path)))
        faults = [Fault("unreadable archive", name, why) for name, why in tree.broken.items()]
        codes: dict[str, dict[int, Entry]] = {}
        videos: dict[tuple[str, str], list[Entry]] = {}
        for entry in tree.entries:
            if found := CODES.search(entry.path):
                codes.setdefault(found.group(1).upper(), {}).setdefault(int(found.group(2)), entry)
            elif found := VIDEO.search(entry.path):
                side, subject = found.group(1).lower(), found.group(2).upper()
                if self.camera in ("both", side):
                    videos.setdefault((subject, side), []).append(entry)
        if not codes:
            raise AubenchError(
                f"no SN001_au1.txt or the like in {source}", "unpack ActionUnit_Labels"
            )
        if not videos:
            raise AubenchError(f"no video of the {self.camera} camera in {source}", "try --camera")
        sequences, count = [], 0
        for subject in sorted({*codes, *(key[0] for key in videos)}):
            sides = sorted(side for name, side in videos if name == subject)
            if subject not in codes:
                faults.append(Fault("missing label file", subject, "its video is left out"))
                continue
            if not sides:
                faults.append(Fault("label without frame", subject, "no video; left out"))
                continue
            graded = _codings(source, subject, codes[subject], faults)
            for side in sides:
                coded = _sequence(
                    subject, side, videos[subject, side], graded, self.threshold, faults
                )
                if coded is not None:
                    sequences.append(coded)
                    count += len(coded.frames)
        return SourceData(source, tuple(sequences), tuple(faults), count)


def _codings(
    root: Path, subject: str, files: dict[int, Entry], faults: list[Fault]
) -> list[Coding]:
    graded = []
    for au, entry in sorted(files.items()):
        try:
            data = read_entry(root, entry)
            if data is None:
                raise CodingError("cannot be read")
            coding = read_intensity(data, au)
        except CodingError as error:
            faults.append(Fault("unreadable label file", entry.place, f"{error}; unknown"))
            continue
        if coding.repeated:
            where = f"{subject} AU{au}"
            faults.append(Fault("label twice", where, f"{len(coding.repeated)} differ; unknown"))
        graded.append(coding)
    lacking = [f"AU{au}" for au in CODED if au not in files]
    if lacking:
        detail = f"{', '.join(lacking)} unknown"
        faults.append(Fault("missing label file", subject, detail))
    return graded


def _sequence(
    subject: str,
    side: str,
    found: Sequence[Entry],
    graded: Sequence[Coding],
    threshold: float,
    faults: list[Fault],
) -> Coded | None:
    loose = [entry for entry in found if entry.archive is None]
    if not loose:
        detail = f"inside {found[0].archive}; unpack it"
        faults.append(Fault("video in an archive", f"{subject}/{side}", detail))
        return None
    if len(loose) > 1:
        names = ", ".join(entry.path for entry in loose)
        faults.append(Fault("video twice", f"{subject}/{side}", f"{names}; the first is taken"))
    if not graded:
        return None
    frames, labels, values, others, _ = twelve(None, graded, threshold)
    return Coded(
        subject, side, frames, labels, values, others, (loose[0],) * len(frames), video=True
    )
