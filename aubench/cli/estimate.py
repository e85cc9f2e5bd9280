"""``aubench estimate``: what a run will cost."""

from __future__ import annotations

from pathlib import Path

import click

from aubench.cli import completion as complete
from aubench.cli.options import data_option, named_values
from aubench.cli.output import Result, results
from aubench.cli.run import PROFILES, metrics_of


@click.command()
@click.option(
    "--model", shell_complete=complete.model, help="Registered generator; see `aubench models`."
)
@click.option(
    "--protocol", shell_complete=complete.protocol, help="Frozen protocol; see `aubench protocols`."
)
@data_option("Data set of the protocol.")
@click.option("--from", "record", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Rates of this record, in place of a probe.")  # fmt: skip
@click.option("--samples", type=click.IntRange(min=2),
              help="Images to predict, also more than the protocol has. [all of it]")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=2), help="Predict a run with this --limit.")
@click.option("--probe", type=click.IntRange(min=1), help="Images to generate. [three batches]")
@click.option("--machines", metavar="COUNTx NAME:SPEED,...",
              help="Such as 8x a100:4.0,16x cpu; speed in units of this machine.")  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), help="So many machines of one kind.")
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), help="Of a worker. [1]")
@click.option("--idle", is_flag=True,
              help="Wall time of cores with nothing else to do: processor seconds.")  # fmt: skip
@click.option("--weights", type=click.Path(path_type=Path), help="Weights of the model.")
@click.option("--option", "words", multiple=True, metavar="NAME=VALUE", help="Option of the model.")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="torch device.")
@click.option("--profile", type=click.Choice(list(PROFILES)), default="paper", show_default=True,
              help="Which metrics.")  # fmt: skip
@click.option(
    "--metrics",
    shell_complete=complete.group_list,
    help="In place of a profile, as for `aubench run`.",
)
@click.option("--extractor", help="As for `aubench run`.")
@click.option("--detectors", metavar="A,B", help="As for `aubench run`.")
@results
def estimate(
    model: str | None,
    protocol: str | None,
    data: str,
    record: Path | None,
    samples: int | None,
    limit: int | None,
    probe: int | None,
    machines: str | None,
    workers: int | None,
    speed: float | None,
    idle: bool,
    weights: Path | None,
    words: tuple[str, ...],
    batch_size: int,
    device: str,
    profile: str,
    metrics: str | None,
    extractor: str | None,
    detectors: str | None,
) -> Result:
    """Predict time, memory and disk of a run from a short probe of it, or from a record."""
    from aubench.engine.estimate import Machine, parse_machines
    from aubench.engine.estimate import estimate as predict
    from aubench.errors import AubenchError
    from aubench.report.estimate import as_data, lines

    if machines is not None and (workers or speed):
        raise AubenchError("--machines and --workers are two ways to say one thing", "give one")
    where = (
        parse_machines(machines)
        if machines is not None
        else (Machine(workers or 1, "worker" if workers else "this machine", speed or 1.0),)
    )
    if record is not None:
        from aubench.engine.record_rates import rates_of
        from aubench.record import read_record

        rates = rates_of(read_record(record), record.name)
    else:
        if model is None or protocol is None:
            raise AubenchError("--model and --protocol are needed", "or --from RECORD")
        from aubench.engine.job import RunConfig
        from aubench.engine.probe import FEWEST
        from aubench.engine.probe import probe as try_out

        config = RunConfig(
            model=model, protocol=protocol, data=data, weights=weights, limit=limit,
            options=named_values("--option", words, "saturate=true"), batch_size=batch_size,
            device=device,
            out=Path(), metrics=metrics_of(profile, metrics, protocol, data), extractor=extractor,
            detectors=detectors,
        )  # fmt: skip
        rates = try_out(config, probe or max(FEWEST, 3 * batch_size), samples)
    count = samples or (limit if record is not None else None) or rates.images
    found = predict(rates, count, where, idle=idle)
    return Result(as_data(found), lambda: click.echo("\n".join(lines(found))))
