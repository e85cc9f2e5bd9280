"""A finished run folder opened again: its record, its samples and what was measured on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aubench.engine.folder import RunFolder
from aubench.errors import AubenchError
from aubench.record import ModelInfo, Record, read_record

if TYPE_CHECKING:
    from aubench.datasets.samples import ImageSource, SampleSet
    from aubench.engine.measured import Measured
    from aubench.generator import GeneratorInfo
    from aubench.protocol import Protocol

GROUPS = {
    "fid": "fid", "kid": "kid", "is": "is", "lpips": "lpips", "rms": "pixels", "aaad": "aaad",
    "au_f1": "au", "leakage": "control", "precision": "prdc", "identity": "identity",
    "outside_change": "change",
}  # fmt: skip
"""Metric group of ``--metrics`` by a row that only it writes."""


@dataclass(frozen=True)
class Run:
    """A run folder with what its record says of it."""

    folder: RunFolder
    record: Record
    samples: SampleSet
    protocol: Protocol

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.record.model.name

    @property
    def ids(self) -> list[str]:
        """Sample ids in the order of the rows."""
        return self.samples.ids

    def groups(self) -> list[str]:
        """Return the metric groups that the record answers, in its order."""
        rows = [row.metric for row in self.record.scores]
        return list(dict.fromkeys(GROUPS[name] for name in rows if name in GROUPS))

    def images(self) -> ImageSource:
        """Return where the references and targets come from."""
        from aubench.datasets import image_source

        return image_source(self.protocol.dataset)

    def measured(self, metrics: Sequence[str], device: str = "cpu") -> Measured:
        """Return what the metrics are functions of; the folder's features are taken as they are.

        Raises:
            AubenchError: features are missing and an image is not as the ledger says.
        """
        from aubench.engine.choices import chosen
        from aubench.engine.measured import gather

        return gather(
            self.folder, self.samples, self.images(), self.protocol,
            generator_info(self.record.model), metrics, self.record.protocol.size, device,
            chosen(self.folder.path),
        )  # fmt: skip


def generator_info(model: ModelInfo) -> GeneratorInfo:
    """Return a record's model as the harness knows models."""
    from aubench.generator import GeneratorInfo

    return GeneratorInfo(
        name=model.name,
        inputs=frozenset(model.inputs),
        size=0,
        training=model.training,
        trained_on=tuple(model.trained_on),
        metrics_in_training=tuple(model.metrics_in_training),
        licence=model.licence,
        citation=model.citation,
        control=model.control,
    )


def open_run(path: Path) -> Run:
    """Open a run folder, or the folder that a ``record.json`` lies in.

    Raises:
        AubenchError: it is no finished run, of another version of the protocol, or its record
            speaks of other images than its ledger.
    """
    from aubench.datasets.samples import read_samples
    from aubench.protocol import load_protocol

    path = path.parent if path.is_file() else path
    folder = RunFolder(path)
    if not folder.record.is_file():
        raise AubenchError(
            f"{path} is not a finished run folder: it has no record.json",
            "`aubench run … --out` writes one",
        )
    record = read_record(folder.record)
    protocol = load_protocol(record.protocol.name, record.protocol.dataset)
    if protocol.sha256 != record.protocol.sha256:
        raise AubenchError(
            f"{path} follows another version of protocol '{protocol.name}'", "run it again"
        )
    samples = read_samples(path / "samples.parquet", protocol.dataset)
    if samples.sha256 != _asked(samples, protocol, record.provenance.seed):
        raise AubenchError(
            f"{path / 'samples.parquet'} holds other samples than protocol '{protocol.name}'",
            "run the model again",
        )
    folder.open({}, fresh=False)
    run = Run(folder, record, samples, protocol)
    if folder.digest(run.ids) != record.provenance.images_sha256:
        raise AubenchError(
            f"{path}: the record speaks of other images than the ledger",
            "resume the run to finish it",
        )
    return run


def _asked(samples: SampleSet, protocol: Protocol, seed: int) -> str:
    """Return the digest that samples of these ids have in the protocol, empty of other ids."""
    from dataclasses import replace

    whole = protocol.samples()
    place = {str(name): row for row, name in enumerate(whole.frame["sample_id"])}
    rows = [place.get(str(name), -1) for name in samples.frame["sample_id"]]
    if -1 in rows:
        return ""
    found = whole.subset(rows)
    return replace(found, frame=found.frame.assign(seed=found.frame["seed"] + seed)).sha256
