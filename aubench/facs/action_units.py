"""The Action Units (AUs) of the benchmark: names, muscles, combinations, conflicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from aubench.errors import AubenchError, suggest
from aubench.storage.text_files import read_toml

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

AUS: tuple[int, ...] = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
"""AU numbers in the order of every AU vector of this project (BP4D order)."""


def parse_aus(text: str) -> tuple[int, ...]:
    """Parse ``"6+12+15"`` (also ``AU6,AU12``) into AU numbers in vector order.

    ``"neutral"`` is the empty set.

    Raises:
        AubenchError: An AU is unknown, malformed or listed twice.
    """
    if text.strip().lower() in {"neutral", "0"}:
        return ()
    found: list[int] = []
    for part in text.replace(",", "+").split("+"):
        word = part.strip().upper().removeprefix("AU")
        if not word.isdecimal() or int(word) not in AUS:
            known = ", ".join(map(str, AUS))
            near = suggest(word, map(str, AUS))
            raise AubenchError(f"unknown AU '{part.strip()}'{near}", f"the AUs are {known}")
        if int(word) in found:
            raise AubenchError(f"AU{int(word)} is listed twice in '{text}'", "name each AU once")
        found.append(int(word))
    return tuple(sorted(found))


def parse_intensities(text: str, default: float) -> npt.NDArray[np.float32]:
    """Parse ``"6=3+12=4.5"`` or ``"6+12"`` into float32 [12]; ``default`` where none is given.

    Raises:
        AubenchError: An AU is unknown or listed twice, an intensity is not in 0..5.
    """
    import numpy as np

    values, names = np.zeros(len(AUS), np.float32), []
    for part in text.replace(",", "+").split("+"):
        name, _, amount = part.partition("=")
        names.append(name)
        try:
            value = float(amount) if amount else default
        except ValueError:
            value = -1.0
        if not 0 <= value <= 5:
            raise AubenchError(f"intensity '{amount}' of AU {name.strip()}", "give 0 to 5")
        for au in parse_aus(name):
            values[AUS.index(au)] = round(value, 1)
    parse_aus("+".join(names))  # finds an AU listed twice
    return values


def combination_name(labels: Sequence[int] | npt.NDArray[np.generic]) -> str:
    """Return ``"6+12+15"`` for a 0/1 vector [12] in ``AUS`` order, ``"neutral"`` for zeros."""
    return "+".join(str(au) for au, on in zip(AUS, labels, strict=True) if on) or "neutral"


def labels_of(aus: Iterable[int]) -> npt.NDArray[np.uint8]:
    """Return the 0/1 vector uint8 [12] of a set of AU numbers."""
    import numpy as np

    active = set(aus)
    return np.array([au in active for au in AUS], dtype=np.uint8)


@dataclass(frozen=True)
class Action:
    """One AU: its name, the muscles behind it, where it moves the skin, and its region."""

    name: str
    muscles: tuple[str, ...]
    direction: str
    region: str


@dataclass(frozen=True)
class Combination:
    """AUs whose joint appearance is not the sum of the parts."""

    aus: tuple[int, ...]
    kind: str
    provenance: tuple[str, ...]


@dataclass(frozen=True)
class Facs:
    """What is known of the AUs.

    Attributes:
        actions: Actions by AU number.
        combinations: Combinations in the order of the table.
        conflicts: Pairs of opposed AUs, with the reason.
    """

    actions: dict[int, Action]
    combinations: tuple[Combination, ...]
    conflicts: dict[tuple[int, ...], str]

    def conflicts_in(self, aus: Iterable[int]) -> dict[tuple[int, ...], str]:
        """Return the conflicts that are wholly active."""
        active = set(aus)
        return {pair: why for pair, why in self.conflicts.items() if active.issuperset(pair)}


@lru_cache(maxsize=4)
def load_facs(path: Path | None = None) -> Facs:
    """Read the shipped table, or a user's own of the same form.

    Raises:
        AubenchError: The file is missing, not TOML, or not such a table.
    """
    source = path or Path(__file__).with_name("facs.toml")
    try:
        data = read_toml(source)
        actions = {
            int(au): Action(
                entry["name"], tuple(entry["muscles"]), entry["direction"], entry["region"]
            )
            for au, entry in data["aus"].items()
        }
        combinations = tuple(
            Combination(parse_aus(row["aus"]), row["kind"], tuple(row["provenance"]))
            for row in data["combinations"]
        )
        conflicts = {parse_aus(row["aus"]): str(row["why"]) for row in data["conflicts"]}
    except OSError as error:
        raise AubenchError(f"cannot read {source}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise AubenchError(
            f"{source} is not a table of AUs: {error}", "see aubench/facs/facs.toml"
        ) from error
    missing = [au for au in AUS if au not in actions]
    if missing:
        raise AubenchError(f"{source} lacks AU{missing[0]}", "see aubench/facs/facs.toml")
    return Facs(actions, combinations, conflicts)
