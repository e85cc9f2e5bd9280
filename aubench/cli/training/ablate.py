"""``aubench ablate``: train and score a generator with parts left out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aubench.cli import completion as complete
from aubench.cli.metric_choice import metrics_of
from aubench.cli.options import (
    MeasurementOptions,
    TrainingOptions,
    gather_options,
    measurement_options,
    named_values,
    training_options,
)
from aubench.cli.output import Result, results
from aubench.datasets import DEFAULT_DATASET

if TYPE_CHECKING:
    from aubench.generators.contract import Ablatable, AblationRow, Training
    from aubench.records.record import Record
    from aubench.run.execute import RunConfig

FOLDER = "ablations"


@dataclass(frozen=True)
class ScoringOptions:
    """Options of ``aubench ablate`` that say how its rows are scored; as those of a run."""

    protocol: str
    protocol_data: str | None
    limit: int | None
    sample_seed: int
    batch_size: int
    words: tuple[str, ...]
    check_determinism: bool

    def config(self, model: str, training: Training, measurement: MeasurementOptions) -> RunConfig:
        """Return the run of every row, but for protocol, folder and weights.

        Raises:
            AubenchError: An option of the model that is not NAME=VALUE, or an unknown metric,
                protocol or data set.
        """
        from aubench.run.config import RunConfig

        data = self.protocol_data or scored_data(training.data)
        measurement = measurement.chosen_for(data)
        return RunConfig(
            model=model,
            protocol=self.protocol,
            data=data,
            out=training.out,
            weights=training.out,
            options=named_values("--option", self.words, "steps=9"),
            limit=self.limit,
            seed=self.sample_seed,
            batch_size=self.batch_size,
            device=training.device,
            metrics=metrics_of(measurement.profile, measurement.metrics, self.protocol, data),
            check_determinism=self.check_determinism,
            extractor=measurement.extractor,
            legibility_model=measurement.legibility_model,
            detectors=measurement.detectors,
            witness=measurement.witness,
            text_au=measurement.text_au,
        )


@click.command()
@click.argument("model", shell_complete=complete.model)
@click.option("--rows", default="all", show_default=True, help="Some of them, with commas.")
@click.option("--list", "listed", is_flag=True, help="Print the rows and stop.")
@click.option(
    "--protocol",
    shell_complete=complete.protocol,
    default="test2k",
    show_default=True,
    help="To score on.",
)
@click.option(
    "--protocol-data",
    shell_complete=complete.dataset,
    help="Data set of the protocol.  [default: --data where that is a data set, else synfacs]",
)
@click.option("--limit", type=click.IntRange(min=2), help="Only N samples of it, evenly spread.")
@click.option(
    "--sample-seed", type=int, default=0, show_default=True, help="Added to the sample seeds."
)
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True)
@click.option(
    "--option",
    "words",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of the trained model, such as steps=9; repeatable.",
)
@click.option(
    "--check-determinism", is_flag=True, help="Make a few samples again, alone, and compare."
)
@gather_options(ScoringOptions, "scoring")
@measurement_options()
@training_options(
    "To train on.", "Of every row, not the preset's.", FOLDER, complete.dataset_or_folder
)
@results
def ablate(
    model: str,
    rows: str,
    listed: bool,
    scoring: ScoringOptions,
    measurement: MeasurementOptions,
    options: TrainingOptions,
) -> Result:
    """Train MODEL once for each row of its ablations, all alike, and print the tables.

    Each row is trained on --data and scored on --protocol of --protocol-data; everything that
    scoring needs is checked before the first training.

    Interrupt it at any time; the same command resumes. Records lie in OUT/records, a folder
    that `aubench report --leaderboards` prints.
    """
    from aubench.errors import AubenchError
    from aubench.generators.contract import Ablatable
    from aubench.generators.registry import calling, generator_class

    cls = generator_class(model)
    if not isinstance(cls, Ablatable):
        raise AubenchError(f"model '{model}' has no ablations", "vqauface has some")
    if listed:
        lines = [f"{row.name:26} {row.table}  {row.title}" for row in cls.rows]
        return Result(list(cls.rows), lambda: click.echo("\n".join(lines)))
    from aubench.run.execute import execute

    training = options.training(model, cls.presets, FOLDER)
    chosen, folder = _chosen(cls, rows), training.out
    base = scoring.config(model, training, measurement)
    scored = {row.name: _scored(base, row) for row in chosen}
    for config in scored.values():
        training = _fold_of(config, training)
    records: dict[str, Path] = {}
    made: list[tuple[AblationRow, Record]] = []
    for number, row in enumerate(chosen, 1):
        click.echo(f"row {number} of {len(chosen)}: {row.name}, {row.title}", err=True)
        with calling(cls, model, "fit_row()"):
            weights = cls.fit_row(row, training)
        config = scored[row.name]
        with calling(cls, model, "run_options()"):
            own = {**cls.run_options(row, training), **config.options}
        record = execute(replace(config, weights=weights, options=own))
        record = _named(model, row, training, record)
        place = folder / "records" / record.protocol.dataset / record.protocol.name
        records[row.name] = place / f"{record.model.name}.json"
        record.write(records[row.name])
        made.append((row, record))
    data = {"model": model, "preset": training.preset, "records": records}
    return Result(data, lambda: _print(folder / "records", made))


def scored_data(trained_on: str) -> str:
    """Return the data set whose protocol scores a training: its own, synfacs for a folder."""
    from aubench.datasets.registry import dataset_names

    return trained_on if trained_on in dataset_names() else DEFAULT_DATASET


def _chosen(cls: type[Ablatable] | Ablatable, words: str) -> list[AblationRow]:
    from aubench.errors import AubenchError, suggest

    known = {row.name: row for row in cls.rows}
    if words == "all":
        return list(known.values())
    names = [word.strip() for word in words.split(",") if word.strip()]
    for name in names:
        if name not in known:
            raise AubenchError(f"no row '{name}'{suggest(name, known)} in --rows", "see --list")
    return [known[name] for name in names]


def _scored(base: RunConfig, row: AblationRow) -> RunConfig:
    """Return the run that scores a row, checked as every run is.

    Args:
        base: Configuration of all rows; its folder holds one of each row.
        row: Row of the ablation.

    Raises:
        AubenchError: No such protocol, data set, detector, extractor or text classifier.
    """
    from aubench.run.config import prepare

    protocol = protocol_of(row, base.protocol)
    place = f"run-{protocol}" + (f"-limit{base.limit}" if base.limit else "")
    config = replace(base, protocol=protocol, out=base.out / row.name / place)
    prepare(config)
    return config


def _fold_of(config: RunConfig, training: Training) -> Training:
    """Return a training on the fold whose test subjects a protocol asks for.

    Raises:
        AubenchError: ``--fold`` names another, so that models would be judged on faces that they
            were trained on.
    """
    from aubench.datasets.frozen_splits import read_folds
    from aubench.errors import AubenchError
    from aubench.protocols.protocol import load_protocol

    protocol = load_protocol(config.protocol, config.data)
    if config.data != training.data or not (protocol.folder / "folds.json").is_file():
        return training
    fold = read_folds(protocol.folder)["fold"] or None
    if training.fold is not None and training.fold != fold:
        raise AubenchError(
            f"protocol '{config.protocol}' tests fold {fold} of '{config.data}', and --fold "
            f"{training.fold} trains on some of its persons",
            f"--fold {fold}" if fold else "leave --fold out",
        )
    return replace(training, fold=fold)


def _named(model: str, row: AblationRow, training: Training, record: Record) -> Record:
    """Return the record of a row under a name of its own; it tells of its training."""
    steps = f", {training.steps} steps" if training.steps else ""
    described = record.model.model_copy(
        update={
            "name": f"{model}-{row.name}",
            "inputs": sorted(row.inputs),
            "training": f"{training.preset} preset{steps}; ablation, {row.table}: {row.title}",
        }
    )
    return record.model_copy(update={"model": described})


def protocol_of(row: AblationRow, protocol: str) -> str:
    """Return the protocol of a row: ``test2k``'s twin without text where it reads labels alone.

    Twins of folds that were frozen side by side have the same ending, such as ``-fold2``.
    """
    if "text" in row.inputs or not protocol.startswith("test2k"):
        return protocol
    return "label-input" + protocol.removeprefix("test2k")


def _print(folder: Path, made: list[tuple[AblationRow, Record]]) -> None:
    """Print the rows trained, a table for each of the paper's."""
    from aubench.report.tables.terminal import print_board

    groups: dict[tuple[str, str], list[Record]] = {}
    for row, record in made:
        groups.setdefault((row.table, record.protocol.name), []).append(record)
    for (table, place), records in groups.items():
        print_board(f"{table}, {place}", records)
    click.echo(f"records {folder}")
