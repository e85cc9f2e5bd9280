"""What a study leader writes: blanks of the consent text, panel, questions, quotas, own pages."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aubench.errors import AubenchError
from aubench.storage.text_files import read_toml

Answer = str | float
Name = r"^[a-z][a-z0-9_]{0,39}$"
BLANKS = (
    "controller",
    "contact",
    "approval",
    "purpose",
    "duration",
    "payment",
    "sharing",
    "retention",
    "withdrawal",
)
"""Blanks of the shipped consent text."""


class _Frozen(BaseModel):
    """Refuses keys that it does not know."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


class Exit(_Frozen):
    """Where a rater goes at the end: a code, an address, or both.

    Attributes:
        code: Code that the rater gives to the panel.
        url: Address; ``{NAME}`` stands for a parameter of the panel.
    """

    code: str | None = Field(default=None, max_length=80)
    url: str | None = Field(default=None, max_length=500, pattern=r"^https?://")


class Panel(_Frozen):
    """A panel that sends raters to the public link.

    Attributes:
        parameters: Names of the URL parameters that are kept.
        identity: The one that stands for a person, who gets one place; None: no such parameter.
    """

    parameters: tuple[str, ...] = ("PROLIFIC_PID", "STUDY_ID", "SESSION_ID")
    identity: str | None = "PROLIFIC_PID"

    @model_validator(mode="after")
    def _known(self) -> Panel:
        if self.identity is not None and self.identity not in self.parameters:
            raise ValueError(f"identity '{self.identity}' is none of the parameters")
        return self


class Exits(_Frozen):
    """Ends of a session; kept by the server alone, since a code is worth money."""

    complete: Exit = Exit()
    screened: Exit = Exit()
    full: Exit = Exit()


class Question(_Frozen):
    """A question about the rater.

    Attributes:
        kind: ``choice`` among the options, a ``number``, or ``text``.
        least, most: Range of a number.
        screen_out: Options that end the session; for a number, leaving the range ends it.
        required: Must be answered.
    """

    id: str = Field(pattern=Name)
    text: str = Field(min_length=1, max_length=400)
    kind: Literal["choice", "number", "text"] = "choice"
    options: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    screen_out: tuple[str, ...] = ()
    required: bool = True

    @model_validator(mode="after")
    def _whole(self) -> Question:
        if (self.kind == "choice") != bool(self.options):
            raise ValueError(f"question '{self.id}': options belong to a choice, and only there")
        if not set(self.screen_out) <= set(self.options):
            raise ValueError(f"question '{self.id}': screen_out names what is no option")
        return self

    def fits(self, answer: Answer | None) -> bool:
        """Whether this is an answer to the question."""
        if answer is None or answer == "":
            return not self.required
        if self.kind == "number":
            return isinstance(answer, (int, float)) and abs(answer) < 1e9
        return isinstance(answer, str) and (self.kind == "text" or answer in self.options)

    def screens(self, answer: Answer | None) -> bool:
        """Whether an answer ends the session."""
        if isinstance(answer, (int, float)):
            low = self.least is not None and answer < self.least
            return low or (self.most is not None and answer > self.most)
        return answer in self.screen_out


class Quota(_Frozen):
    """At most so many raters who give this answer."""

    question: str
    answer: str
    places: int = Field(ge=1)


class Device(_Frozen):
    """Smallest window, in CSS pixels, on which the pictures can be judged."""

    min_width: int = Field(320, ge=200, le=4000)
    min_height: int = Field(480, ge=200, le=4000)


class OwnPage(_Frozen):
    """A page between blocks of trials, shown before so many trials are answered."""

    before: int = Field(ge=0)
    title: str = Field(min_length=1, max_length=200)
    text: str = Field(min_length=1, max_length=5000)


class Statement(_Frozen):
    """A sentence that is rated in Likert trials, beside those of the combination."""

    id: str = Field(pattern=Name)
    text: str = Field(min_length=1, max_length=300)


class Intake(_Frozen):
    """What happens before and between the trials; part of the design."""

    panel: Panel | None = None
    device: Device | None = None
    questions: tuple[Question, ...] = ()
    quotas: tuple[Quota, ...] = ()
    pages: tuple[OwnPage, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Intake:
        known = {question.id: question for question in self.questions}
        if len(known) != len(self.questions):
            raise ValueError("a question id occurs twice")
        for quota in self.quotas:
            question = known.get(quota.question)
            if question is None or quota.answer not in question.options:
                raise ValueError(f"quota on '{quota.question}': no such question or option")
        return self


class Settings(Intake):
    """The whole file.

    Attributes:
        consent: Words for the blanks of the consent text.
        exits: Codes and addresses at the end.
        statements: Own sentences of Likert trials.
    """

    consent: dict[str, str] = {}
    exits: Exits = Exits()
    statements: tuple[Statement, ...] = ()

    @property
    def intake(self) -> Intake:
        """The part that the design states."""
        return Intake(**{name: getattr(self, name) for name in Intake.model_fields})


def read_settings(path: Path | None) -> Settings:
    """Read the file of a study leader; without one, nothing is set.

    Raises:
        AubenchError: It cannot be read, or says what is not known.
    """
    if path is None:
        return Settings()
    try:
        return Settings.model_validate(read_toml(path))
    except OSError as error:
        raise AubenchError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise AubenchError(f"{path}, {where}: {first['msg']}", "see docs/study.md") from error
    except ValueError as error:
        raise AubenchError(f"{path} is no TOML: {error}", "see docs/study.md") from error
