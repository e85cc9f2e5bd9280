"""Networks that a user chose to measure with."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aubench.datasets import DATASETS
from aubench.engine.commanded import RESPONSE
from aubench.errors import AubenchError
from aubench.files import sha256_bytes, write_text
from aubench.metrics.extractors import check_extractor
from aubench.weights import MissingWeightsError

FIRST, SECOND = "nano-a", "nano-b"
"""Detectors of synfacs. They have seen no photograph: for other data a user names two."""

DETECTED = frozenset({"aaad", "au", "control", RESPONSE})
CHOSEN = "detectors.txt"


@dataclass(frozen=True)
class Choices:
    """Networks that a user chose to measure with.

    Attributes:
        extractor: in place of the data set's own.
        legibility: folder or hub id of a CLIP, None for none.
        detectors: two, ``A,B``, each with ``=FILE`` where its weights are not shipped; in place
            of the data set's own.
    """

    extractor: str | None = None
    legibility: str | None = None
    detectors: str | None = None

    def check(self) -> None:
        """Refuse what is no extractor or no model, before any work; missing weights are no error.

        Raises:
            AubenchError: a name is unknown.
        """
        if self.extractor is not None:
            check_extractor(self.extractor)
        if self.legibility is not None:
            from aubench.metrics.legibility import model_folder

            with suppress(MissingWeightsError):
                model_folder(self.legibility)

    def check_detectors(self, dataset: str, metrics: Sequence[str], device: str) -> None:
        """Refuse detectors that cannot be used, before any work, where metrics ask for them.

        Raises:
            AubenchError: none are set for the data set, or one cannot be loaded.
        """
        if DETECTED.intersection(metrics):
            from aubench.detectors import load_detectors

            words = self.detectors_of(dataset)
            if self.detectors is not None:
                load_detectors(words, device)

    def detectors_of(self, dataset: str) -> str:
        """Return the two detectors that score a data set.

        Raises:
            AubenchError: the data set has none of its own and none are named, or not two.
        """
        if self.detectors is None and dataset not in DATASETS:
            raise AubenchError(
                f"no AU detectors are set for data '{dataset}'",
                "--detectors me-graphau=FILE,open-graphau=FILE, or py-feat; nano-a,nano-b have "
                "seen synfacs alone; --metrics without aaad, au, control needs none",
            )
        words = self.detectors or f"{FIRST},{SECOND}"
        if words.count(",") != 1:
            raise AubenchError(f"--detectors {words} are not two", "name two, as in nano-a,nano-b")
        return words

    def write(self, folder: Path) -> None:
        """Keep the detectors with a run and their digest, so that `aubench compare` takes the same.

        Those of a former call on the folder are forgotten.
        """
        path = folder / CHOSEN
        if self.detectors is not None:
            digest = sha256_bytes(self.detectors.encode())
            write_text(path, f"{self.detectors}\n{digest}\n")
        elif path.is_file():
            path.unlink()


USUAL = Choices()


def chosen(folder: Path) -> Choices:
    """Return the choices that were kept with a run.

    Raises:
        AubenchError: the file is damaged.
    """
    path = folder / CHOSEN
    if not path.is_file():
        return USUAL
    text = path.read_text(encoding="utf-8", errors="replace")
    words, _, digest = text.partition("\n")
    if digest.strip() != sha256_bytes(words.encode()):
        raise AubenchError(f"{path} is damaged", "run the model again with --detectors")
    return Choices(detectors=words.strip())
