"""What a generator says of itself is checked when it is said: types, names, known networks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from aubench.errors import AubenchError, suggest

INPUTS = frozenset({"text", "au", "reference"})
"""What a generator may ask to be conditioned on."""

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,40}")
"""Names of models: they become names of files and folders."""

TEXT = "text-"
"""How metric ids begin a classifier of AUs from text, which users may train and name."""

TEXTS = ("name", "training", "licence", "citation", "summary", "needs")
SETS = ("trained_on", "metrics_in_training")


def check_info(info: Any) -> None:
    """Refuse an info that a record could not tell, or that a table would misread.

    Args:
        info: A ``GeneratorInfo`` that is being made.

    Raises:
        AubenchError: Names the field, what it holds and what it should.
    """
    where = f"info of model {info.name!r}"
    values: dict[str, Any] = vars(info)
    for field in TEXTS:
        _check_type(where, field, values[field], str, "a string")
    _check_type(where, "control", values["control"], bool, "True or False")
    size = values["size"]
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise AubenchError(f"{where}: size is {size!r}", "a number of pixels, 0 for the protocol's")
    check_name(where, info.name)
    for field in SETS:
        _check_names(where, field, values[field], tuple, "a tuple such as ('a', 'b')")
    _check_names(where, "inputs", values["inputs"], (frozenset, set), "a frozenset")
    _check_known(where, "inputs", sorted(info.inputs), sorted(INPUTS))


def check_networks(model: str, metrics_in_training: Sequence[str]) -> None:
    """Refuse networks in ``metrics_in_training`` that no metric id names: they would mark nothing.

    Raises:
        AubenchError: Names the first, and the nearest that is known.
    """
    stated = [name for name in metrics_in_training if not name.startswith(TEXT)]
    if stated:
        variants = [name.partition(":")[0] for name in stated]
        known = [*judging_names(), f"{TEXT}nano"]
        _check_known(f"info of model {model!r}", "metrics_in_training", variants, known)


def check_name(where: str, name: str) -> None:
    """Refuse a name of a model that cannot be one of files.

    Raises:
        AubenchError: Says what names may hold.
    """
    if not NAME.fullmatch(name):
        raise AubenchError(
            f"{where}: {name!r} is no name for a file",
            "a small letter or digit, then small letters, digits, dots, dashes, underscores; "
            "41 in all",
        )


def judging_names() -> list[str]:
    """Return what metric ids call metrics and the networks behind them, those that ship."""
    from aubench.datasets.face_finders import GROUP as FINDERS
    from aubench.metrics import registry as metrics
    from aubench.networks.detectors import registry as detectors
    from aubench.networks.external_weights import entries
    from aubench.networks.extractors import registry as extractors
    from aubench.networks.identity import NAMES as IDENTITIES

    groups = (detectors.names(), extractors.names(), metrics.names(), FINDERS.names())
    return sorted({*(name for names in groups for name in names), *IDENTITIES, *entries()})


def _check_type(where: str, field: str, value: Any, kind: type, what: str) -> None:
    if not isinstance(value, kind):
        raise AubenchError(f"{where}: {field} is {value!r}", f"it should be {what}")


def _check_names(where: str, field: str, value: Any, kinds: Any, what: str) -> None:
    if isinstance(value, str):
        comma = f"write ({value!r},): the comma makes the tuple"
        hint = comma if kinds is tuple else f"write frozenset({{{value!r}}})"
        raise AubenchError(f"{where}: {field} is the string {value!r}", hint)
    _check_type(where, field, value, kinds, what)
    for one in value:
        _check_type(where, f"in {field} one", one, str, "a string")


def _check_known(where: str, field: str, stated: Sequence[str], known: Sequence[str]) -> None:
    for name in stated:
        if name not in known:
            raise AubenchError(
                f"{where}: {field} has unknown '{name}'{suggest(name.lower(), known)}",
                f"known are {', '.join(known)}",
            )
