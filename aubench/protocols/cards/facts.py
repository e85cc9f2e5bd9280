"""What a card tells that cannot be counted: why the data were made, how, and for what."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aubench.errors import AubenchError
from aubench.storage.text_files import read_toml

OURS = {
    "synfacs": "synfacs",
    **dict.fromkeys(("synfacs2", "synfacs2-wild", "synfacs2-mixed"), "synfacs2"),
}
"""Table of ``facts.toml`` of the data sets that come with the distribution."""
OTHER = "other"
"""Table of all others."""

REQUIRED = ("licence", "creator", "url", "published")
"""What Croissant asks of every data set and nothing in the data tells."""


class Facts(BaseModel):
    """Answers of a card; what is empty is named there as not stated.

    Attributes:
        description: What the data are, in a sentence or two.
        motivation: Why they were made.
        licence: Address of a licence, or what binds their users.
        creator: Who made them.
        url: Address of the page that describes them.
        published: Day of publication, YYYY-MM-DD.
        citation: How to cite them, BibTeX if possible.
        collection: How they were collected.
        collection_type: The same in Croissant's words, such as ``Software Collection``.
        missing: What is missing, and why.
        raw: What they were made from.
        preprocessing: Steps between raw data and these.
        annotation: Who or what labelled them, by which rules.
        annotations_per_item: How many labels an item has, and of how many people.
        annotators: Who the annotators are.
        tools: Programs that labelled them.
        biases: Who or what is over- or under-represented.
        uses: What they are for.
        misuse: What they must not be used for.
        limitations: What they cannot tell.
        social_impact: What they may do to people.
        sensitive: What of persons is in them.
        distribution: How they are had.
        maintenance: Who keeps them, and how errors are dealt with.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    description: str = ""
    motivation: str = ""
    licence: str = ""
    creator: str = ""
    url: str = Field("", pattern=r"^(https?://\S+)?$")
    published: str = Field("", pattern=r"^(\d{4}-\d\d-\d\d)?$")
    citation: str = ""
    collection: str = ""
    collection_type: tuple[str, ...] = ()
    missing: str = ""
    raw: str = ""
    preprocessing: tuple[str, ...] = ()
    annotation: tuple[str, ...] = ()
    annotations_per_item: str = ""
    annotators: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    biases: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    misuse: tuple[str, ...] = ()
    limitations: tuple[str, ...] = ()
    social_impact: str = ""
    sensitive: tuple[str, ...] = ()
    distribution: str = ""
    maintenance: str = ""

    @property
    def lacking(self) -> tuple[str, ...]:
        """What Croissant requires and is not stated."""
        return tuple(name for name in REQUIRED if not getattr(self, name))


def read_facts(dataset: str, file: Path | None = None) -> Facts:
    """Return what is known of a data set, ours overridden by the user's.

    Args:
        dataset: Name of the data set.
        file: TOML with any of the names of ``Facts``.

    Raises:
        AubenchError: The file cannot be read, or has a name or value that a card does not know.
    """
    ours = read_toml(Path(str(files("aubench.protocols.cards") / "facts.toml")))
    known: dict[str, Any] = {**ours["all"], **ours[OURS.get(dataset, OTHER)]}
    if file is None:
        return Facts.model_validate(known)
    try:
        return Facts.model_validate({**known, **read_toml(file)})
    except OSError as error:
        raise AubenchError(f"cannot read {file}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise AubenchError(
            f"{file}: '{place}': {first['msg']}", f"names are {', '.join(Facts.model_fields)}"
        ) from error
    except ValueError as error:
        raise AubenchError(f"{file}: {error}", "write TOML") from error
