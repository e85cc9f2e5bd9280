"""The files of a study: the design (``study.json``), the server's secrets, the sealed key."""

from __future__ import annotations

import json
import tomllib
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aubench.errors import AubenchError
from aubench.files import sha256_bytes
from aubench.study.results import StudyProtocol

DESIGN, SECRETS, KEY = "study.json", "server.json", "key.sealed.json"
IMAGES, CONSENT, LINKS, DATABASE = "images", "consent.txt", "links.csv", "study.sqlite"

Kind = Literal["main", "duplicate", "gold"]


class _Frozen(BaseModel):
    """Refuses keys that it does not know."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


class Criteria(_Frozen):
    """What raters are told of one combination, in plain words."""

    title: str = Field(min_length=1, max_length=200)
    region: str = Field(min_length=1, max_length=200)
    looks: tuple[str, ...] = Field(min_length=1, max_length=8)


class Rules(_Frozen):
    """Who is excluded from the analysis; stated before the first answer.

    Attributes:
        min_gold: share of gold trials in which the right face must come first.
        min_seconds: median time of a trial, by the server's clock.
        min_self_tau: mean Kendall's tau with oneself on repeated trials; None: no such rule.
        finished_only: raters who did not answer every trial are excluded.
    """

    min_gold: float = Field(0.5, ge=0, le=1)
    min_seconds: float = Field(3.0, ge=0)
    min_self_tau: float | None = Field(None, ge=-1, le=1)
    finished_only: bool = True


class Trial(_Frozen):
    """One prompt and its images.

    Attributes:
        id: says nothing of the kind of trial, which only the key knows.
        images: opaque names, in alphabetic order.
    """

    id: str
    combination: str
    text: str
    images: tuple[str, ...] = Field(min_length=2, max_length=9)


class Step(_Frozen):
    """A trial in the sequence of a place; ``order`` holds indices into its images."""

    trial: str
    order: tuple[int, ...]


class Design(_Frozen):
    """``study.json``: all that a server needs and a pre-registration states; names no model.

    Attributes:
        size: side of every image in pixels.
        combinations: in the order of tables.
        places: the sequence of trials of each place, practice not included.
        lease_minutes: how long a place is held for a rater who does nothing.
        key_sha256: digest of the sealed key, which tells images, models and kinds of trial.
    """

    schema_version: Literal[1] = 1
    name: str = Field(min_length=1, max_length=80)
    created: str
    aubench: str
    protocol: StudyProtocol
    size: int = Field(ge=32, le=2048)
    combinations: tuple[str, ...] = Field(min_length=1)
    criteria: dict[str, Criteria]
    trials: tuple[Trial, ...] = Field(min_length=1)
    practice: Trial
    places: tuple[tuple[Step, ...], ...] = Field(min_length=1)
    rules: Rules
    lease_minutes: float = Field(gt=0)
    consent_sha256: str
    key_sha256: str

    @model_validator(mode="after")
    def _whole(self) -> Design:
        trials = {trial.id: trial for trial in self.trials}
        if len(trials) != len(self.trials):
            raise ValueError("a trial id occurs twice")
        for trial in (*self.trials, self.practice):
            if trial.combination not in self.criteria:
                raise ValueError(f"no criteria for {trial.combination}")
            if len(trial.images) != self.k:
                raise ValueError(f"trial {trial.id} has {len(trial.images)} images, not {self.k}")
        for place in self.places:
            if sorted(step.trial for step in place) != sorted(trials):
                raise ValueError("a place does not hold every trial once")
            if any(sorted(step.order) != list(range(self.k)) for step in place):
                raise ValueError("an order is no permutation")
        return self

    @property
    def k(self) -> int:
        """Images in a trial."""
        return len(self.practice.images)

    @cached_property
    def by_id(self) -> dict[str, Trial]:
        """Trials by id, the practice trial included."""
        return {trial.id: trial for trial in (*self.trials, self.practice)}


class Secrets(_Frozen):
    """``server.json``: what only the server knows; none of it tells models apart.

    Attributes:
        image_secret: of the names that a browser gets.
        admin_sha256, links_sha256: digests of the tokens; the tokens are in ``links.csv`` alone,
            which the server does not read.
    """

    image_secret: str = Field(min_length=64)
    admin_sha256: str = Field(min_length=64)
    links_sha256: tuple[str, ...] = Field(min_length=1)


class KeyImage(_Frozen):
    """What an opaque name stands for; ``source`` is a model, ``target`` or ``wrong``."""

    source: str
    sample: str


class KeyTrial(_Frozen):
    """What a trial is for; ``repeats`` names the trial that a duplicate repeats."""

    kind: Kind
    sample: str
    subject: str
    repeats: str | None = None
    best: str | None = None


class Key(_Frozen):
    """``key.sealed.json``: opaque names to models, trials to their kinds.

    The server never opens it.

    Attributes:
        secret: of the opaque names.
        seed: of the draw of trials and orders.
        runs: digest of all images of each model's run.
    """

    schema_version: Literal[1] = 1
    secret: str
    seed: int
    models: tuple[str, ...]
    runs: dict[str, str]
    images: dict[str, KeyImage]
    trials: dict[str, KeyTrial]


Model = TypeVar("Model", bound=BaseModel)


def read(path: Path, kind: type[Model]) -> Model:
    """Read and check one of the files of a study.

    Raises:
        AubenchError: it is missing or not such a file.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise AubenchError(
            f"cannot read {path}: {error.strerror}", "`aubench study create` makes a study"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise AubenchError(f"{path} is damaged: {where} {first['msg']}", "restore it") from error


def text_of(model: BaseModel) -> str:
    """Return the text of a file; one object, one text."""
    return json.dumps(model.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"


def read_design(study: Path) -> tuple[Design, str]:
    """Return the design of a study and the sha256 of its file.

    Raises:
        AubenchError: it is missing, or damaged, or the consent text was edited.
    """
    design = read(study / DESIGN, Design)
    return design, sha256_bytes((study / DESIGN).read_bytes())


def read_consent(study: Path, design: Design) -> str:
    """Return the consent text.

    Raises:
        AubenchError: it is missing, or not the one of the design.
    """
    path = study / CONSENT
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AubenchError(f"cannot read {path}: {error.strerror}") from error
    if sha256_bytes(data) != design.consent_sha256:
        raise AubenchError(
            f"{path} was edited since the study was made", "restore it, or create a new study"
        )
    return data.decode("utf-8")


def read_criteria(path: Path | None = None) -> dict[str, Criteria]:
    """Read the criteria by combination, the shipped ones or a file of the same form.

    Raises:
        AubenchError: the file is missing or not of that form.
    """
    source = path or Path(__file__).with_name("criteria.toml")
    try:
        table = tomllib.loads(source.read_text(encoding="utf-8"))
        return {name: Criteria.model_validate(entry) for name, entry in table.items()}
    except OSError as error:
        raise AubenchError(f"cannot read {source}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, ValidationError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise AubenchError(
            f"{source} is no table of criteria: {reason}", "see aubench/study/criteria.toml"
        ) from error
