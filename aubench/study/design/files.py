"""The files of a study: the design (``study.json``), the server's secrets, the sealed key."""

from __future__ import annotations

import json
import re
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aubench.errors import AubenchError
from aubench.facs import load_facs, parse_aus
from aubench.storage.files import sha256_bytes
from aubench.storage.text_files import read_toml
from aubench.study.design.settings import Exits, Intake, Statement

DESIGN, SECRETS, KEY = "study.json", "server.json", "key.sealed.json"
IMAGES, CONSENT, LINKS, DATABASE = "images", "consent.txt", "links.csv", "study.sqlite"
EXPORTED = "exported.log"
"""Lists the files of each analysis, so that what is erased goes from them, too."""

Kind = Literal["main", "duplicate", "gold"]
Task = Literal["rank", "pairs", "likert", "intensity"]
LIKERT_POINTS, INTENSITY_POINTS = 5, 6
"""Steps of a Likert item, 1 to 5, and of an intensity, 0 (not there), 1 (A) to 5 (E)."""


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
        min_gold: Share of gold trials in which the right face must come first.
        min_seconds: Median time of a trial, by the server's clock.
        min_self_tau: Mean Kendall's tau with oneself on repeated trials; None: no such rule.
        finished_only: Raters who did not answer every trial are excluded.
    """

    min_gold: float = Field(0.5, ge=0, le=1)
    min_seconds: float = Field(3.0, ge=0)
    min_self_tau: float | None = Field(None, ge=-1, le=1)
    finished_only: bool = True


class StudyProtocol(_Frozen):
    """Which samples were judged."""

    name: str
    version: str
    sha256: str
    dataset: str


class Trial(_Frozen):
    """One prompt and its images.

    Attributes:
        id: Says nothing of the kind of trial, which only the key knows.
        images: Opaque names, in alphabetic order; one in trials that are rated.
        reference: Opaque name of the resting face that is shown beside them.
    """

    id: str
    combination: str
    text: str
    images: tuple[str, ...] = Field(min_length=1, max_length=9)
    reference: str | None = None


class Step(_Frozen):
    """A trial in the sequence of a place; ``order`` holds indices into its images."""

    trial: str
    order: tuple[int, ...]


class Design(_Frozen):
    """``study.json``: all that a server needs and a pre-registration states; names no model.

    Attributes:
        size: Side of every image in pixels.
        combinations: Combinations in the order of tables.
        places: The sequence of trials of each place, practice not included.
        task: What raters do: rank all models' faces, choose of pairs, or rate single faces.
        language: Code of the language of all pages.
        statements: Own sentences of Likert trials, after those of the combination.
        attention: Some trials have a known answer; raters are told so.
        intake: Panel, device, questions, quotas and own pages.
        lease_minutes: How long a place is held for a rater who does nothing.
        key_sha256: Digest of the sealed key, which tells images, models and kinds of trial.
    """

    schema_version: Literal[1] = 1
    task: Task = "rank"
    language: str = "en"
    statements: tuple[Statement, ...] = ()
    attention: bool = False
    intake: Intake = Intake()
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
            held = sorted(step.trial for step in place)
            if held != sorted(trials) if self.task == "rank" else len(set(held)) != len(held):
                raise ValueError("a place does not hold every trial once")
            if not held or not set(held) <= set(trials):
                raise ValueError("a place is empty, or holds a trial that is none")
            if any(sorted(step.order) != list(range(self.k)) for step in place):
                raise ValueError("an order is no permutation")
        return self

    @property
    def k(self) -> int:
        """Images in a trial."""
        return len(self.practice.images)

    @property
    def rated(self) -> bool:
        """Whether single faces are rated, rather than put in order."""
        return self.task in ("likert", "intensity")

    def questions(self, combination: str) -> dict[str, str]:
        """Return what is asked of a face in trials that are rated, texts by id."""
        if self.task == "intensity":
            known = load_facs().actions
            return {f"au{au}": f"AU{au} {known[au].name}" for au in parse_aus(combination)}
        looks = self.criteria[combination].looks
        own = {statement.id: statement.text for statement in self.statements}
        return {**{f"look{n}": text for n, text in enumerate(looks, 1)}, **own}

    @property
    def scale(self) -> tuple[int, int]:
        """Lowest and highest value of a rating."""
        return (0, INTENSITY_POINTS - 1) if self.task == "intensity" else (1, LIKERT_POINTS)

    @cached_property
    def by_id(self) -> dict[str, Trial]:
        """Trials by id, the practice trial included."""
        return {trial.id: trial for trial in (*self.trials, self.practice)}


class Secrets(_Frozen):
    """``server.json``: what only the server knows; none of it tells models apart.

    Attributes:
        image_secret: Secret of the names that a browser gets.
        admin_sha256, links_sha256: Digests of the tokens; the tokens are in ``links.csv`` alone,
            which the server does not read.
        public_sha256: Digest of the token of the link that hands out places.
        preview_sha256: Digest of the token of the leader's preview.
        exits: Codes and addresses at the end of a session.
    """

    image_secret: str = Field(min_length=64)
    admin_sha256: str = Field(min_length=64)
    public_sha256: str | None = None
    preview_sha256: str | None = None
    exits: Exits = Exits()
    links_sha256: tuple[str, ...] = Field(min_length=1)


class KeyImage(_Frozen):
    """What an opaque name stands for; ``source`` is a model, ``target`` or ``wrong``."""

    source: str
    sample: str


class KeyTrial(_Frozen):
    """What a trial is for.

    Attributes:
        repeats: The trial that a duplicate repeats.
        best: The image that is known to be right, if there is one.
        wanted: Intensities that were asked for, by question, where intensities are rated.
    """

    kind: Kind
    sample: str
    subject: str
    repeats: str | None = None
    best: str | None = None
    wanted: dict[str, float] = {}


class Key(_Frozen):
    """``key.sealed.json``: opaque names to models, trials to their kinds.

    The server never opens it.

    Attributes:
        secret: Secret of the opaque names.
        seed: Seed of the draw of trials and orders.
        runs: Digest of all images of each model's run.
    """

    schema_version: Literal[1] = 1
    secret: str
    seed: int
    models: tuple[str, ...]
    runs: dict[str, str]
    images: dict[str, KeyImage]
    trials: dict[str, KeyTrial]
    task: Task = "rank"


Model = TypeVar("Model", bound=BaseModel)


def read(path: Path, kind: type[Model]) -> Model:
    """Read and check one of the files of a study.

    Raises:
        AubenchError: It is missing or not such a file.
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
        AubenchError: It is missing, or damaged, or the consent text was edited.
    """
    design = read(study / DESIGN, Design)
    return design, sha256_bytes((study / DESIGN).read_bytes())


def read_consent(study: Path, design: Design) -> str:
    """Return the consent text.

    Raises:
        AubenchError: It is missing, or not the one of the design.
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


