"""``aubench estimate``: what a run will cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aubench.cli import completion as complete
from aubench.cli.metric_choice import metrics_of
from aubench.cli.options import (
    MeasurementOptions,
    data_option,
    device_option,
    gather_options,
    measurement_options,
    model_options,
    named_values,
)
from aubench.cli.output import Result, results

if TYPE_CHECKING:
    from aubench.run.config import RunConfig
    from aubench.run.cost.estimate import Machine


@dataclass(frozen=True)
class ProbeOptions:
    """Options that say which run is predicted."""

    model: str | None
    protocol: str | None
    data: str
    weights: Path | None
    words: tuple[str, ...]
    limit: int | None
    batch_size: int
    device: str
    probe: int | None

    def config(self, measurement: MeasurementOptions) -> RunConfig:
        """Return the run that a probe tries out.

        Raises:
            AubenchError: No model or no protocol is named, or a metric is unknown.
        """
        from aubench.errors import AubenchError
        from aubench.run.config import RunConfig

        if self.model is None or self.protocol is None:
            raise AubenchError("--model and --protocol are needed", "or --from RECORD")
        measurement = measurement.chosen_for(self.data)
        return RunConfig(
            model=self.model,
            protocol=self.protocol,
            data=self.data,
            weights=self.weights,
            limit=self.limit,
            options=named_values("--option", self.words, "saturate=true"),
            batch_size=self.batch_size,
            device=self.device,
            out=Path(),
            metrics=metrics_of(measurement.profile, measurement.metrics, self.protocol, self.data),
            extractor=measurement.extractor,
            detectors=measurement.detectors,
            witness=measurement.witness,
            text_au=measurement.text_au,
            legibility_model=measurement.legibility_model,
        )


@dataclass(frozen=True)
class MachineOptions:
    """Options that say on which machines a run is predicted."""

    machines: str | None
    workers: int | None
    speed: float | None
    idle: bool

    def parsed(self) -> tuple[Machine, ...]:
        """Return the machines.

        Raises:
            AubenchError: They are named in two ways, or not as NAME:SPEED.
        """
        from aubench.errors import AubenchError
        from aubench.run.cost.estimate import Machine, parse_machines

        if self.machines is None:
            name = "worker" if self.workers else "this machine"
            return (Machine(self.workers or 1, name, self.speed or 1.0),)
        if self.workers or self.speed:
            raise AubenchError("--machines and --workers are two ways to say one thing", "give one")
        return parse_machines(self.machines)


@click.command()
@click.option(
    "--model", shell_complete=complete.model, help="Registered generator; see `aubench models`."
)
@click.option(
    "--protocol", shell_complete=complete.protocol, help="Frozen protocol; see `aubench protocols`."
)
@data_option("Data set of the protocol.")
@click.option(
    "--from",
    "record",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Rates of this record, in place of a probe.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=2),
    help="Images to predict, also more than the protocol has. [all of it]",
)
@click.option("--limit", type=click.IntRange(min=2), help="Predict a run with this --limit.")
@click.option("--probe", type=click.IntRange(min=1), help="Images to generate. [three batches]")
@click.option(
    "--machines",
    metavar="COUNTx NAME:SPEED,...",
    help="Such as 8x a100:4.0,16x cpu; speed in units of this machine.",
)
@click.option("--workers", type=click.IntRange(min=1), help="So many machines of one kind.")
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), help="Of a worker. [1]")
@click.option(
    "--idle", is_flag=True, help="Wall time of cores with nothing else to do: processor seconds."
)
@model_options()
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True)
@device_option()
@measurement_options()
@results
@gather_options(ProbeOptions, "options")
@gather_options(MachineOptions, "where")
def estimate(
    options: ProbeOptions,
    where: MachineOptions,
    measurement: MeasurementOptions,
    record: Path | None,
    samples: int | None,
) -> Result:
    """Predict time, memory and disk of a run from a short probe of it, or from a record."""
    from aubench.report.tables.estimate import as_data, lines
    from aubench.run.cost.estimate import estimate as predict

    machines = where.parsed()
    if record is not None:
        from aubench.records.record import read_record
        from aubench.run.cost.record_rates import rates_of

        rates = rates_of(read_record(record), record.name)
    else:
        from aubench.run.cost.probe import FEWEST
        from aubench.run.cost.probe import probe as try_out

        config = options.config(measurement)
        rates = try_out(config, options.probe or max(FEWEST, 3 * options.batch_size), samples)
    count = samples or (options.limit if record is not None else None) or rates.images
    found = predict(rates, count, machines, idle=where.idle)
    return Result(as_data(found), lambda: click.echo("\n".join(lines(found))))
