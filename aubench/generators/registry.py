"""Generators found by entry point; one that fails to import is listed with its reason."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

from aubench.errors import AubenchError
from aubench.generators.contract import (
    Generator,
    GeneratorInfo,
    Plan,
    SampleFailure,
    WeightSource,
)
from aubench.generators.info_checks import check_name, check_networks
from aubench.plugins import Fault, PluginError, PluginGroup, behind_wall, plain_line
from aubench.plugins.group import import_seconds, raised

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
    check_name(f"model '{name}'", name)
    loaded = GROUP.load(name)
    if not (isinstance(loaded, type) and issubclass(loaded, Generator)):
        raise GROUP.wrong(name, "an aubench.Generator")
    if isinstance(getattr(loaded, "info", None), GeneratorInfo):
        check_networks(name, loaded.info.metrics_in_training)
    return loaded


def generator_info(cls: type[Generator], name: str) -> GeneratorInfo:
    """Return what a class says of itself.

    Raises:
        AubenchError: It says nothing.
    """
    info = getattr(cls, "info", None)
    if not isinstance(info, GeneratorInfo):
        raise AubenchError(f"model '{name}' has no GeneratorInfo as its info", "give it one")
    return info


def why_unavailable(cls: type[Generator], name: str) -> str | None:
    """Return why a generator cannot run here, None where it can.

    Raises:
        AubenchError: Its ``available`` raised, left or did not end.
    """
    with calling(cls, name, "available()", seconds=import_seconds()):
        reason = cls.available()
    return None if reason is None else plain_line(str(reason))


def check_available(cls: type[Generator], name: str) -> None:
    """Refuse a generator that cannot run here.

    Raises:
        AubenchError: Names it and the reason.
    """
    reason = why_unavailable(cls, name)
    if reason is not None:
        raise AubenchError(f"model '{name}' is unavailable: {reason}")


def calling(
    model: type[Generator] | Generator, name: str, doing: str, seconds: float | None = None
) -> AbstractContextManager[None]:
    """Return the wall around a call of a generator or its class.

    Args:
        model: What is called.
        name: What messages call it.
        doing: What it is called for, as in "raised ValueError in DOING".
        seconds: Time limit.
    """
    describe = raised(f"model '{name}'", doing)
    return behind_wall(top_module(model), describe, passing=(SampleFailure,), seconds=seconds)


def load_with(
    cls: type[Generator], name: str, weights: WeightSource, device: str, **options: Any
) -> Generator:
    """Return a generator with its weights.

    Args:
        cls: Its class.
        name: What messages call it.
        weights: The user's weights or its own.
        device: Torch device string.
        options: Its options.

    Raises:
        AubenchError: It raised or left; or as it says.
    """

    def describe(fault: Fault) -> AubenchError:
        return PluginError(
            f"model '{name}' failed to load: {fault}", "check its weights and its plug-in"
        )

    with behind_wall(top_module(cls), describe):
        made: Any = cls.load(weights, device=device, dtype="float32", **options)
    if not isinstance(made, Generator):
        raise AubenchError(
            f"model '{name}' failed to load: it returned {type(made).__name__}, no Generator",
            "return an object of the class from load()",
        )
    if not isinstance(getattr(made, "info", None), GeneratorInfo):
        raise AubenchError(f"model '{name}' has no GeneratorInfo as its info", "give it one")
    check_networks(name, made.info.metrics_in_training)
    return made


def weights_digest(generator: Generator) -> str | None:
    """Return the digest of the weights that a generator tells, None where it has none.

    Raises:
        AubenchError: It raised or left, or tells something else than text.
    """
    name = generator.info.name
    with calling(generator, name, "weights_sha256"):
        digest: Any = generator.weights_sha256
    if digest is not None and not (isinstance(digest, str) and digest.strip().isprintable()):
        raise AubenchError(f"model '{name}': weights_sha256 is {digest!r}", "a digest, or None")
    return digest


def begin(generator: Generator, plan: Plan) -> None:
    """Tell a generator what will be asked.

    Raises:
        AubenchError: It cannot do it, raised or left.
    """
    with calling(generator, generator.info.name, "begin()"):
        generator.begin(plan)


def top_module(model: type | object) -> str:
    """Return the top module of the code of a class or of an object's class."""
    cls = model if isinstance(model, type) else type(model)
    return cls.__module__.partition(".")[0]


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
    info = None
    try:
        cls = generator_class(name)
        info = generator_info(cls, name)
        return Listing(name, package, info, why_unavailable(cls, name))
    except (AubenchError, MemoryError) as error:
        return Listing(name, package, info, str(error) or "out of memory")
