"""Frozen protocols: a definition, its samples, and proof of what it claims."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from aubench.datasets import DEFAULT_DATASET
from aubench.errors import AubenchError, suggest
from aubench.facs.describe import Allocation
from aubench.storage.files import data_home, sha256_bytes, sha256_file
from aubench.storage.text_files import read_json, read_toml

if TYPE_CHECKING:
    from aubench.datasets.samples import SampleSet

DEFINITION, SAMPLES, PROOF, SUMS = "protocol.toml", "samples.csv", "proof.json", "SHA256SUMS"
CONSTANTS = "aaad.json"
SIDE_FILES = (PROOF, CONSTANTS, "folds.json", "reference")
"""How files begin that a protocol may hold besides, and that are read where they are there."""


class Definition(BaseModel):
    """What ``protocol.toml`` holds.

    ``unseen``: no AU combination of the samples occurs in train. ``graded``: intensities are
    commanded, the texts tell them, and the strata are sweeps and grids of levels. ``allocation``:
    which AUs our texts describe together; protocols that say nothing have the paper's. ``texts``:
    digest of the attached texts that stand in place of ours, empty where none do.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str = Field(pattern=r"^\d+\.\d+$")
    dataset: str
    size: int = Field(ge=32, le=1024)
    seed: int
    input: Literal["text", "labels"]
    samples: int = Field(ge=1)
    paper: str
    description: str
    unseen: bool = False
    graded: bool = False
    allocation: Allocation = "paper"
    texts: str = ""

    def lines(self) -> str:
        """Return ``protocol.toml``; what is as protocols of version 1 have it is left out."""
        told = self.model_dump()
        for name in ("graded", "allocation", "texts"):
            if told[name] == type(self).model_fields[name].default:
                del told[name]
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in told.items())


