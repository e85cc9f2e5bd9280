"""The results file of a study: what a table of AUCHS needs, and where its numbers come from."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aubench.errors import AubenchError
from aubench.storage.files import write_text
from aubench.study.design.files import StudyProtocol, Task

RESULTS = "auchs.json"
MEAN = "mean"
"""Name of the row over all combinations."""


class _Frozen(BaseModel):
    """Refuses keys that it does not know."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


class Cell(_Frozen):
    """AUCHS of one model on one combination, or on their mean.

    Attributes:
        combination: Combination, such as ``6+12+15``, or ``mean``.
        auchs: Mean score on the scale of the task.
        low, high: 95 % interval over raters and items.
        raters, items: How many of each stand behind it.
    """

    model: str
    combination: str
    auchs: float
    low: float
    high: float
    raters: int = Field(ge=1)
    items: int = Field(ge=1)


class Worth(_Frozen):
    """Plackett-Luce worth of a model; the worths of a study sum to 1."""

    model: str
    worth: float
    low: float
    high: float


class Agreement(_Frozen):
    """How far raters agree on one combination, or over all.

    Attributes:
        kendall_w: Mean over items of Kendall's W, corrected for ties; None: undefined.
        alpha: Krippendorff's alpha for ordinal data; None: undefined.
    """

    combination: str
    kendall_w: float | None
    alpha: float | None


class Comparison(_Frozen):
    """The difference of two models, raters and items random and crossed.

    Attributes:
        difference: Mean score of the first minus that of the second.
        low, high: Interval at the level of its step in Holm's procedure.
        p, p_holm: Two-sided p-value, and adjusted for all pairs.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float


class Blocks(_Frozen):
    """Friedman's test with one kind of blocks.

    Attributes:
        unit: Raters or items.
        statistic, p: Chi-square of k - 1 degrees of freedom; None where all is tied.
    """

    unit: Literal["rater", "item"]
    blocks: int
    statistic: float | None
    p: float | None


class Friedman(_Frozen):
    """Friedman's test, raters as blocks and items as blocks.

    Attributes:
        by_rater, by_item: Each alone rejects too often: raters judge the same items.
        p: The larger of the two; None: one of them is undefined.
    """

    by_rater: Blocks
    by_item: Blocks
    p: float | None


class Exclusion(_Frozen):
    """One rule, stated before the study, and the raters whom it excludes."""

    rule: str
    raters: tuple[str, ...]


class Raters(_Frozen):
    """How many raters reached each step."""

    places: int
    consented: int
    finished: int
    withdrawn: int
    excluded: int
    analysed: int


class StudyResults(_Frozen):
    """Everything ``aubench study score`` found; ``aubench report --table 4`` reads it.

    Attributes:
        task: What raters did.
        scale: What the scores are, in words.
        low, high: Worst and best score.
        study: Name of the study.
        study_sha256: Digest of ``study.json``, the design as stated beforehand.
        simulated: Raters were bots.
        interval: How the 95 % intervals were found.
        comparisons: Differences of all pairs of models, on the mean.
        letters: By model; those that share a letter are not told apart.
        questions: Mean rating by question and model, of tasks that are rated.
        tied: Share of trials with a tie.
        without_exclusion: Mean AUCHS by model if every finished rater had been kept.
        self_tau: Mean Kendall's tau of raters with themselves on repeated trials.
    """

    schema_version: Literal[2] = 2
    study: str
    study_sha256: str
    created: str
    simulated: bool = False
    task: Task = "rank"
    scale: str = "AUCHS, k for the first place to 1 for the last"
    low: float = 1.0
    high: float
    protocol: StudyProtocol
    models: tuple[str, ...]
    combinations: tuple[str, ...]
    interval: str
    raters: Raters
    cells: tuple[Cell, ...]
    agreement: tuple[Agreement, ...]
    comparisons: tuple[Comparison, ...]
    letters: dict[str, str]
    friedman: Friedman | None
    worths: tuple[Worth, ...]
    questions: dict[str, dict[str, float]] = {}
    exclusions: tuple[Exclusion, ...]
    without_exclusion: dict[str, float]
    tied: float
    self_tau: float | None

    def cell(self, model: str, combination: str) -> Cell:
        """Return one cell of the table.

        Raises:
            AubenchError: The study holds no such cell.
        """
        for cell in self.cells:
            if (cell.model, cell.combination) == (model, combination):
                return cell
        raise AubenchError(f"study {self.study} has no AUCHS of {model} on {combination}")

    def write(self, path: Path) -> None:
        """Write the file atomically."""
        write_text(path, self.model_dump_json(indent=1) + "\n")


def read_results(path: Path) -> StudyResults:
    """Read a results file.

    Raises:
        AubenchError: It is missing or not such a file.
    """
    try:
        return StudyResults.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AubenchError(f"cannot read {path}: {error.strerror}") from error
    except (ValidationError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise AubenchError(
            f"{path} is not a results file of a study: {reason}",
            "write it by `aubench study score`",
        ) from error
