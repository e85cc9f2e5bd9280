"""Coded sequences of a data set: what a reader finds, before any image is opened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aubench.datasets.readers.codings import Coding
from aubench.datasets.readers.trees import Entry, read_entry
from aubench.facs import AUS
from aubench.facs.coding import UNKNOWN

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it should be, and what was done about it.

    Attributes:
        kind: Short, the same words for the same thing.
        where: File, sequence or frame.
        detail: What was found and done.
    """

    kind: str
    where: str
    detail: str = ""


@dataclass(frozen=True)
class Coded:
    """A sequence with its codes and, for each frame, where its image is.

    Attributes:
        subject: Subject, such as ``F001``.
        task: Task, such as ``T1``; empty where there are none.
        frames: Sorted int32 [N].
        labels: int8 [N, 12], -1 unknown.
        intensities: float32 [N, 12], NaN unknown.
        others: bool [N], an AU outside the twelve is active.
        images: File of each frame, None where there is none [N]; of a video all the same.
        names: Names of the frames in keys [N], None where the frame number is the name.
        video: Whether ``images`` are videos, frame 1 being the first.
    """

    subject: str
    task: str
    frames: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int8]
    intensities: npt.NDArray[np.float32]
    others: npt.NDArray[np.bool_]
    images: tuple[Entry | None, ...]
    names: tuple[str, ...] | None = None
    video: bool = False

    def name(self, row: int) -> str:
        """Return the name of a frame inside its sequence."""
        return self.names[row] if self.names else str(int(self.frames[row]))

    @property
    def id(self) -> str:
        """Subject and task."""
        return f"{self.subject}/{self.task}" if self.task else self.subject


@dataclass(frozen=True)
class SourceData:
    """What a reader found.

    Attributes:
        root: Folder of the images.
        sequences: Sorted by subject and task.
        faults: Faults in the order in which they were found.
        images: Number of images of coded sequences.
        attributes: Group by attribute, such as ``sex``, and subject.
        splits: Splits of subjects, where the data say so.
    """

    root: Path
    sequences: tuple[Coded, ...]
    faults: tuple[Fault, ...]
    images: int
    attributes: dict[str, dict[str, str]] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)


def twelve(
    occurrence: Coding | None, intensities: Iterable[Coding], threshold: float | None = None
) -> tuple[
    npt.NDArray[np.int32], npt.NDArray[np.int8], npt.NDArray[np.float32], npt.NDArray[np.bool_], int
]:
    """Return frames, labels, intensities of the twelve AUs, activity of others, contradictions.

    Args:
        occurrence: Occurrence of any AUs; None where labels follow from intensities.
        intensities: Each of some AUs.
        threshold: Least intensity at which an AU is active; None where ``occurrence`` says so.
            Without threshold an intensity that contradicts the label is unknown, and counted.
    """
    import numpy as np

    graded = list(intensities)
    base = [occurrence] if occurrence is not None else graded
    frames = np.unique(np.concatenate([c.frames for c in base])) if base else np.zeros(0, np.int32)
    labels = np.full((len(frames), len(AUS)), UNKNOWN, np.int8)
    values = np.full((len(frames), len(AUS)), np.nan, np.float32)
    others = np.zeros(len(frames), np.bool_)
    for coding, is_label in [*((c, False) for c in graded), *((c, True) for c in base[:1])]:
        if occurrence is None and is_label:
            continue
        rows = np.searchsorted(frames, coding.frames)
        known = np.flatnonzero((rows < len(frames)) & np.isin(coding.frames, frames))
        for k, au in enumerate(coding.aus):
            column, at = coding.values[known, k], rows[known]
            there = ~np.isnan(column)
            on = column >= (1 if is_label or threshold is None else threshold)
            if au not in AUS:
                others[at] |= there & on
                continue
            if not is_label:
                values[at, AUS.index(au)] = column
            if is_label or threshold is not None:
                labels[at[there], AUS.index(au)] = on[there]
    against = np.zeros(labels.shape, np.bool_)
    if threshold is None:
        with np.errstate(invalid="ignore"):
            against = ~np.isnan(values) & ((values > 0) != (labels == 1))
        count = int((against & (labels != UNKNOWN)).sum())
        values[against] = np.nan
        return frames, labels, values, others, count
    return frames, labels, values, others, 0


def match_images(
    root: Path, id_: str, frames: npt.NDArray[np.int32], images: Mapping[int, Sequence[Entry]]
) -> tuple[tuple[Entry | None, ...], list[Fault]]:
    """Return the image of each frame, and what does not match.

    An unpacked file is preferred to the archive's, unless its size is another: then it was cut
    short. Two different images of one frame are both left out.
    """
    faults, chosen = [], []
    for frame in map(int, frames):
        found = images.get(frame, ())
        image, fault = _one(root, found) if found else (None, "")
        if fault:
            faults.append(Fault("duplicated frame", f"{id_}/{frame}", fault))
        chosen.append(image)
    lacking = [int(f) for f in frames if int(f) not in images]
    coded = set(map(int, frames))
    uncoded = sorted(frame for frame in images if frame not in coded)
    if lacking:
        faults.append(Fault("label without frame", id_, spans(lacking)))
    if uncoded:
        faults.append(Fault("frame without label", id_, spans(uncoded)))
    return tuple(chosen), faults


def _one(root: Path, found: Sequence[Entry]) -> tuple[Entry | None, str]:
    loose = [entry for entry in found if entry.archive is None]
    packed = [entry for entry in found if entry.archive is not None]
    if len(found) == 1:
        return found[0], ""
    if len(loose) == 1 and packed and len({entry.size for entry in packed}) == 1:
        whole = loose[0].size == packed[0].size
        return (loose[0] if whole else packed[0]), ""
    contents = {read_entry(root, entry) for entry in found}
    names = ", ".join(entry.place for entry in found)
    if len(contents) == 1:
        return found[0], ""
    return None, f"{names} differ; left out"


def spans(numbers: Sequence[int]) -> str:
    """Return ``3, 5-9`` for sorted numbers, at most ten spans."""
    out: list[list[int]] = []
    for number in numbers:
        if out and number == out[-1][1] + 1:
            out[-1][1] = number
        else:
            out.append([number, number])
    shown = [f"{a}" if a == b else f"{a}-{b}" for a, b in out[:10]]
    more = f" and {len(out) - 10} more spans" if len(out) > 10 else ""
    return f"{len(numbers)}: {', '.join(shown)}{more}"


def by_sequence(
    entries: Iterable[tuple[tuple[str, str], int, Entry]],
) -> dict[tuple[str, str], dict[int, list[Entry]]]:
    """Return entries by sequence and frame number."""
    out: dict[tuple[str, str], dict[int, list[Entry]]] = defaultdict(lambda: defaultdict(list))
    for sequence, frame, entry in entries:
        out[sequence][frame].append(entry)
    return {key: dict(frames) for key, frames in out.items()}
