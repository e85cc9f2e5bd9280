"""The results file of a study: what a table of AUCHS needs, and where its numbers come from."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aubench.errors import AubenchError
from aubench.files import write_text

RESULTS = "auchs.json"
MEAN = "mean"
"""Name of the row over all combinations."""


class _Frozen(BaseModel):
    """Refuses keys that it does not know."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


class Cell(_Frozen):
    """AUCHS of one model on one combination, or on their mean.

    Attributes:
        combination: such as ``6+12+15``, or ``mean``.
        auchs: mean score, k for the first place to 1 for the last.
        low, high: 95 % interval over raters and items.
        raters, items: how many of each stand behind it.
    """

    model: str
    combination: str
    auchs: float = Field(ge=1)
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
        kendall_w: mean over items of Kendall's W, corrected for ties; None: undefined.
        alpha: Krippendorff's alpha for ordinal data; None: undefined.
    """

    combination: str
    kendall_w: float | None
    alpha: float | None


class Friedman(_Frozen):
    """Friedman's test with raters as blocks, and Nemenyi's critical difference.

    Attributes:
        statistic, p: chi-square of k - 1 degrees of freedom; None where all is tied.
        iman_davenport, iman_davenport_p: the F statistic that is less conservative.
        mean_ranks: by model, 1 is best.
        critical_difference: of mean ranks at 5 %.
        nemenyi: p of each pair, keys ``a|b``.
    """

    blocks: int
    unit: Literal["rater"] = "rater"
    statistic: float | None
    p: float | None
    iman_davenport: float | None
    iman_davenport_p: float | None
    mean_ranks: dict[str, float]
    critical_difference: float
    nemenyi: dict[str, float]


class Exclusion(_Frozen):
    """One rule, stated before the study, and whom it struck."""

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


class StudyProtocol(_Frozen):
    """Which samples were judged."""

    name: str
    version: str
    sha256: str
    dataset: str


class StudyResults(_Frozen):
    """Everything ``aubench study score`` found; ``aubench report --table 4`` reads it.

    Attributes:
        study: name of the study.
        study_sha256: digest of ``study.json``, the design as stated beforehand.
        simulated: raters were bots.
        interval: how the 95 % intervals were found.
        tied: share of trials with a tie.
        without_exclusion: mean AUCHS by model if every finished rater had been kept.
        self_tau: mean Kendall's tau of raters with themselves on repeated trials.
    """

    schema_version: Literal[1] = 1
    study: str
    study_sha256: str
    created: str
    simulated: bool = False
    protocol: StudyProtocol
    models: tuple[str, ...]
    combinations: tuple[str, ...]
    interval: str
    raters: Raters
    cells: tuple[Cell, ...]
    agreement: tuple[Agreement, ...]
    friedman: Friedman
    worths: tuple[Worth, ...]
    exclusions: tuple[Exclusion, ...]
    without_exclusion: dict[str, float]
    tied: float
    self_tau: float | None

    def cell(self, model: str, combination: str) -> Cell:
        """Return one cell of the table.

        Raises:
            AubenchError: the study holds no such cell.
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
        AubenchError: it is missing or not such a file.
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
