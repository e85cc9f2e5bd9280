"""The record of a run: scores with everything that makes them comparable."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from aubench.errors import AubenchError
from aubench.storage.files import sha256_bytes, write_text
from aubench.storage.text_files import decode_text, parse_json, read_bytes

SCHEMA = 1
MOST_BYTES = 16 << 20
"""Bytes of a record; one of all metrics with all groups has less than one MiB."""


class _Model(BaseModel):
    """Refuses keys that it does not know."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


def _without(data: dict[str, Any], **usual: Any) -> dict[str, Any]:
    """Return what is written of a part of a record, without fields that hold what they usually do.

    Records of versions that knew no such field stay as they were written.
    """
    return {k: v for k, v in data.items() if k not in usual or v != usual[k]}


class ProtocolInfo(_Model):
    """The protocol a run followed; ``sha256`` covers its definition and its samples."""

    name: str
    version: str
    sha256: str
    dataset: str
    dataset_fingerprint: str
    size: int


class ModelInfo(_Model):
    """The generator; ``metrics_in_training`` are networks it has seen that also score it.

    ``code_sha256`` is the digest of the modules that made the images; None in records of former
    versions, which keep no such field. ``reads_ids`` says that it was told sample ids, and so could
    look images up.
    """

    name: str
    package: str
    package_version: str
    inputs: list[str]
    training: str
    trained_on: list[str]
    metrics_in_training: list[str]
    licence: str
    citation: str
    control: bool
    weights_sha256: str | None
    code_sha256: str | None = None
    reads_ids: bool = False

    @model_serializer(mode="wrap")
    def _plain(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what hardly any model does, and code that nobody looked at.

        A former record stays as it was written.
        """
        return _without(handler(self), reads_ids=False, code_sha256=None)


class ScoreRow(_Model):
    """One number. ``id`` says how it was measured; rows of different ids never share a column."""

    metric: str
    id: str
    value: float | None
    ci: tuple[float, float] | None = None
    n: int
    higher_is_better: bool
    informative: bool = True
    note: str = ""

    @property
    def is_void(self) -> bool:
        """Whether it tells why there is no value, and claims none."""
        return self.value is None and self.id == self.metric


class Counts(_Model):
    """Samples asked for, generated and failed; a failure is scored as one, never dropped.

    ``unsupported`` samples ask for what the model is not made for; its scores leave them out.
    ``unsure_texts`` are texts that the classifier could not read with even odds, None where it read
    none; they are scored as they were read. ``like_targets`` are images that are their targets, or
    nearly, None in records made before they were counted.
    """

    asked: int
    generated: int
    failed: int
    unsupported: int = 0
    limited: bool
    unsure_texts: int | None = None
    like_targets: int | None = None

    @model_serializer(mode="wrap")
    def _plain(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what was not counted: a former record stays as it was written."""
        return _without(handler(self), unsure_texts=None, like_targets=None)


class Provenance(_Model):
    """Seeds, versions and networks behind the scores, and what the machine was.

    ``deviations`` names each of ``packages`` that was not in the version that aubench was tested
    with, as ``{"tested": …, "installed": …}``; None in records of former versions, which keep no
    such field.
    """

    seed: int
    aubench: str
    revision: str | None
    python: str
    packages: dict[str, str]
    deviations: dict[str, dict[str, str]] | None = None
    hardware: str
    device: str
    networks: dict[str, str]
    images_sha256: str
    target_source: str
    command: str

    @model_serializer(mode="wrap")
    def _plain(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out deviations that nobody looked for: a former record stays as it was written."""
        return _without(handler(self), deviations=None)


class StageCost(_Model):
    """What a stage cost over all the calls that a run took.

    Attributes:
        seconds: Seconds of the wall clock.
        processor_seconds: Processor seconds of all cores, with processes that were started and have
            ended.
        images: Made by ``generate``, brought by ``render``, passed to the networks by ``measure``,
            scored by ``score``.
        peak_memory_mib: Largest resident set of the process.
        device_memory_mib: Largest allocation on CUDA, None without.
        calls: How many calls of the run came to this stage.
    """

    seconds: float
    processor_seconds: float
    images: int
    peak_memory_mib: float
    device_memory_mib: float | None = None
    calls: int


class Verified(_Model):
    """What was checked of a submission whose scores were recomputed from its images.

    Attributes:
        aubench: Version that recomputed them.
        made_again: How many images the model made again.
        same_pixels: How many of them came out with the same pixels.
    """

    aubench: str
    made_again: int
    same_pixels: int


class Record(_Model):
    """The result of one run of one model on one protocol.

    ``verified`` is there where somebody else recomputed all scores from the images.

    ``costs`` is empty in records of former versions; their ``seconds`` are those of the call that
    finished the run, which may have found images made and features measured.
    """

    schema_version: int = SCHEMA
    protocol: ProtocolInfo
    model: ModelInfo
    counts: Counts
    scores: list[ScoreRow]
    subsets: dict[str, list[ScoreRow]] = {}
    groups: dict[str, list[ScoreRow]] = {}
    provenance: Provenance
    seconds: dict[str, float]
    costs: dict[str, StageCost] = {}
    created: str
    verified: Verified | None = None

    @model_serializer(mode="wrap")
    def _plain(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out costs where there are none: a former record stays as it was written."""
        return _without(handler(self), costs={}, verified=None)

    def score(self, metric: str) -> ScoreRow | None:
        """Return the row of a metric, None where it was not measured."""
        return next((row for row in self.scores if row.metric == metric), None)

    def content(self) -> dict[str, Any]:
        """Return what two runs of the same thing must agree on: all but costs, date and command."""
        data = self.model_dump(mode="json", exclude={"seconds", "costs", "created"})
        data["provenance"].pop("command")
        return data

    def write(self, path: Path) -> None:
        """Write JSON atomically, so that it outlasts a power cut."""
        write_text(path, self.model_dump_json(indent=1) + "\n", durable=True)


def read_record(path: Path) -> Record:
    """Read and validate a record.

    Raises:
        AubenchError: The file is missing, not JSON, not a record, of another schema, or another
            than its digest in ``record.sha256`` beside it says, where there is one.
    """
    try:
        data = read_bytes(path, MOST_BYTES)
        _check_seal(path, data)
        content = parse_json(decode_text(data), strict=True)
        found = content.get("schema_version", SCHEMA) if isinstance(content, dict) else SCHEMA
        if found != SCHEMA:
            raise AubenchError(
                f"{path} is a record of schema {found}, read here is {SCHEMA}",
                "take the version of aubench that wrote it",
            )
        return Record.model_validate(content)
    except OSError as error:
        raise AubenchError(f"cannot read record {path}: {error.strerror}") from error
    except (ValueError, ValidationError) as error:
        first = (
            str(error).splitlines()[0]
            if not isinstance(error, ValidationError)
            else (".".join(map(str, error.errors()[0]["loc"])) + ": " + error.errors()[0]["msg"])
        )
        raise AubenchError(f"{path} is not a record ({first})", "run the model again") from error


def _check_seal(path: Path, data: bytes) -> None:
    seal = path.with_suffix(".sha256")
    if seal.is_file() and seal.read_bytes().strip() != sha256_bytes(data).encode():
        raise AubenchError(f"{path} is not as {seal.name} beside it says", "run the model again")
