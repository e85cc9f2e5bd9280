"""The paper's tables as data: ``leaderboards/paper.toml``, checked when it is read."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aubench.errors import AubenchError
from aubench.storage.files import shipped
from aubench.storage.text_files import read_toml

NUMBERS = (1, 2, 3, 4, 5, 6)


class _Model(BaseModel):
    """Refuses keys that it does not know."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


class Source(_Model):
    """The paper, and what holds for all its numbers."""

    title: str
    authors: str
    note: str


class PaperColumn(_Model):
    """A column; ``metric`` is its key unless several columns hold one metric.

    ``higher`` says which direction is better, None for words and counts.
    """

    key: str
    title: str
    metric: str = ""
    higher: bool | None = None
    digits: int = Field(default=3, ge=0, le=6)
    informative: bool = True


class PaperRow(_Model):
    """A row: numbers by column key, words by column key, and why a cell is empty."""

    key: str
    label: str
    section: str = ""
    values: dict[str, float] = {}
    words: dict[str, str] = {}
    missing: dict[str, str] = {}
    note: str = ""


class PaperTable(_Model):
    """One of the paper's tables.

    Attributes:
        across: The best value is sought within a row, not within a column.
        data: What was measured on; ``n`` how many samples, where said.
    """

    number: int = Field(ge=1, le=6)
    title: str
    place: str
    corner: str
    data: str
    n: int | None = None
    across: bool = False
    notes: list[str] = []
    columns: list[PaperColumn] = Field(min_length=1)
    rows: list[PaperRow] = Field(min_length=1)

    @model_validator(mode="after")
    def _every_cell_once(self) -> Self:
        keys = [column.key for column in self.columns]
        if len({row.key for row in self.rows}) < len(self.rows):
            raise ValueError(f"table {self.number} has two rows of one key")
        for row in self.rows:
            found = [*row.values, *row.words, *row.missing]
            if sorted(found) != sorted(keys):
                raise ValueError(
                    f"table {self.number}, row '{row.key}': cells {sorted(found)}, "
                    f"columns {sorted(keys)}"
                )
        return self


class Fact(_Model):
    """A number of a figure."""

    key: str
    value: float
    unit: str
    place: str


class Paper(_Model):
    """Everything that ``paper.toml`` holds."""

    source: Source
    table: list[PaperTable]
    facts: list[Fact] = []

    @model_validator(mode="after")
    def _all_tables(self) -> Self:
        numbers = tuple(table.number for table in self.table)
        if numbers != NUMBERS:
            raise ValueError(f"tables {numbers}, wanted {NUMBERS} in order")
        return self

    def of(self, number: int) -> PaperTable:
        """Return one table."""
        return self.table[NUMBERS.index(number)]


@lru_cache(maxsize=4)
def load_paper(path: Path | None = None) -> Paper:
    """Return the reported values.

    Raises:
        AubenchError: The file is missing or a table is not whole; names the place.
    """
    path = path or shipped("leaderboards") / "paper.toml"
    try:
        return Paper.model_validate(read_toml(path))
    except OSError as error:
        raise AubenchError(f"cannot read {path}: {error.strerror}", "restore it") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise AubenchError(f"{path}, {where or 'tables'}: {first['msg']}", "mend it") from error
    except ValueError as error:
        raise AubenchError(f"{path} is not TOML: {error}", "mend that line") from error
