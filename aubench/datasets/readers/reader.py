"""What a reader of data as distributed is: its kind, its own options, and where it looks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aubench.datasets.readers.sequences import SourceData


@dataclass(frozen=True)
class Reader(ABC):
    """Reads one kind of data; the fields of a subclass are its own options."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """What the data are called on the command line and in the record of an import."""

    @property
    def restricted(self) -> bool:
        """Whether the images must not leave the user's machines."""
        return True

    @property
    def published(self) -> Mapping[str, int]:
        """Counts of the data as stated in public; empty where there are none."""
        return {}

    def options(self) -> dict[str, Any]:
        """Return the options that a later import of the same data must share."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def check(self) -> None:  # noqa: B027 - most have nothing to refuse
        """Refuse what cannot work, before any work.

        Raises:
            AubenchError: A package is missing.
        """

    @abstractmethod
    def read(self, source: Path) -> SourceData:
        """Return the coded sequences of a source.

        Raises:
            AubenchError: Nothing of the kind is there, or a file cannot be understood.
        """
