"""Generators found by entry point; one that fails to import is listed with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from aubench.errors import AubenchError, suggest

if TYPE_CHECKING:
    from aubench.generator import Generator, GeneratorInfo

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
        package = point.dist.name if point.dist else "?"
        try:
            cls = generator_class(name)
            rows.append(Listing(name, package, cls.info, cls.available()))
        except AubenchError as error:
            rows.append(Listing(name, package, None, str(error)))
    return rows
