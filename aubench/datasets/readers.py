"""One door to the readers: a kind of data, its folder, its options, to an import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aubench.datasets.crop_jobs import Cropping
from aubench.datasets.imported import check_name
from aubench.datasets.imports import Asked
from aubench.datasets.sequences import Found

KINDS = ("bp4d", "bp4dplus", "disfa", "folder")


@dataclass(frozen=True)
class Reading:
    """How a source is read; fields that do not belong to its kind are ignored.

    Attributes:
        columns: AUs of BP4D's occurrence files without header.
        mismatched: take sequences known not to match their codes.
        camera: of DISFA.
        threshold: least intensity of an active AU of DISFA.
        landmarks: folder of landmarks in place of a face finder.
        free: the user declares that a folder's images may be shown.
    """

    columns: tuple[int, ...] | None = None
    mismatched: bool = False
    camera: str = "left"
    threshold: float = 2.0
    landmarks: Path | None = None
    free: bool = False


def read_source(kind: str, source: Path, how: Reading) -> Found:
    """Return the coded sequences of a source.

    Raises:
        AubenchError: nothing of that kind is there.
    """
    if kind == "disfa":
        from aubench.datasets.disfa import read_disfa

        return read_disfa(source, camera=how.camera, threshold=how.threshold)
    if kind == "folder":
        from aubench.datasets.folder import read_folder

        return read_folder(source)
    from aubench.datasets.bp4d import read_bp4d

    return read_bp4d(source, kind, columns=how.columns, mismatched=how.mismatched)


def published(kind: str) -> dict[str, int]:
    """Return the counts of a data set as told in public; empty for folders."""
    from aubench.datasets import bp4d, disfa

    return {**bp4d.PUBLISHED, "disfa": disfa.PUBLISHED}.get(kind, {})


def asked_for(
    kind: str, name: str, how: Reading, cropping: Cropping, seed: int, processes: int | None
) -> Asked:
    """Return what is to be imported as what.

    Raises:
        AubenchError: the name cannot be used; videos cannot be read here; no landmarks.
    """
    from aubench.datasets.landmarks import Landmarks

    check_name(name)
    if kind == "disfa":
        from aubench.datasets.video import check_video

        check_video()
    own: dict[str, Any] = {}
    if kind == "disfa":
        own = {"camera": how.camera, "threshold": how.threshold}
    elif kind != "folder":
        own = {"mismatched": how.mismatched}
    return Asked(
        name=name,
        kind=kind,
        restricted=not (kind == "folder" and how.free),
        cropping=cropping,
        seed=seed,
        options=own,
        published=published(kind),
        processes=processes,
        landmarks=Landmarks(how.landmarks) if how.landmarks else None,
    )
