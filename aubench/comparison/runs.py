"""A finished run folder opened again: its record, its samples and what was measured on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from aubench.errors import AubenchError
from aubench.metrics import registry
from aubench.records.record import ModelInfo, Record, read_record
from aubench.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from aubench.datasets.samples import ImageSource, SampleSet
    from aubench.generators.contract import GeneratorInfo
    from aubench.metrics.evaluation_data import EvaluationData
    from aubench.networks.network_choice import NetworkChoice
    from aubench.protocols.protocol import Protocol


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

    def metrics(self) -> list[str]:
        """Return the installed metrics whose scores the record holds, in its order."""
        owners = [registry.owner(row.metric) for row in self.record.scores]
        return list(dict.fromkeys(one.name for one in owners if one is not None))

    def images(self) -> ImageSource:
        """Return where the references and targets come from."""
        from aubench.datasets import image_source

        return image_source(self.protocol.dataset)

    def networks(self) -> NetworkChoice:
        """Return the networks that the run was measured with.

        The text classifier is the one that the record's AAAD names, where it ships.
        """
        from aubench.networks.network_choice import chosen
        from aubench.networks.textau import find_text_au

        kept = chosen(self.folder.path)
        if kept.text_au is None:
            ids = [row.id for row in self.record.scores]
            return replace(kept, text_au=find_text_au(ids))
        return kept

    def evaluation_data(self, metrics: Sequence[str], device: str = "cpu") -> EvaluationData:
        """Return what the metrics are functions of; the folder's features are taken as they are.

        Raises:
            AubenchError: Features are missing and an image is not as the ledger says.
        """
        from aubench.evaluate.collect import Evaluation, collect_evaluation_data
        from aubench.networks.network_choice import NO_WITNESS

        model = self.record.model
        choice = self.networks()
        witness = (choice.witness_of(self.protocol.dataset) or "").partition("=")[0]
        if witness not in self.record.provenance.networks:
            # Scored without: a witness that is here by now would have to see all images first.
            choice = replace(choice, witness=NO_WITNESS)
        return collect_evaluation_data(
            Evaluation(
                self.folder,
                self.samples,
                self.images(),
                self.protocol,
                tuple(metrics),
                self.record.protocol.size,
                device,
                choice,
                reads_text="text" in model.inputs or model.control,
                model=model.name,
            )
        )


def generator_info(model: ModelInfo) -> GeneratorInfo:
    """Return a record's model as the harness knows models."""
    from aubench.generators.contract import GeneratorInfo

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
        reads_ids=model.reads_ids,
    )


def open_run(path: Path) -> Run:
    """Open a run folder, or the folder that a ``record.json`` lies in.

    Raises:
        AubenchError: It is no finished run, of another version of the protocol, or its record
            speaks of other images than its ledger.
    """
    from aubench.datasets.samples import read_samples
    from aubench.protocols.protocol import load_protocol

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
    run = Run(RunFolder.read_only(path), record, samples, protocol)
    if run.folder.digest(run.ids) != record.provenance.images_sha256:
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
