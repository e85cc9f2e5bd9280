"""What a process shares between all of its code: folder, streams, modes of torch and NumPy.

A plug-in may change any of it, on purpose or by what it imports. ``Surroundings`` reads and sets
what code may rely on later, so that each side can find its own again; ``Streams`` keeps descriptors
0 to 2 and Python's streams on them, which nobody but the command line may turn elsewhere.
"""

from __future__ import annotations

import fcntl
import gc
import locale
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

SPARE = 64
"""Copies of descriptors are numbered from here, out of the way of code that closes low ones."""


@dataclass(frozen=True)
class Setting:
    """A setting of the whole process.

    Attributes:
        name: Its name.
        read: Returns its value, which can be compared.
        write: Sets it.
        initial: What it is before its module is imported; None where that is not known.
    """

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], None]
    initial: Any = None


Changes = dict[str, Any]
"""New values by name of the setting; of a mapping those of its keys that differ, None if gone."""


class Surroundings:
    """Values of the settings by name, at one moment."""

    def __init__(self) -> None:
        self._values = {s.name: s.read() for s in _settings()}

    def restore(self) -> Changes:
        """Set what is not as it was, and return what it was meanwhile.

        A setting whose module was imported since is set to its initial value.
        """
        changes: Changes = {}
        for setting in _settings():
            before, now = self._values.get(setting.name, setting.initial), setting.read()
            if before is None or before == now:
                continue
            if now is not None:
                changes[setting.name] = _difference(before, now) if isinstance(now, dict) else now
            _write(setting, before)
        return changes


def apply(changes: Changes) -> None:
    """Set again what ``Surroundings.restore`` returned."""
    if not changes:
        return
    for setting in _settings():
        if setting.name in changes:
            value = changes[setting.name]
            if isinstance(value, dict):
                merged = {**setting.read(), **value}
                value = {key: one for key, one in merged.items() if one is not None}
            _write(setting, value)


def _write(setting: Setting, value: Any) -> None:
    with suppress(OSError, ValueError, RuntimeError):  # such as a folder that is gone
        setting.write(value)


def _difference(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    keys = before.keys() | now.keys()
    return {key: now.get(key) for key in keys if before.get(key) != now.get(key)}


def _settings() -> Iterator[Setting]:
    yield Setting("folder", _folder, os.chdir)
    yield Setting("umask", _umask, lambda mask: _ignored(os.umask(mask)))
    yield Setting("environment", lambda: dict(os.environ), _set_environment)
    yield Setting("arguments", lambda: list(sys.argv), _set_arguments)
    yield Setting("recursion", sys.getrecursionlimit, sys.setrecursionlimit)
    yield Setting("collector", gc.isenabled, lambda on: gc.enable() if on else gc.disable())
    yield Setting("warnings", lambda: list(warnings.filters), _set_warnings)
    yield Setting(
        "locale",
        lambda: locale.setlocale(locale.LC_ALL),
        lambda value: _ignored(locale.setlocale(locale.LC_ALL, value)),
    )
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and hasattr(numpy, "seterr"):
        yield Setting("numpy errors", numpy.geterr, lambda value: _ignored(numpy.seterr(**value)))
    for module, name, initial in (
        ("PIL.ImageFile", "LOAD_TRUNCATED_IMAGES", False),
        ("PIL.Image", "MAX_IMAGE_PIXELS", None),
    ):
        if module in sys.modules and hasattr(sys.modules[module], name):
            yield _attribute(module, sys.modules[module], name, initial)
    if torch is not None and hasattr(torch, "set_default_device"):  # imported to its end
        yield from _torch_settings(torch)


def _torch_settings(torch: Any) -> Iterator[Setting]:
    yield Setting("dtype", torch.get_default_dtype, torch.set_default_dtype, torch.float32)
    yield Setting(
        "device",
        lambda: _default_device(torch),
        lambda value: torch.set_default_device(value or None),
        "",
    )
    yield Setting(
        "gradients",
        torch.is_grad_enabled,
        lambda on: _ignored(torch.set_grad_enabled(on)),
        True,
    )
    yield Setting(
        "deterministic",
        lambda: (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
        (False, False),
    )
    yield Setting("threads", torch.get_num_threads, torch.set_num_threads)
    yield Setting("denormals", _flushes, lambda on: _ignored(torch.set_flush_denormal(on)), False)
    for name in ("enabled", "benchmark", "deterministic"):
        yield _attribute("cudnn", torch.backends.cudnn, name, name == "enabled")
    yield _attribute("mkldnn", torch.backends.mkldnn, "enabled", True)


def _attribute(of: str, module: Any, name: str, initial: Any) -> Setting:
    return Setting(
        f"{of} {name}",
        lambda: getattr(module, name),
        lambda value: setattr(module, name, value),
        initial,
    )


def _ignored(value: object) -> None:
    """Take what a setter returns."""


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - what `os.chdir` takes
    except FileNotFoundError:  # removed meanwhile
        return None


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _set_environment(wanted: dict[str, str]) -> None:
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _set_arguments(wanted: list[str]) -> None:
    sys.argv[:] = wanted


def _set_warnings(wanted: list[Any]) -> None:
    warnings.filters[:] = wanted  # type: ignore[index]
    with suppress(AttributeError):  # Python 3.14 has no such name, and looks at the list itself
        warnings._filters_mutated()  # type: ignore[attr-defined]


def _default_device(torch: Any) -> str:
    """Return the default device as text, empty where none was set; torch tells only a device."""
    context = getattr(getattr(torch, "_GLOBAL_DEVICE_CONTEXT", None), "device_context", None)
    return str(context.device) if context is not None else ""


def _flushes() -> bool:
    """Whether the processor takes the smallest numbers for zero; torch can set it, not tell it."""
    return sys.float_info.min * 0.5 == 0.0


@dataclass
class Streams:
    """Descriptors 0 to 2 and Python's streams on them, to be put back."""

    objects: tuple[Any, ...] = field(default_factory=lambda: (sys.stdin, sys.stdout, sys.stderr))
    originals: tuple[Any, ...] = field(
        default_factory=lambda: (sys.__stdin__, sys.__stdout__, sys.__stderr__)
    )
    copies: list[int | None] = field(default_factory=lambda: [_copy(place) for place in range(3)])

    def put_back(self) -> None:
        """Put back what was turned elsewhere or closed, and close the copies."""
        for place, copy in enumerate(self.copies):
            if copy is None:
                continue
            with suppress(OSError):  # a plug-in closed all descriptors, the copies too
                if not _same(place, copy):
                    os.dup2(copy, place)
                os.close(copy)
        for place, name in enumerate(("stdin", "stdout", "stderr")):
            for kept, attribute in (
                (self.originals[place], f"__{name}__"),
                (self.objects[place], name),
            ):
                setattr(sys, attribute, _usable(kept, place))


def _usable(stream: Any, place: int) -> Any:
    """Return a stream, or a new one on its descriptor where a plug-in has closed it."""
    if stream is None or not getattr(stream, "closed", False):
        return stream
    mode = "r" if place == 0 else "w"
    try:
        return open(place, mode, encoding="utf-8", errors="replace", closefd=False)
    except OSError:
        return stream


def _copy(place: int) -> int | None:
    try:
        return fcntl.fcntl(place, fcntl.F_DUPFD_CLOEXEC, SPARE)
    except (OSError, ValueError):
        return None


def _same(one: int, other: int) -> bool:
    try:
        return os.path.samestat(os.fstat(one), os.fstat(other))
    except OSError:
        return False