def blanks(text: str) -> list[str]:
    """Return the blanks of a consent text that nobody filled in, ``[[name]]``."""
    return list(dict.fromkeys(re.findall(r"\[\[(\w+)\]\]", text)))


def require_filled(study: Path) -> None:
    """Refuse a consent text with blanks; people must know whom they trust.

    Raises:
        AubenchError: Names the blanks.
    """
    design, _ = read_design(study)
    left = blanks(read_consent(study, design))
    if left:
        raise AubenchError(
            f"{study / CONSENT} has blanks: {', '.join(left)}",
            "state them under [consent] in --settings and create the study anew",
        )


def read_criteria(path: Path | None = None, language: str = "en") -> dict[str, Criteria]:
    """Read the criteria by combination, the shipped ones or a file of the same form.

    Raises:
        AubenchError: The file is missing or not of that form.
    """
    own = Path(__file__).parent / "languages" / f"criteria.{language}.toml"
    shipped = own if own.is_file() else Path(__file__).with_name("criteria.toml")
    source = path or shipped
    try:
        table = read_toml(source)
        return {name: Criteria.model_validate(entry) for name, entry in table.items()}
    except OSError as error:
        raise AubenchError(f"cannot read {source}: {error.strerror}") from error
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise AubenchError(
            f"{source} is no table of criteria: {reason}", "see aubench/study/design/criteria.toml"
        ) from error
