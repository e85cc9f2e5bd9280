"""What installed packages register by entry point: names, and objects when asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from aubench.errors import AubenchError, suggest


@dataclass(frozen=True)
class PluginGroup:
    """A group of entry points.

    Attributes:
        group: Name of the group, such as ``aubench.metrics``.
        kind: What its members are called in messages, such as ``metric``.
        listed: What tells the known names, such as "`aubench models` lists them"; the names
            themselves if empty.
    """

    group: str
    kind: str
    listed: str = ""

    def names(self) -> list[str]:
        """Return the registered names, sorted; nothing is imported."""
        return list(self._points())

    def point(self, name: str) -> EntryPoint:
        """Return the entry point of a name.

        Raises:
            AubenchError: Nothing of that name is registered, or two packages register it.
        """
        points = self._points().get(name, {})
        if not points:
            known = self.names()
            raise AubenchError(
                f"unknown {self.kind} '{name}'{suggest(name, known)}",
                self.listed or f"choose from {', '.join(known)}",
            )
        if len(points) > 1:
            raise AubenchError(
                f"{self.kind} '{name}' is registered twice: {' and '.join(points)}",
                "uninstall one of the two packages",
            )
        return next(iter(points.values()))

    def package(self, name: str) -> tuple[str, str]:
        """Return name and version of the package that registers a name, ``?`` where unknown."""
        for point in self._points().get(name, {}).values():
            if point.dist is not None:
                return point.dist.name, point.dist.version
        return "?", "?"

    def _points(self) -> Mapping[str, Mapping[str, EntryPoint]]:
        return _registered(self.group, tuple(sys.path))

    def load(self, name: str) -> Any:
        """Import and return what is registered under a name.

        Raises:
            AubenchError: The name is unknown, registered twice, or cannot be imported.
        """
        point = self.point(name)
        try:
            return point.load()
        except Exception as error:  # whatever a foreign module raises
            raise AubenchError(
                f"{self.kind} '{name}' ({point.value}) cannot be imported: "
                f"{type(error).__name__}: {error}",
                "install what it needs",
            ) from error

    def wrong(self, name: str, wanted: str) -> AubenchError:
        """Return the error of an entry point that holds something else than it should."""
        return AubenchError(
            f"{self.kind} '{name}' ({self.point(name).value}) is not {wanted}",
            "correct its entry point",
        )


@lru_cache(maxsize=32)
def _registered(group: str, path: tuple[str, ...]) -> Mapping[str, Mapping[str, EntryPoint]]:
    """Return entry points by name and value; every call that looks takes some 20 ms."""
    out: dict[str, dict[str, EntryPoint]] = {}
    for point in entry_points(group=group):
        out.setdefault(point.name, {})[point.value] = point
    return dict(sorted(out.items()))


def warn_of(error: AubenchError) -> None:
    """Tell in one line on stderr of a package that cannot be used; the others go on."""
    sys.stderr.write(f"warning: {error}\n")
