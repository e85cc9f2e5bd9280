"""Pairs of installed packages that cannot work together, told before any work is done.

Each pair was tried: the older package lacks, or still wants, something that the other one removed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version


@dataclass(frozen=True)
class Pair:
    """Two packages of which the second must not be too old for the first.

    Attributes:
        first: Name of a package.
        since: Its first release that the pair is about.
        second: Name of the other.
        least: The first release of the second that works with it.
        why: What breaks otherwise.
    """

    first: str
    since: str
    second: str
    least: str
    why: str


PAIRS = (
    Pair("transformers", "5.0", "peft", "0.18", "older peft imports HybridCache, which is gone"),
    Pair(
        "transformers",
        "5.0",
        "diffusers",
        "0.35",
        "older diffusers imports FLAX_WEIGHTS_NAME, which is gone",
    ),
    Pair(
        "diffusers",
        "0.33",
        "peft",
        "0.15",
        "older peft has no disable_input_dtype_casting, which diffusers imports",
    ),
)


def conflict(*names: str) -> str | None:
    """Return in a line which installed packages cannot work together, and the remedy.

    Args:
        names: Packages that matter; all if none is given. One that is not installed is no conflict.
    """
    found = []
    for pair in PAIRS:
        if names and not {pair.first, pair.second} <= set(names):
            continue
        first, second = installed(pair.first), installed(pair.second)
        if first is None or second is None:
            continue
        if release(first) >= release(pair.since) and release(second) < release(pair.least):
            found.append(
                f"{pair.first} {first} and {pair.second} {second} do not work together: "
                f"{pair.why}; pip install -U '{pair.second}>={pair.least}'"
            )
    return "; ".join(found) or None


def installed(name: str) -> str | None:
    """Return the installed version of a package, None if it is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def release(text: str) -> tuple[int, ...]:
    """Return the numbers of a version, without zeros at the end: ``0.18.0.dev1`` is (0, 18)."""
    match = re.match(r"\d+(\.\d+)*", text)
    numbers = [int(word) for word in match[0].split(".")] if match else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
