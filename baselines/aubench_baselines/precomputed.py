"""Images made elsewhere: any system without code here, scored from a folder or a CSV of files.

Only pixels are read. What made them is told by ``card.toml`` in the folder, and unknown without.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aubench.errors import AubenchError
from aubench.generators.cards import Card
from aubench.generators.contract import (
    Generator,
    GeneratorInfo,
    Plan,
    Request,
    SampleFailure,
    WeightSource,
)
from aubench.generators.info_checks import check_networks
from aubench.storage.files import sha256_file
from aubench.storage.pictures import PictureError, format_of, holds_one_colour, read_picture
from aubench.storage.tables import read_table
from aubench.storage.text_files import check_utf8, read_toml

Image = npt.NDArray[np.uint8]
ENDINGS = frozenset({".png", ".jpg", ".jpeg"})
FORMATS = ("PNG", "JPEG")
"""Taken by content: a JPEG that is named as a PNG is one, and the record says so."""

SHOWN = 10
"""How many names of one kind of problem an error shows."""


class ImagesCard(BaseModel):
    """What ``card.toml`` may say of the system that made the images; all of it goes to records."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="images", pattern=r"^[a-z0-9][a-z0-9._-]{0,40}$")
    inputs: list[Literal["text", "au", "reference"]] = ["reference", "text"]
    size: int = Field(default=0, ge=0, le=1024)
    training: str = "unknown"
    trained_on: list[str] = ["unknown"]
    metrics_in_training: list[str] = []
    licence: str = "unknown"
    citation: str = "unknown"
    summary: str = ""


@dataclass(frozen=True)
class Listed:
    """The images found: file by sample id, and the ids that more than one file claims."""

    files: dict[str, Path]
    twice: tuple[str, ...]


def read_card(path: Path) -> ImagesCard:
    """Return the card, or the empty one where there is no file.

    Raises:
        AubenchError: It is no TOML, or has a field that is unknown or ill-formed.
    """
    if not os.path.lexists(path):
        return ImagesCard()
    try:
        card = ImagesCard.model_validate(read_toml(path))
        check_networks(card.name, card.metrics_in_training)
        return card
    except AubenchError as error:
        raise AubenchError(f"{path}: {error.message}", error.hint) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise AubenchError(f"{path}: {field}: {first['msg']}", "see docs/plugins.md") from error
    except OSError as error:
        raise AubenchError(f"cannot read {path}: {error.strerror}", "restore it") from error
    except ValueError as error:
        raise AubenchError(f"{path} is not TOML: {error}", "mend that line") from error


def list_folder(folder: Path) -> Listed:
    """Return the PNG and JPEG files of a folder by their names without ending.

    Raises:
        AubenchError: A name is not UTF-8.
    """
    files: dict[str, Path] = {}
    twice = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in ENDINGS and path.is_file():
            check_utf8(path.name)
            if path.stem in files:
                twice.append(path.stem)
            files.setdefault(path.stem, path)
    return Listed(files, tuple(twice))


def list_csv(table: Path) -> Listed:
    """Return the files that a CSV with ``sample_id,path`` names; paths are relative to it.

    Raises:
        AubenchError: It cannot be read, or a line lacks a cell.
    """
    found = read_table(table)
    found.require("sample_id", "path")
    files: dict[str, Path] = {}
    twice = []
    for row in found.rows:
        name, place = row["sample_id"], row["path"]
        if not name or not place:
            raise row.error("it lacks sample_id or path", "fill in both")
        if name in files:
            twice.append(name)
        files.setdefault(name, table.parent / place)
    return Listed(files, tuple(twice))


def is_srgb(profile: bytes | None) -> bool:
    """Return whether an ICC profile is absent, or says that it is sRGB or grey."""
    from PIL import ImageCms

    if not profile:
        return True
    try:
        said = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        names = ImageCms.getProfileDescription(said) + ImageCms.getProfileName(said)
    except (OSError, ImageCms.PyCMSError):
        return False
    return "srgb" in names.lower() or said.profile.xcolor_space.strip() == "GRAY"


def read_image(path: Path, size: int) -> Image:
    """Return uint8 [size, size, 3] RGB of a PNG or JPEG file.

    Raises:
        PictureError: Says what is wrong with it, without its name.
    """
    found = read_picture(path, FORMATS, deepest=8)
    if found.mode not in ("RGB", "L", "P", "RGBA"):
        raise PictureError(f"has mode {found.mode}, want 8 bits RGB")
    if found.pixels.shape != (size, size, 3):
        height, width, _ = found.pixels.shape
        raise PictureError(f"is {width} by {height} pixels, not {size} by {size}")
    if not found.opaque:
        raise PictureError("has transparent pixels")
    if found.turned:
        raise PictureError("is stored turned, with a note of it; store it upright")
    if not is_srgb(found.profile):
        raise PictureError("has a colour profile other than sRGB")
    return found.pixels


