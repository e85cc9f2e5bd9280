"""The installed extractors, ours and those of other packages, by their entry points.

An entry point of ``aubench.extractors`` holds a function from its name and a torch device to an
``Extractor``; weights that are missing are a ``MissingWeightsError``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from aubench.plugins import PluginGroup

if TYPE_CHECKING:
    from aubench.networks.extractors.extractor import Extractor

GROUP = PluginGroup("aubench.extractors", "extractor")


def names() -> list[str]:
    """Return the names of the installed extractors, sorted; none is imported."""
    return GROUP.names()


def check_extractor(name: str) -> None:
    """Refuse a name that is no extractor's.

    Raises:
        AubenchError: The name is unknown or registered twice.
    """
    GROUP.point(name)


@lru_cache(maxsize=2)
def load_extractor(name: str, device: str = "cpu") -> Extractor:
    """Load an extractor; never another in its place.

    Raises:
        AubenchError: The name is unknown, or what it names cannot be imported.
        MissingWeightsError: Its weights are not on this machine.
    """
    from aubench.networks.extractors.extractor import Extractor

    load = GROUP.load(name)
    with GROUP.calling(name, "loading"):
        found: Any = load(name, device)
    if not isinstance(found, Extractor):
        raise GROUP.wrong(name, "a function that returns an aubench Extractor")
    return found
