"""From combinations of AUs to the expressions that they are said to show, as data with sources."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aubench.errors import AubenchError
from aubench.facs import AUS, parse_aus
from aubench.storage.files import sha256_bytes
from aubench.storage.text_files import read_toml

NONE, AMBIGUOUS = -1, -2
"""In place of an expression's number: no prototype fits, or several that disagree."""

Text = Annotated[str, Field(min_length=1)]


class _Model(BaseModel):
    """Refuses keys that it does not know."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


class Expression(_Model):
    """An expression and the words that ask a vision-language model for it."""

    name: Text
    prompts: tuple[Text, ...] = Field(min_length=1)


class Prototype(_Model):
    """AUs that a source says an expression consists of.

    It fits a set that holds all of ``required`` and nothing beyond ``required`` and ``allowed``.
    """

    expression: Text
    required: Text
    allowed: str = ""
    published: Text
    source: Text

    @model_validator(mode="after")
    def _apart(self) -> Self:
        try:
            both = self.core & self.extra
        except AubenchError as error:
            raise ValueError(f"{self.expression}: {error}") from error
        if both:
            raise ValueError(f"{self.expression}: AU{min(both)} is both required and allowed")
        return self

    @cached_property
    def core(self) -> frozenset[int]:
        """The AUs that must be there."""
        return frozenset(parse_aus(self.required))

    @cached_property
    def extra(self) -> frozenset[int]:
        """The AUs that may be there as well."""
        return frozenset(parse_aus(self.allowed)) if self.allowed else frozenset()

    def fits(self, aus: frozenset[int]) -> bool:
        """Whether a set of AUs shows it."""
        return self.core <= aus <= self.core | self.extra


class Expressions(_Model):
    """The table: ``templates`` with one ``{}`` each, expressions, and their prototypes."""

    templates: tuple[Text, ...] = Field(min_length=1)
    expressions: tuple[Expression, ...] = Field(min_length=2)
    prototypes: tuple[Prototype, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for template in self.templates:
            if template.count("{}") != 1:
                raise ValueError(f"template '{template}' must hold one {{}}")
        names = self.names
        if len(set(names)) < len(names):
            raise ValueError("an expression is listed twice")
        owners: dict[frozenset[int], str] = {}
        for row in self.prototypes:
            if row.expression not in names:
                raise ValueError(f"prototype of the unknown expression '{row.expression}'")
            owner = owners.setdefault(row.core, row.expression)
            if owner != row.expression:
                raise ValueError(f"{row.required} is required for {owner} and {row.expression}")
        bare = set(names) - set(owners.values())
        if bare:
            raise ValueError(f"'{min(bare)}' has no prototype")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the expressions."""
        return tuple(expression.name for expression in self.expressions)

    @property
    def sha256(self) -> str:
        """Digest of all that is asked."""
        return sha256_bytes(self.model_dump_json().encode())

    def questions(self) -> list[list[str]]:
        """Return for each expression its prompts in every template."""
        return [
            [template.format(words) for words in expression.prompts for template in self.templates]
            for expression in self.expressions
        ]

    def number(self, aus: frozenset[int]) -> int:
        """Return the number of the expression of some AUs, ``NONE`` or ``AMBIGUOUS``."""
        fitting = [row for row in self.prototypes if row.fits(aus)]
        if not fitting:
            return NONE
        most = max(len(row.core) for row in fitting)
        found = {row.expression for row in fitting if len(row.core) == most}
        return self.names.index(found.pop()) if len(found) == 1 else AMBIGUOUS

    def intended(self, labels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Return the number of the expression of each row of 0/1 labels [N, 12]."""
        sets = [frozenset(np.array(AUS)[row.astype(bool)].tolist()) for row in labels]
        known = {aus: self.number(aus) for aus in set(sets)}
        return np.array([known[aus] for aus in sets], np.int64)


def load_expressions(path: Path | None = None) -> Expressions:
    """Read the shipped table, or a user's own of the same form.

    Raises:
        AubenchError: The file is missing, not TOML, or not such a table; names the row.
    """
    source = path or Path(__file__).with_name("expressions.toml")
    try:
        return Expressions.model_validate(read_toml(source))
    except OSError as error:
        raise AubenchError(f"cannot read {source}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise AubenchError(
            f"{source}: {place + ': ' if place else ''}{first['msg']}",
            "see aubench/metrics/action_units/expressions.toml",
        ) from error
    except ValueError as error:  # TOML, or UTF-8
        raise AubenchError(f"{source} is not TOML: {error}") from error
