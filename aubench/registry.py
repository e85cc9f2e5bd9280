"""Generators found by entry point; one that fails to import is listed with its reason."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from aubench.errors import AubenchError, suggest
from aubench.generator import GeneratorInfo

if TYPE_CHECKING:
    from aubench.generator import Generator

GROUP = "aubench.generators"


@dataclass(frozen=True)
class Listing:
    """One registered generator as ``aubench models`` shows it.

    ``reason`` says why it is unavailable and is None where it can run.
    """

    name: str
    package: str
    info: GeneratorInfo | None
    reason: str | None

    @property
    def status(self) -> str:
        """In words: ready, what must be given to it, or why it is unavailable."""
        if self.reason is not None:
            return f"unavailable: {self.reason}"
        return f"needs {self.info.needs}" if self.info and self.info.needs else "ready"

    def data(self) -> dict[str, Any]:
        """Return plain data, as ``aubench models --json`` prints it."""
        described = asdict(self.info) if self.info else {}
        if self.info:
            described["inputs"] = sorted(self.info.inputs)
        return {**described, "name": self.name, "package": self.package, "reason": self.reason}


def found() -> dict[str, EntryPoint]:
    """Return the registered entry points by name.

    Raises:
        AubenchError: two packages register the same name.
    """
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        twin = points.get(point.name)
        if twin is not None and twin.value != point.value:
            raise AubenchError(
                f"generator '{point.name}' is registered twice: {twin.value} and {point.value}",
                "uninstall one of the two packages",
            )
        points[point.name] = point
    return dict(sorted(points.items()))


def generator_class(name: str) -> type[Generator]:
    """Import and return the generator class registered as ``name``.

    Raises:
        AubenchError: nothing of that name is registered, or it cannot be imported.
    """
    from aubench.generator import Generator

    points = found()
    if name not in points:
        raise AubenchError(
            f"unknown model '{name}'{suggest(name, points)}", "`aubench models` lists them"
        )
    try:
        loaded = points[name].load()
    except Exception as error:
        raise AubenchError(
            f"model '{name}' ({points[name].value}) cannot be imported: "
            f"{type(error).__name__}: {error}",
            "install what it needs",
        ) from error
    if not (isinstance(loaded, type) and issubclass(loaded, Generator)):
        raise AubenchError(
            f"model '{name}' ({points[name].value}) is not an aubench.generator.Generator",
            "correct its entry point",
        )
    return loaded


def listings() -> list[Listing]:
    """Return every registered generator with what it says of itself."""
    rows = []
    for name, point in found().items():
        package = f"{point.dist.name} {point.dist.version}" if point.dist else "?"
        rows.append(_listing(name, package))
    return rows


def listing(name: str) -> Listing:
    """Return one registered generator, also one that cannot be imported.

    Raises:
        AubenchError: nothing of that name is registered.
    """
    rows = {row.name: row for row in listings()}
    if name not in rows:
        raise AubenchError(
            f"unknown model '{name}'{suggest(name, rows)}", "`aubench models` lists them"
        )
    return rows[name]


def _listing(name: str, package: str) -> Listing:
    try:
        cls = generator_class(name)
        if not isinstance(getattr(cls, "info", None), GeneratorInfo):
            return Listing(name, package, None, f"model '{name}' has no GeneratorInfo as its info")
        return Listing(name, package, cls.info, cls.available())
    except AubenchError as error:
        return Listing(name, package, None, str(error))
    except Exception as error:  # a plug-in's own available(); others must still be listed
        return Listing(name, package, None, f"{type(error).__name__}: {error}")