@dataclass(frozen=True)
class Protocol:
    """A protocol as frozen.

    Attributes:
        definition: What ``protocol.toml`` says.
        folder: Folder where it lies.
        sha256: Digest over definition and samples; part of every record.
    """

    definition: Definition
    folder: Path
    sha256: str

    @property
    def name(self) -> str:
        """Name, such as ``unseen``."""
        return self.definition.name

    @property
    def version(self) -> str:
        """Version; a change of any sample is a new one."""
        return self.definition.version

    @property
    def dataset(self) -> str:
        """Data set of the samples."""
        return self.definition.dataset

    @property
    def reference_set(self) -> str:
        """What stands as ``ref=`` in metric ids: data set, version, name and the digest in short.

        Two folds of one data set have all but the digest in common.
        """
        return f"{self.dataset}-{self.version}/{self.name}@{self.sha256[:8]}"

    @property
    def size(self) -> int:
        """Side of the images in pixels, unless a model asks otherwise."""
        return self.definition.size

    @property
    def seed(self) -> int:
        """Seed from which, with the sample id, the text and seed of a sample follow."""
        return self.definition.seed

    @property
    def inputs(self) -> frozenset[str]:
        """What a generator is told: text or AU labels, and the reference face."""
        return frozenset({"au" if self.definition.input == "labels" else "text", "reference"})

    def reference_keys(self) -> list[str]:
        """Return the images that FID and KID compare with: the protocol's own targets."""
        return [str(key) for key in self.samples().frame["target"].dropna()]

    def constants(self) -> dict[str, tuple[float, float]]:
        """Return AAAD's frozen constants, (low, high) by ``<detector id>|<target source>``.

        Empty where none were frozen; they are no part of the protocol's digest, since a new
        detector brings new ones and changes no sample.

        Raises:
            AubenchError: The file cannot be read.
        """
        path = self.folder / CONSTANTS
        if not path.is_file():
            return {}
        try:
            table = read_json(path)
            return {key: (float(low), float(high)) for key, (low, high) in table.items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise AubenchError(f"{path} holds no constants of AAAD", "restore it") from error

    def samples(self) -> SampleSet:
        """Return the samples; texts and seeds follow from sample ids and the protocol's seed.

        Raises:
            AubenchError: A row cannot be read.
        """
        return _samples(self)


def user_root() -> Path:
    """Return where protocols of the user's own data lie."""
    return data_home() / "protocols"


def protocol_roots(dataset: str) -> list[Path]:
    """Return the folders that may hold ``dataset/NAME``: what comes with it, and the user's own."""
    from aubench.datasets.registry import named_dataset

    brought = named_dataset(dataset).protocols
    return [brought, user_root()] if brought is not None else [user_root()]


def protocol_names(dataset: str = DEFAULT_DATASET, folder: Path | None = None) -> list[str]:
    """Return the names of the protocols of a data set."""
    roots = protocol_roots(dataset) if folder is None else [folder]
    found = {path.parent.name for root in roots for path in root.glob(f"{dataset}/*/{DEFINITION}")}
    return sorted(found)


def _known_datasets(folder: Path | None) -> list[str]:
    """Return the data sets that have protocols in a folder, or anywhere."""
    from aubench.datasets.dataset import GROUP

    if folder is not None:
        return sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    own = user_root().iterdir() if user_root().is_dir() else ()
    return sorted({*GROUP.names(), *(path.name for path in own if path.is_dir())})


def load_protocol(
    name: str, dataset: str = DEFAULT_DATASET, folder: Path | None = None
) -> Protocol:
    """Load a protocol and check that none of its files was edited.

    Raises:
        AubenchError: Unknown name, a file that is missing, edited or malformed.
    """
    datasets = _known_datasets(folder)
    names = protocol_names(dataset, folder) if dataset in datasets else []
    if not names:
        raise AubenchError(
            f"no protocols for data set '{dataset}'{suggest(dataset, datasets)}",
            f"choose from {', '.join(datasets)}, or import it and `aubench protocol freeze {name} "
            f"--data {dataset}`",
        )
    if name not in names:
        raise AubenchError(
            f"unknown protocol '{name}'{suggest(name, names)}", "`aubench protocols` lists them"
        )
    roots = protocol_roots(dataset) if folder is None else [folder]
    place = next(p for p in (root / dataset / name for root in roots) if (p / DEFINITION).is_file())
    digests = check_sums(place)
    path = place / DEFINITION
    try:
        definition = Definition.model_validate(read_toml(path))
    except ValueError as error:
        raise AubenchError(f"{path} is not a protocol: {str(error).splitlines()[0]}") from error
    whole = sha256_bytes((digests[DEFINITION] + digests[SAMPLES]).encode())
    return Protocol(definition, place, whole)


def check_sums(place: Path) -> dict[str, str]:
    """Return the digests of a protocol's files after checking each.

    Raises:
        AubenchError: Names the first file that is missing or differs.
    """
    sums = place / SUMS
    try:
        lines = sums.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise AubenchError(f"cannot read {sums}: {reason}", "restore it") from error
    digests = {}
    for line in lines:
        expected, _, name = line.partition("  ")
        path = place / name
        if not path.is_file():
            raise AubenchError(f"{path} is missing", "restore the frozen protocol")
        if sha256_file(path) != expected:
            raise AubenchError(
                f"{path} was edited since it was frozen",
                "restore it; a change is a new protocol version",
            )
        digests[name] = expected
    beside = [path.name for path in place.iterdir() if path.name.startswith(SIDE_FILES)]
    for name in (DEFINITION, SAMPLES, *sorted(beside)):
        if name not in digests:
            raise AubenchError(f"{sums} does not cover {name}", "restore the frozen protocol")
    return digests


@lru_cache(maxsize=4)
def _samples(protocol: Protocol) -> SampleSet:
    from aubench.datasets.registry import named_dataset

    definition = protocol.definition
    return named_dataset(definition.dataset).read_protocol(
        protocol.folder / SAMPLES,
        definition.seed,
        graded=definition.graded,
        allocation=definition.allocation,
    )


def disjointness(protocol: Protocol) -> dict[str, object]:
    """Recompute the proof that no AU combination of a protocol occurs in train.

    Returns:
        Number and digest of the train combinations, the combinations of the protocol, and those
        of them that do occur in train (empty if the claim holds).
    """
    from aubench.datasets.registry import named_dataset

    asked = sorted(set(protocol.samples().frame["combination"]))
    return named_dataset(protocol.dataset).protocol_proof(protocol.folder, asked)


def verify(protocol: Protocol) -> dict[str, object]:
    """Check digests, counts and, where it is claimed, the unseen-combination proof.

    Returns:
        What was found.

    Raises:
        AubenchError: A claim does not hold.
    """
    from aubench.datasets.registry import named_dataset

    check_sums(protocol.folder)
    samples = protocol.samples()
    if len(samples) != protocol.definition.samples:
        raise AubenchError(f"{protocol.name} has {len(samples)} samples, not as defined")
    found: dict[str, object] = {"samples": len(samples), "sha256": protocol.sha256}
    found |= named_dataset(protocol.dataset).check_protocol(protocol.folder, samples)
    if protocol.definition.unseen:
        proof = disjointness(protocol)
        stated = _stated_proof(protocol.folder / PROOF)
        if proof["in both"]:
            raise AubenchError(f"{protocol.name}: {proof['in both']} occur in train")
        if proof != stated:
            raise AubenchError(f"{protocol.folder / PROOF} differs from what was recomputed")
        found |= proof
    if protocol.definition.graded:
        found |= _check_levels(protocol)
    return found


def _check_levels(protocol: Protocol) -> dict[str, object]:
    """Count the sweeps and grids of a graded protocol after checking each.

    A sweep holds levels 0 to 5 of its AU, a grid every pair of levels 0, 1, 3, 5 of its two
    groups of AUs, nothing else, on one subject in one scene.
    """
    from aubench.datasets.samples import INTENSITIES
    from aubench.facs import AUS, parse_aus

    counts = {"sweeps": 0, "grids": 0}
    for (stratum, _), rows in protocol.samples().frame.groupby(["strata", "reference"]):
        kind, _, name = str(stratum).partition(" ")
        parts = name.split(" x ")
        if f"{kind}s" not in counts or len(parts) != 1 + (kind == "grid"):
            raise AubenchError(f"{protocol.name}: stratum '{stratum}' is no sweep and no grid")
        values = {tuple(map(float, row)) for row in rows[list(INTENSITIES)].to_numpy()}
        levels = range(6) if kind == "sweep" else (0, 1, 3, 5)
        groups = [parse_aus(part) for part in parts]
        wanted = {
            tuple(
                float(sum(x for x, aus in zip(cell, groups, strict=True) if au in aus))
                for au in AUS
            )
            for cell in product(levels, repeat=len(groups))
        }
        if values != wanted or len(rows) != len(wanted):
            raise AubenchError(
                f"{protocol.name}: '{stratum}' of {rows['subject'].iloc[0]} "
                "does not hold its levels"
            )
        counts[f"{kind}s"] += 1
    return dict(counts)


def _stated_proof(path: Path) -> object:
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise AubenchError(
            f"cannot read the proof {path}", "restore the frozen protocol"
        ) from error
