"""What installed packages register by entry point: names, and objects when asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache, wraps
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from aubench.errors import AubenchError, suggest
from aubench.plugins.wall import Fault, PluginError, behind_wall, fault_of

IMPORT_SECONDS = 120.0
"""How long a plug-in may take to be imported; ``AUBENCH_IMPORT_SECONDS`` sets another limit."""

OURS = "aubench"
"""The distribution whose entry points are this project's own."""

GROUPS = tuple(
    f"{OURS}.{kind}"
    for kind in ("generators", "datasets", "metrics", "extractors", "detectors", "face_finders")
)
"""All groups of entry points."""

REMEDY = "mend the plug-in"


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

    def foreign(self, name: str) -> bool:
        """Whether another package than this one registers a name."""
        dist = self.point(name).dist
        return dist is None or dist.name != OURS

    def load(self, name: str) -> Any:
        """Import and return what is registered under a name.

        Raises:
            AubenchError: The name is unknown, registered twice, or cannot be imported.
        """
        point = self.point(name)
        what = f"{self.kind} '{name}' ({point.value}) cannot be imported"

        def describe(fault: Fault) -> AubenchError:
            remedy = "install what it needs"
            if fault.overdue:
                remedy = "mend it, or set AUBENCH_IMPORT_SECONDS to wait longer"
            return PluginError(f"{what}: {fault}", remedy)

        try:
            with behind_wall(owner_of(point), describe, seconds=import_seconds()):
                return point.load()
        except PluginError:
            raise
        except AubenchError as error:
            raise PluginError(f"{what}: {error.message}", error.hint) from error
        except MemoryError as error:
            raise describe(fault_of(error)) from error

    def calling(self, name: str, doing: str) -> AbstractContextManager[None]:
        """Return the wall around a call of a plug-in; there is none around this project's own.

        Args:
            name: Of the plug-in.
            doing: What it is called for, as in "raised ValueError in DOING".
        """
        if not self.foreign(name):
            return nullcontext()
        return behind_wall(owner_of(self.point(name)), raised(f"{self.kind} '{name}'", doing))

    def guarded(self, name: str, made: Any, methods: Iterable[str]) -> Any:
        """Return an object of a plug-in whose methods of these names run behind the wall.

        Args:
            name: Of the plug-in.
            made: What it has made; an object that takes no attributes is returned as it is.
            methods: Names of methods; those that it lacks are passed over.
        """
        for method in methods if self.foreign(name) else ():
            found = getattr(made, method, None)
            if callable(found):
                with suppress(AttributeError, TypeError):
                    object.__setattr__(made, method, self.walled(name, f"{method}()", found))
        return made

    def walled(self, name: str, doing: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function of a plug-in that runs behind the wall; see `calling`."""

        @wraps(function)
        def walled(*args: Any, **kwargs: Any) -> Any:
            with self.calling(name, doing):
                return function(*args, **kwargs)

        return walled

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


def owner_of(point: EntryPoint) -> str:
    """Return the top module of what an entry point names."""
    return point.value.partition(":")[0].partition(".")[0].strip()


def import_seconds() -> float:
    """Return how long an import may take.

    Raises:
        AubenchError: ``AUBENCH_IMPORT_SECONDS`` is no number of seconds.
    """
    stated = os.environ.get("AUBENCH_IMPORT_SECONDS")
    try:
        seconds = float(stated) if stated else IMPORT_SECONDS
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise AubenchError(f"AUBENCH_IMPORT_SECONDS={stated} is no number of seconds", "such as 60")
    return seconds


def raised(who: str, doing: str) -> Callable[[Fault], AubenchError]:
    """Return what describes a fault as that of a plug-in in one of its calls."""

    def describe(fault: Fault) -> AubenchError:
        text = f": {fault.text}" if fault.text else ""
        return PluginError(f"{who} raised {fault.kind} in {doing}{text}", REMEDY)

    return describe


def at_fault(error: BaseException) -> AubenchError | None:
    """Return an error that names the plug-in whose code raised something, None if none's did.

    For what was raised outside the wall, such as by an object that a data set has returned.
    """
    owners = _foreign_owners(tuple(sys.path))
    trace = error.__traceback__
    who, doing = None, ""
    while trace is not None:
        frame = trace.tb_frame
        top = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if top in owners:
            who, doing = owners[top], frame.f_code.co_name
        trace = trace.tb_next
    return raised(who, doing)(fault_of(error)) if who else None


@lru_cache(maxsize=8)
def _foreign_owners(path: tuple[str, ...]) -> Mapping[str, str]:
    """Return what the plug-ins of other packages are called, by their top modules."""
    out: dict[str, str] = {}
    for group in GROUPS:
        for point in entry_points(group=group):
            if point.dist is None or point.dist.name != OURS:
                name = f"{group.partition('.')[2].removesuffix('s')} '{point.name}'"
                known = out.get(owner_of(point))
                out[owner_of(point)] = f"{known}, {name}" if known else name
    return out


def warn_of(error: AubenchError) -> None:
    """Tell in one line on stderr of a package that cannot be used; the others go on."""
    sys.stderr.write(f"warning: {error}\n")
