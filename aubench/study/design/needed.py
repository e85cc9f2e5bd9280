"""Which samples a study draws, so that models need to make no others."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from aubench.errors import AubenchError
from aubench.storage.files import write_text
from aubench.study.design.files import DESIGN, read, text_of

NEEDED = "samples.json"


class Needed(BaseModel):
    """``samples.json``: the samples whose images every model must make."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    protocol: str
    data: str
    protocol_sha256: str
    samples: tuple[str, ...] = Field(min_length=1)

    @property
    def sha256(self) -> str:
        """Digest of the list."""
        return hashlib.sha256(text_of(self).encode()).hexdigest()


def read_needed(study: Path) -> Needed:
    """Read the list of a study that is planned.

    Raises:
        AubenchError: There is none.
    """
    if (study / DESIGN).is_file():
        raise AubenchError(f"{study} is made already", "its runs are complete")
    if not (study / NEEDED).is_file():
        raise AubenchError(
            f"{study} lists no samples ({NEEDED})", "`aubench study create … --plan` writes it"
        )
    return read(study / NEEDED, Needed)


def write_needed(needed: Needed, study: Path) -> Path:
    """Write the list into the folder of the study to be.

    Raises:
        AubenchError: The folder holds something else.
    """
    if study.exists() and not is_plan(study):
        raise AubenchError(f"{study} exists", "choose another --out; a study is never overwritten")
    write_text(study / NEEDED, text_of(needed), durable=True)
    return study / NEEDED


def is_plan(study: Path) -> bool:
    """Whether a folder holds a list of samples and nothing else."""
    return study.is_dir() and [path.name for path in study.iterdir()] == [NEEDED]


def take_plan(needed: Needed, study: Path) -> None:
    """Remove the list, since the study takes its place.

    Raises:
        AubenchError: It lists other samples than are drawn now.
    """
    if read_needed(study) != needed:
        raise AubenchError(
            f"{study / NEEDED} lists other samples than are drawn now",
            "give the options of the plan, --seed and --per-combination above all",
        )
    (study / NEEDED).unlink()
    study.rmdir()
