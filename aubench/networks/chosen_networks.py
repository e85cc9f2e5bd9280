"""Networks that a user chose for a data set, kept with it so that they need not be typed."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from aubench.datasets.imported.files import folder_of
from aubench.datasets.registry import find_dataset
from aubench.errors import AubenchError
from aubench.networks.network_choice import NO_WITNESS, NetworkChoice
from aubench.storage.files import write_text

CHOSEN_NETWORKS = "networks.json"


class ChosenNetworks(BaseModel):
    """What was chosen; None leaves what measures such data by default.

    Attributes:
        detectors: One or two AU detectors, ``A,B``, each with ``=FILE`` where it needs one.
        text_au: Classifier of AUs from text, a name or a folder.
        extractor: Extractor behind FID, KID and PRDC.
        witness: Detector that is reported beside the others, or ``none``.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    detectors: str | None = None
    text_au: str | None = None
    extractor: str | None = None
    witness: str | None = None


def place_of(dataset: str) -> Path:
    """Return the file that holds what was chosen for a data set."""
    return folder_of(dataset) / CHOSEN_NETWORKS


def read_chosen(dataset: str) -> ChosenNetworks:
    """Return what was chosen for a data set; nothing where there is no file.

    Raises:
        AubenchError: The file cannot be read.
    """
    path = place_of(dataset)
    if not path.is_file():
        return ChosenNetworks()
    try:
        return ChosenNetworks.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise AubenchError(
            f"{path} does not say which networks measure '{dataset}'",
            f"`aubench data set {dataset} --forget`, then choose again",
        ) from error


def choose(dataset: str, wanted: ChosenNetworks, device: str = "cpu") -> ChosenNetworks:
    """Keep networks with a data set, beside what was chosen for it before; return them all.

    Files and folders are kept by their absolute paths. All networks are loaded once, so that what
    is kept works.

    Raises:
        AubenchError: Unknown data set, one that ships with its networks, or a network that cannot
            be loaded.
    """
    if find_dataset(dataset).drawn_protocols:
        raise AubenchError(
            f"'{dataset}' ships with its networks, and its leaderboards with their numbers",
            "name others by an option of a run",
        )
    given = wanted.model_dump(exclude_none=True)
    if "text_au" in given and Path(given["text_au"]).is_dir():
        given["text_au"] = str(Path(given["text_au"]).resolve())
    for name in ("detectors", "witness"):
        if name in given:
            given[name] = ",".join(map(_absolute, given[name].split(",")))
    chosen = read_chosen(dataset).model_copy(update=given)
    _check(dataset, chosen, device)
    write_text(place_of(dataset), chosen.model_dump_json(indent=1, exclude_none=True) + "\n")
    return chosen


def forget(dataset: str) -> None:
    """Remove what was chosen for a data set.

    Raises:
        AubenchError: The data set is unknown.
    """
    find_dataset(dataset)
    place_of(dataset).unlink(missing_ok=True)


def _absolute(word: str) -> str:
    """Return ``NAME=FILE`` with the file's absolute path."""
    name, sign, file = word.strip().partition("=")
    return f"{name}={Path(file).resolve()}" if sign else name


def _check(dataset: str, chosen: ChosenNetworks, device: str) -> None:
    choice = NetworkChoice(
        extractor=chosen.extractor,
        detectors=chosen.detectors,
        witness=chosen.witness if chosen.witness != NO_WITNESS else None,
        text_au=chosen.text_au,
    )
    choice.check()
    choice.check_detectors(dataset, device)
