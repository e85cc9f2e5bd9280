"""Networks that a user chose to measure with."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aubench.datasets import default_networks
from aubench.errors import AubenchError
from aubench.networks.external_weights import MissingWeightsError
from aubench.networks.extractors.registry import check_extractor
from aubench.storage.files import sha256_bytes, write_text

PRIMARY_DETECTOR, INDEPENDENT_DETECTOR = "nano-a", "nano-b"
"""Detectors of synfacs. They have seen no photograph."""

NO_WITNESS = "none"

CHOSEN = "detectors.txt"
CHOSEN_TEXT = "text-au.txt"


@dataclass(frozen=True)
class NetworkChoice:
    """Networks that a user chose to measure with.

    Attributes:
        extractor: Extractor in place of the data set's own.
        legibility: Folder or hub id of a CLIP, None for none.
        detectors: One or two, ``A,B``, each with ``=FILE`` where its weights are not shipped; in
            place of the data set's own.
        witness: The detector that is reported beside these, likewise; ``none`` for none.
        text_au: Classifier of AUs from text: a shipped one's name, or a folder that
            ``aubench train-text-au`` wrote; None for the data set's own.
    """

    extractor: str | None = None
    legibility: str | None = None
    detectors: str | None = None
    witness: str | None = None
    text_au: str | None = None

    def check(self) -> None:
        """Refuse what is no extractor or no model, before any work; missing weights are no error.

        Raises:
            AubenchError: A name is unknown.
        """
        if self.extractor is not None:
            check_extractor(self.extractor)
        if self.legibility is not None:
            from aubench.networks.legibility import model_folder

            with suppress(MissingWeightsError):
                model_folder(self.legibility)
        if self.text_au is not None:
            from aubench.networks.textau import text_au_identity

            text_au_identity(self.text_au)

    def check_detectors(self, dataset: str, device: str) -> None:
        """Refuse detectors that cannot be used, before any work.

        Missing weights of the data set's own detectors are no error: their scores then say how to
        fetch them.

        Raises:
            AubenchError: One that was named cannot be loaded, or too many are named.
        """
        from aubench.networks.detectors import load_detectors

        words = self.detectors_of(dataset)
        if self.detectors is not None:
            load_detectors(words, device)
        if self.witness not in (None, NO_WITNESS):
            load_detectors(str(self.witness), device)

    def detectors_of(self, dataset: str) -> str:
        """Return the detectors that score a data set, ``A`` or ``A,B``.

        Raises:
            AubenchError: More than two are named.
        """
        words = self.detectors or default_networks(dataset).detectors
        if words.count(",") > 1:
            raise AubenchError(
                f"--detectors {words} are more than two", "name one or two, as in nano-a,nano-b"
            )
        return words

    def witness_of(self, dataset: str) -> str | None:
        """Return the detector that is reported beside them, None where there is none.

        There is none either where it is one of them.
        """
        word = self.witness or default_networks(dataset).witness
        names = [each.strip().partition("=")[0] for each in self.detectors_of(dataset).split(",")]
        return None if word == NO_WITNESS or word.partition("=")[0] in names else word

    def text_au_of(self, dataset: str) -> str:
        """Return the classifier that reads the texts of a data set's protocols."""
        return self.text_au or default_networks(dataset).text_au

    def write(self, folder: Path) -> None:
        """Keep detectors and text classifier with a run, so that `aubench compare` takes the same.

        Those of a former call on the folder are forgotten. A witness stands behind a bar, a folder
        is kept as an absolute path.
        """
        detectors, text = None, self.text_au
        if self.detectors is not None or self.witness is not None:
            detectors = self.detectors or ""
            detectors += f"|{self.witness}" if self.witness is not None else ""
        if text is not None and Path(text).is_dir():
            text = str(Path(text).resolve())
        for name, words in ((CHOSEN, detectors), (CHOSEN_TEXT, text)):
            path = folder / name
            if words is not None:
                write_text(path, f"{words}\n{sha256_bytes(words.encode())}\n")
            elif path.is_file():
                path.unlink()


DEFAULT_NETWORKS = NetworkChoice()


def chosen(folder: Path) -> NetworkChoice:
    """Return the choices that were kept with a run.

    Raises:
        AubenchError: The file is damaged.
    """
    detectors, _, witness = (_kept(folder / CHOSEN, "--detectors") or "").partition("|")
    return NetworkChoice(
        detectors=detectors or None,
        witness=witness or None,
        text_au=_kept(folder / CHOSEN_TEXT, "--text-au"),
    )


def _kept(path: Path, option: str) -> str | None:
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    words, _, digest = text.partition("\n")
    if digest.strip() != sha256_bytes(words.encode()):
        raise AubenchError(f"{path} is damaged", f"run the model again with {option}")
    return words.strip()