class Precomputed(Generator):
    """Reads the image of a sample from a file."""

    info: ClassVar[GeneratorInfo] = GeneratorInfo(
        name="images",
        inputs=frozenset({"text", "au", "reference"}),
        size=0,
        training="unknown",
        trained_on=("unknown",),
        metrics_in_training=(),
        licence="unknown",
        citation="unknown",
        summary="images made elsewhere, from a folder or a CSV",
        needs="--images",
        reads_ids=True,
    )

    def __init__(
        self, listed: Listed, stated: ImagesCard, source: Path, *, allow_missing: bool
    ) -> None:
        self.listed, self.source, self.allow_missing = listed, source, allow_missing
        # The record tells what made these images, not what read them; and that a codec did too,
        # or that there is nothing on them.
        paths = listed.files.values()
        lossy = sum(format_of(path) == "JPEG" for path in paths)
        codec = f"; {lossy} of {len(paths)} images handed in as JPEG" if lossy else ""
        plain = sum(holds_one_colour(path) for path in paths)
        codec += f"; {plain} of {len(paths)} images have one colour" if plain else ""
        vars(self)["info"] = GeneratorInfo(
            name=stated.name,
            inputs=frozenset(stated.inputs),
            size=stated.size,
            training=stated.training + codec,
            trained_on=tuple(stated.trained_on),
            metrics_in_training=tuple(stated.metrics_in_training),
            licence=stated.licence,
            citation=stated.citation,
            summary=stated.summary,
            reads_ids=True,
        )

    @classmethod
    def load(cls, weights: WeightSource, *, device: str, dtype: str, **options: Any) -> Self:
        """List the images of a folder or a CSV; pixels are read when they are asked for.

        Args:
            weights: The folder, or a CSV file.
            device: Not used.
            dtype: Not used.
            options: ``allow_missing``, true to count absent images as failures.

        Raises:
            AubenchError: There is none, it holds no image, or its card is ill-formed.
        """
        from aubench.generators.registry import GROUP

        allow = str(options.pop("allow_missing", "false")).lower()
        if options or allow not in ("true", "false"):
            raise AubenchError("model 'images' has one option: allow_missing, true or false")
        source = weights.path
        if source is None:
            raise AubenchError("model 'images' needs --images", "name a folder or a CSV file")
        folder = source if source.is_dir() else source.parent
        listed = list_folder(source) if source.is_dir() else list_csv(source)
        if not listed.files:
            raise AubenchError(f"{source} holds no PNG or JPEG", "name them by sample id")
        stated = read_card(folder / "card.toml")
        if stated.name != cls.info.name and stated.name in GROUP.names():
            raise AubenchError(f"{folder / 'card.toml'}: '{stated.name}' is another model's name")
        return cls(listed, stated, source, allow_missing=allow == "true")

    @classmethod
    def card(cls) -> Card:
        """Say that there are no weights, and where the images' own card lies."""
        return Card(weights="none; --images names a folder or CSV, card.toml in it says whose")

    def begin(self, plan: Plan) -> None:
        """Read every image once and list all that is wrong by name.

        Raises:
            AubenchError: Images are missing (unless allowed), extra, twice there, of another size,
                or cannot be decoded.
        """
        faults = dict(self.faults(plan))
        if self.allow_missing:
            faults.pop("missing", None)
        if faults:
            parts = [f"{len(names)} {kind}: {_few(names)}" for kind, names in faults.items()]
            hint = (
                "mend them"
                if set(faults) != {"missing"}
                else ("add them, or --allow-missing counts them as failures")
            )
            raise AubenchError(f"{self.source}: {'; '.join(parts)}", hint)

    def faults(self, plan: Plan) -> Iterator[tuple[str, list[str]]]:
        """Yield each kind of problem with the names it concerns, in the order of the plan."""
        files, wrong = self.listed.files, []
        for name in plan.sample_ids:
            if name in files:
                try:
                    read_image(files[name], plan.size)
                except ValueError as error:
                    wrong.append(f"{files[name].name} {error}")
        kinds = (
            ("missing", [name for name in plan.sample_ids if name not in files]),
            ("of no sample", [path.name for name, path in files.items() if name not in plan.known]),
            ("twice", list(self.listed.twice)),
            ("unfit", wrong),
        )
        yield from ((kind, names) for kind, names in kinds if names)

    @property
    def weights_sha256(self) -> str | None:
        """Digest of the files, so that a folder that changed is not mixed with what it was."""
        whole = hashlib.sha256()
        for name, path in sorted(self.listed.files.items()):
            digest = sha256_file(path) if path.is_file() else "absent"
            whole.update(f"{name}={digest}\n".encode())
        return whole.hexdigest()

    def generate(self, batch: Sequence[Request]) -> Image:
        """Return uint8 [B, size, size, 3], the image of each request.

        Raises:
            SampleFailure: There is none, and that was allowed.
            AubenchError: One does not fit.
        """
        return np.stack([self._one(request) for request in batch])

    def _one(self, request: Request) -> Image:
        path = self.listed.files.get(request.sample_id)
        if path is None:
            raise SampleFailure(request.sample_id, f"no image in {self.source.name}")
        try:
            return read_image(path, request.size)
        except ValueError as error:
            raise AubenchError(f"{path} {error}") from error


def _few(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
