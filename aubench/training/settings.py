"""``--set NAME=VALUE`` options, applied to a frozen dataclass of settings."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from aubench.errors import AubenchError, suggest

Settings = TypeVar("Settings")

YES_NO = {"yes": True, "true": True, "no": False, "false": False}
_WORDS = {int: "a whole number", float: "a number", bool: "yes or no", str: "text"}


def with_options(
    settings: Settings, options: Mapping[str, str], owner: str, fixed: Collection[str] = ()
) -> Settings:
    """Return settings with ``--set`` options applied.

    Args:
        settings: A frozen dataclass; the types of its fields are int, float, bool, str, tuples of
            one of them, and any of these or None.
        options: Values by the names of fields, as spelled on the command line; a hyphen in a name
            counts as an underscore.
        owner: Whose settings they are, for messages.
        fixed: Fields that have an option of their own, such as ``seed`` for ``--seed``.

    Raises:
        AubenchError: An option is unknown or fixed, or its value is not of the field's type.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Few:
        ...     rate: float = 0.1
        ...     widths: tuple[int, ...] = (8,)
        >>> with_options(Few(), {"rate": "1e-3", "widths": "16,32"}, "nano")
        Few(rate=0.001, widths=(16, 32))
    """
    cls = type(settings)
    known = [name for name in field_names(cls) if name not in fixed]
    changes: dict[str, Any] = {}
    for spelled, word in options.items():
        name = spelled.replace("-", "_")
        if name in fixed:
            raise AubenchError(f"{owner} has no setting '{name}'", f"give it as --{name}")
        if name not in known:
            raise unknown_setting(owner, name, known)
        changes[name] = parse_value(cls, name, word)
    return replace(settings, **changes)  # type: ignore[type-var]


def unknown_setting(owner: str, name: str, known: Collection[str]) -> AubenchError:
    """Return the error of a setting that there is not, with the nearest one that there is."""
    return AubenchError(
        f"{owner} has no setting '{name}'{suggest(name, known)}", f"choose from {', '.join(known)}"
    )


def field_names(cls: type[Any]) -> tuple[str, ...]:
    """Return the names of a dataclass's fields, in order."""
    return tuple(field.name for field in fields(cls))


def parse_value(cls: type[Any], name: str, word: str) -> Any:
    """Return the value of a dataclass's field from its spelling on the command line.

    ``none`` is None where the field may be None; parts of a tuple are joined by commas.

    Raises:
        AubenchError: The word is not of the field's type, or a number is not finite.
    """
    kind = get_type_hints(cls)[name]
    try:
        return _parsed(kind, word)
    except (KeyError, ValueError) as error:
        raise AubenchError(f"--set {name}={word} is not {_described(kind)}") from error


def _parsed(kind: Any, word: str) -> Any:
    if get_origin(kind) in (Union, UnionType):
        choices = get_args(kind)
        if word == "none" and NoneType in choices:
            return None
        return _parsed(next(choice for choice in choices if choice is not NoneType), word)
    if get_origin(kind) is tuple:
        return tuple(_parsed(get_args(kind)[0], part) for part in word.split(","))
    if kind is bool:
        return YES_NO[word.lower()]
    value = kind(word)
    if kind is float and not math.isfinite(value):
        raise ValueError(word)
    return value


def _described(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        parts = [_described(part) for part in get_args(kind) if part is not NoneType]
        return " or ".join([*parts, "none"])
    if get_origin(kind) is tuple:
        return f"{_described(get_args(kind)[0])}, or several joined by commas"
    return _WORDS[kind]


@lru_cache(maxsize=1)
def fast_precision() -> str:
    """Return the precision in which small networks train fastest here, near enough to float32.

    ``bfloat16`` where a GPU is, or where the processor computes it by itself; else ``float32``,
    since emulated bfloat16 takes ten times as long.
    """
    import torch

    native = torch.cuda.is_available() or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return "bfloat16" if native else "float32"
