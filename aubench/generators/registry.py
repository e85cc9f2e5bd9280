"""Generators found by entry point; one that fails to import is listed with its reason."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from aubench.errors import AubenchError
from aubench.generators.contract import GeneratorInfo
from aubench.plugins import PluginGroup

if TYPE_CHECKING:
    from aubench.generators.contract import Generator

GROUP = PluginGroup("aubench.generators", "model", "`aubench models` lists them")


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


def generator_class(name: str) -> type[Generator]:
    """Import and return the generator class registered as ``name``.

    Raises:
        AubenchError: Nothing of that name is registered, or it cannot be imported.
    """
    from aubench.generators.contract import Generator

    loaded = GROUP.load(name)
    if not (isinstance(loaded, type) and issubclass(loaded, Generator)):
        raise GROUP.wrong(name, "an aubench.Generator")
    return loaded


def listings() -> list[Listing]:
    """Return every registered generator with what it says of itself."""
    return [_listing(name) for name in GROUP.names()]


def listing(name: str) -> Listing:
    """Return one registered generator, also one that cannot be imported.

    Raises:
        AubenchError: Nothing of that name is registered.
    """
    GROUP.point(name)
    return _listing(name)


def _listing(name: str) -> Listing:
    package = " ".join(GROUP.package(name))
    try:
        cls = generator_class(name)
        if not isinstance(getattr(cls, "info", None), GeneratorInfo):
            return Listing(name, package, None, f"model '{name}' has no GeneratorInfo as its info")
        return Listing(name, package, cls.info, cls.available())
    except AubenchError as error:
        return Listing(name, package, None, str(error))
    except Exception as error:  # a plug-in's own available(); others must still be listed
        return Listing(name, package, None, f"{type(error).__name__}: {error}")
