"""Paired differences between the records of a protocol, ``pairs.toml`` beside them.

Records hold one interval each, which says nothing about a difference on the same samples. What
``aubench compare --enter`` finds is kept here, so that tables mark ties without any run folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from aubench.errors import AubenchError
from aubench.records.record import Record
from aubench.storage.files import write_text
from aubench.storage.text_files import read_toml

NAME = "pairs.toml"
HEAD = """\
# Paired differences first - second on the same samples, with 95 % intervals by subject.
# Written by `aubench compare FIRST SECOND --enter`; a difference whose interval holds zero is a
# tie. The digests are those of the images of both records.
"""


class Difference(BaseModel):
    """Differences of two records by metric: value, low, high."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    first: str
    second: str
    first_images: str
    second_images: str
    metrics: dict[str, tuple[float, float, float]]


class Pairs(BaseModel):
    """What the file holds."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    pair: list[Difference] = []

    def tie(self, metric: str, first: Record, second: Record) -> bool | None:
        """Return whether two records tie in a metric, None where it was never compared.

        A comparison of other images than the records' does not count.
        """
        wanted = {r.model.name: r.provenance.images_sha256 for r in (first, second)}
        for pair in self.pair:
            found = {pair.first: pair.first_images, pair.second: pair.second_images}
            if found == wanted and metric in pair.metrics:
                _, low, high = pair.metrics[metric]
                return low <= 0 <= high
        return None


def read_pairs(folder: Path) -> Pairs:
    """Return the paired differences of a protocol's folder, none where there is no file.

    Raises:
        AubenchError: The file is damaged.
    """
    path = folder / NAME
    if not path.is_file():
        return Pairs()
    try:
        return Pairs.model_validate(read_toml(path))
    except (OSError, ValueError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise AubenchError(
            f"{path} is damaged: {reason}", "delete it; compare --enter again"
        ) from error


def enter(folder: Path, found: Sequence[Difference]) -> Path:
    """Add differences, replacing former ones of the same two models; return the file."""
    names = [{pair.first, pair.second} for pair in found]
    kept = [p for p in read_pairs(folder).pair if {p.first, p.second} not in names]
    pairs = sorted([*kept, *found], key=lambda p: (p.first, p.second))
    write_text(folder / NAME, HEAD + "".join(map(_block, pairs)))
    return folder / NAME


def _block(pair: Difference) -> str:
    lines = ["", "[[pair]]"]
    for name in ("first", "second", "first_images", "second_images"):
        lines.append(f'{name} = "{getattr(pair, name)}"')
    lines.append("[pair.metrics]")
    for metric, values in sorted(pair.metrics.items()):
        lines.append(f"{metric} = [{', '.join(f'{value:.6g}' for value in values)}]")
    return "\n".join(lines).replace("= [-0, ", "= [0.0, ") + "\n"
