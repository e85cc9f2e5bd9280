"""Fresh instances of synfacs 2 protocols: from a secret seed, sealed first and revealed later.

Nobody has trained on the subjects of a fresh draw, nor seen its samples before the seed is told:
who commits to weights and code after the seal and before that cannot have looked them up. The seal
is a digest of the seed, so that nobody can choose another one afterwards.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from aubench.errors import AubenchError, suggest
from aubench.protocols.protocol import DEFINITION, SAMPLES, user_root
from aubench.protocols.synfacs2_draws import DATASET, PLANS, frame_of_plan
from aubench.protocols.synfacs_draws import write_sums
from aubench.storage.files import sha256_bytes, write_text
from aubench.storage.text_files import read_json, read_text

SEAL, SEED = "seal.json", "seed.txt"
PEOPLE = 200
"""Subjects of a draw, as many as a protocol's test subjects."""
SHORT = 8
"""Digits of the seal in the name of a draw."""
FRESH = re.compile(rf"(.+)-[0-9a-f]{{{SHORT}}}")
"""Names of draws: the protocol's and the first digits of the seal."""


@dataclass(frozen=True)
class Seal:
    """The digest of a secret seed for one protocol.

    Attributes:
        protocol: Name of the protocol that is drawn anew.
        dataset: Its data set.
        version: Its version.
        digest: sha256 of all three and the seed.
    """

    protocol: str
    dataset: str
    version: str
    digest: str

    @property
    def name(self) -> str:
        """Name of the draw."""
        return f"{self.protocol}-{self.digest[:SHORT]}"


def check_plan(protocol: str, dataset: str) -> None:
    """Refuse what cannot be drawn anew.

    Raises:
        AubenchError: Another data set, or no protocol of it.
    """
    if dataset != DATASET:
        raise AubenchError(
            f"protocols of '{dataset}' cannot be drawn anew: it has no subjects without end",
            f"use --data {DATASET}",
        )
    if protocol not in PLANS:
        raise AubenchError(
            f"unknown protocol '{protocol}'{suggest(protocol, PLANS)}",
            f"choose from {', '.join(PLANS)}",
        )


def seal(protocol: str, dataset: str, out: Path) -> Seal:
    """Choose a secret seed; write it and its seal into a folder, and return the seal.

    Raises:
        AubenchError: The folder holds a seed already, or the protocol cannot be drawn anew.
    """
    check_plan(protocol, dataset)
    if (out / SEED).exists():
        raise AubenchError(f"{out / SEED} exists", "choose another --out; a seed is used once")
    seed = secrets.token_hex(32)
    found = _seal_of(protocol, dataset, seed)
    write_text(out / SEED, seed + "\n", durable=True)
    (out / SEED).chmod(0o600)
    text = json.dumps(found.__dict__ | {"draw": found.name}, indent=1) + "\n"
    write_text(out / SEAL, text, durable=True)
    return found


def _seal_of(protocol: str, dataset: str, seed: str) -> Seal:
    version = PLANS[protocol].definition.version
    words = f"aubench draw|{dataset}|{protocol}|{version}|{seed}"
    return Seal(protocol, dataset, version, sha256_bytes(words.encode()))


def read_seed(path: Path) -> str:
    """Return the seed of a file: one line of at least sixteen characters.

    Raises:
        AubenchError: It cannot be read, or holds anything else.
    """
    try:
        words = read_text(path).split()
    except (OSError, ValueError) as error:
        raise AubenchError(f"cannot read the seed {path}", "name the file of the seed") from error
    if len(words) != 1 or len(words[0]) < 16:
        raise AubenchError(
            f"{path} holds no seed: one word of 16 characters or more is wanted",
            "`aubench protocol seal` makes one",
        )
    return words[0]


def read_seal(path: Path) -> Seal:
    """Return a published seal.

    Raises:
        AubenchError: The file is none.
    """
    try:
        data = read_json(path)
        return Seal(*(str(data[key]) for key in ("protocol", "dataset", "version", "digest")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AubenchError(f"{path} is no seal", "`aubench protocol seal` writes one") from error


def draw(
    protocol: str, dataset: str, seed_file: Path, root: Path | None = None
) -> tuple[Seal, Path]:
    """Write a fresh instance of a protocol among the user's own; return its seal and folder.

    The same seed gives the same bytes everywhere.

    Args:
        protocol: Name of the protocol.
        dataset: Its data set.
        seed_file: File of the seed.
        root: Folder in place of the user's protocols.

    Raises:
        AubenchError: The protocol cannot be drawn anew, or the file holds no seed.
    """
    from aubench.datasets.synfacs2.synfacs2_dataset import SCENES
    from aubench.synfacs2.keys import FRESH as NUMBERS
    from aubench.synfacs2.keys import SCENE_MAX

    check_plan(protocol, dataset)
    seed = read_seed(seed_file)
    found = _seal_of(protocol, dataset, seed)
    numbers = [int(sha256_bytes(f"{part}|{seed}".encode())[:12], 16) for part in ("people", "draw")]
    most = min(NUMBERS.stop, SCENE_MAX // SCENES)  # scenes are numbered by subject
    start = NUMBERS.start + numbers[0] % (most - PEOPLE - NUMBERS.start)
    number = numbers[1] % 2**31
    plan = PLANS[protocol]
    told = plan.definition.model_copy(
        update={
            "name": found.name,
            "seed": number,
            "unseen": False,  # its claim is the plan's; the proof is that of the public protocol
            "paper": "none",
            "description": f"A fresh draw of {protocol}, subjects {start} to {start + PEOPLE - 1}.",
        }
    )
    fresh = replace(plan, definition=told)
    frame = frame_of_plan(fresh, number, range(start, start + PEOPLE))
    place = (root or user_root()) / dataset / found.name
    rows = frame[["sample_id", "target", "reference", "strata"]]
    write_text(place / SAMPLES, rows.to_csv(index=False, lineterminator="\n"))
    write_text(place / DEFINITION, told.lines())
    write_sums(place, [DEFINITION, SAMPLES])
    return found, place


def reveal(seal_file: Path, seed_file: Path, root: Path | None = None) -> tuple[Seal, Path]:
    """Draw with a seed that was sealed, after proving that it is the one.

    Raises:
        AubenchError: It is another seed, or either file cannot be read.
    """
    stated, seed = read_seal(seal_file), read_seed(seed_file)
    check_plan(stated.protocol, stated.dataset)
    if _seal_of(stated.protocol, stated.dataset, seed) != stated:
        raise AubenchError(
            f"{seed_file} is not the seed that {seal_file} was made of", "name the one that was"
        )
    return draw(stated.protocol, stated.dataset, seed_file, root)


def drawn_from(name: str) -> str | None:
    """Return the protocol that a fresh draw is of by its name, None for any other name."""
    found = FRESH.fullmatch(name)
    return found[1] if found else None
