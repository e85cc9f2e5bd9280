"""``aubench run``: generate, measure and score."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

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
    from aubench.records.record import Record
    from aubench.run.config import RunConfig
    from aubench.run.execute import ImageBackend


QUICK = 200
"""Samples of ``--quick``."""


@dataclass(frozen=True)
class RunOptions:
    """Options of ``aubench run`` that say what is made, and where it goes."""

    model: str
    protocol: str | None
    data: str
    for_study: Path | None
    weights: Path | None
    images: Path | None
    allow_missing: bool
    words: tuple[str, ...]
    limit: int | None
    seed: int
    batch_size: int
    device: str
    out: Path | None
    resume: bool
    check_determinism: bool
    quick: bool
    sandbox: bool

    def config(self, measurement: MeasurementOptions) -> RunConfig:
        """Return the run that is asked for.

        Raises:
            AubenchError: Options that do not belong together, or an unknown metric.
        """
        from aubench.errors import AubenchError
        from aubench.run.config import RunConfig
        from aubench.run.execute import default_folder

        if self.model != "images" and (self.images is not None or self.allow_missing):
            raise AubenchError("--images and --allow-missing belong to --model images")
        if self.images is not None and self.weights is not None:
            raise AubenchError(
                "--images and --weights are two names of one thing", "give one of them"
            )
        if self.quick:
            measurement = self._quickly(measurement)
        protocol, data, only, called = self._drawn()
        measurement = measurement.chosen_for(data)
        options = named_values("--option", self.words, "saturate=true")
        if self.allow_missing:
            options["allow_missing"] = "true"
        return RunConfig(
            model=self.model,
            protocol=protocol,
            data=data,
            only=only,
            weights=self.images or self.weights,
            options=options,
            limit=self._limited(),
            seed=self.seed,
            batch_size=self.batch_size,
            device=self.device,
            out=self.out
            or default_folder(
                data, protocol, f"{self._called()}{called}", self._limited(), self.seed
            ),
            fresh=not self.resume,
            metrics=metrics_of(measurement.profile, measurement.metrics, protocol, data),
            check_determinism=self.check_determinism,
            sandbox=self.sandbox,
            extractor=measurement.extractor,
            legibility_model=measurement.legibility_model,
            detectors=measurement.detectors,
            witness=measurement.witness,
            text_au=measurement.text_au,
        )

    def _limited(self) -> int | None:
        return QUICK if self.quick and self.limit is None else self.limit

    def _quickly(self, measurement: MeasurementOptions) -> MeasurementOptions:
        """Return what ``--quick`` measures.

        Raises:
            AubenchError: Something else is asked for too.
        """
        from aubench.errors import AubenchError

        source = click.get_current_context().get_parameter_source("profile")
        if measurement.metrics is not None or source is not ParameterSource.DEFAULT:
            raise AubenchError(
                "--quick chooses the metrics itself", "leave --metrics and --profile out"
            )
        if self.for_study is not None:
            raise AubenchError("--quick and --for-study exclude each other", "leave --quick out")
        return replace(measurement, profile="quick")

    def _drawn(self) -> tuple[str, str, tuple[str, ...], str]:
        """Return protocol, data set, the samples of a study and what its run is called after.

        Raises:
            AubenchError: No protocol, or one that is not the study's.
        """
        from aubench.errors import AubenchError
        from aubench.study.design.needed import read_needed

        if self.for_study is None:
            if self.protocol is None:
                raise click.UsageError("Missing option '--protocol'.")
            return self.protocol, self.data, (), ""
        needed = read_needed(self.for_study)
        if self.protocol not in (None, needed.protocol) or self.limit is not None:
            raise AubenchError(
                f"{self.for_study} draws from {needed.protocol}", "leave --protocol and --limit out"
            )
        return needed.protocol, needed.data, needed.samples, f"-study-{needed.sha256[:8]}"

    def _called(self) -> str:
        """Return what the run folder is called after: images of two systems are two runs."""
        if self.images is None:
            return self.model
        return f"{self.model}-{self.images.resolve().stem}"


@dataclass(frozen=True)
class EngineOptions:
    """Options of ``aubench run`` that say on which machines images are made."""

    shard: str | None
    engine: str
    address: str | None
    workers: int | None
    shards: int | None
    worker_cpus: float | None
    worker_gpus: float | None

    def image_backend(self) -> ImageBackend:
        """Return what makes the images.

        Raises:
            AubenchError: Options that do not belong together, or no Ray.
        """
        from aubench.errors import AubenchError
        from aubench.run.distributed.shards import parse_shard
        from aubench.run.execute import generate_locally

        if self.shard is not None:
            parse_shard(self.shard)
        if self.engine == "local":
            for name in ("address", "shards", "worker_cpus", "worker_gpus"):
                if getattr(self, name) is not None:
                    raise AubenchError(f"--{name.replace('_', '-')} belongs to --engine ray")
            return generate_locally
        if self.shard is not None:
            raise AubenchError(
                "--shard and --engine ray exclude each other", "Ray makes shards itself"
            )
        from aubench.run.distributed.ray_engine import Cluster, ray_backend

        cpus = 1.0 if self.worker_cpus is None else self.worker_cpus
        return ray_backend(Cluster(self.address, self.workers, self.shards, cpus, self.worker_gpus))


@click.command()
@click.option(
    "--model",
    shell_complete=complete.model,
    required=True,
    help="Registered generator; see `aubench models`.",
)
@click.option(
    "--protocol",
    shell_complete=complete.protocol,
    help="Frozen protocol; see `aubench protocols`.",
)
@click.option(
    "--for-study",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="STUDY",
    help="Only the samples that `study create --plan` listed, of its protocol.",
)
@data_option("Data set of the protocol.")
@model_options()
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    help="For --model images: the folder or CSV of images made elsewhere.",
)
@click.option("--allow-missing", is_flag=True, help="With --images: absent images are failures.")
@click.option(
    "--limit",
    type=click.IntRange(min=2),
    help="Only N samples, evenly spread; never on a leaderboard.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Added to the sample seeds.")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True)
@device_option()
@click.option("--out", type=click.Path(path_type=Path), help="Run folder [runs/...].")
@click.option("--resume/--fresh", default=True, show_default=True, help="Go on, or start again.")
@measurement_options()
@click.option("--ids", is_flag=True, help="Print the metric id of every number.")
@click.option("--quick", is_flag=True, help=f"Five rows on {QUICK} samples, or on --limit of them.")
@click.option(
    "--check-determinism", is_flag=True, help="Make a few samples again, alone, and compare."
)
@click.option(
    "--sandbox", is_flag=True, help="Make images in a process without the targets in reach."
)
@click.option(
    "--shard", metavar="I/N", help="Only the I-th of N shards, from 1; then `aubench merge`."
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where images are made: here, or on the workers of a Ray cluster.",
)
@click.option("--address", metavar="HOST:PORT", help="Ray cluster [a new one on this machine].")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes of one thread each [one a core]; with ray: workers [all it takes].",
)
@click.option("--shards", type=click.IntRange(min=1), help="With ray: pieces of work.")
@click.option("--worker-cpus", type=click.FloatRange(min=0), help="With ray: of each worker [1].")
@click.option(
    "--worker-gpus",
    type=click.FloatRange(min=0),
    help="With ray: of each worker [1 with --device cuda, else 0].",
)
@click.option(
    "--log-to",
    "loggers",
    multiple=True,
    metavar="NAME[:PLACE]",
    help="Tell the scores to tensorboard, wandb, mlflow or trackio too.",
)
@results
@gather_options(RunOptions, "options")
@gather_options(EngineOptions, "engine_options")
def run(
    options: RunOptions,
    measurement: MeasurementOptions,
    engine_options: EngineOptions,
    ids: bool,
    loggers: tuple[str, ...],
) -> Result:
    """Run a model on a protocol, print its scores, leave a run folder and a record.

    The run can be interrupted at any time; the same command resumes it.
    """
    from aubench.errors import AubenchError
    from aubench.report.loggers import facts_of, open_loggers

    asked = open_loggers(loggers)
    if options.check_determinism and engine_options.engine != "local":
        raise AubenchError("--check-determinism is for --engine local", "check a few samples here")
    backend = engine_options.image_backend()
    config = options.config(measurement)
    if engine_options.shard is not None:
        if asked:
            raise AubenchError("--log-to is for whole runs", "leave it out with --shard")
        return _one_shard(config, engine_options.shard)
    record = _made(config, backend, engine_options)
    for logger in asked:
        logger.log(facts_of(record, config.out))
    return shown(config.out, record, ids=ids, brief=options.quick)


def _made(config: RunConfig, backend: ImageBackend, engine: EngineOptions) -> Record:
    """Return the record of a run, made by several processes where that pays."""
    from aubench.run.distributed.processes import processes_of, run_in_processes
    from aubench.run.execute import execute

    if engine.engine == "local":
        count = processes_of(config, engine.workers)
        if count > 1:
            return run_in_processes(config, count)
    return execute(config, backend)


def shown(out: Path, record: Record, *, ids: bool, brief: bool = False) -> Result:
    """Return the result of a finished run: its record and the files beside it.

    Args:
        out: Run folder.
        record: Of the run.
        ids: Whether the metric id of every number is printed.
        brief: Whether only the most telling rows are printed.
    """
    from aubench.evaluate.evaluate import GRID
    from aubench.metrics.registry import artefacts_of
    from aubench.report.tables.costs import cost_line
    from aubench.report.tables.groups import print_groups
    from aubench.report.tables.in_words import in_words
    from aubench.report.tables.terminal import print_brief, print_record

    names = [GRID, *artefacts_of(row.metric for row in record.scores)]
    files = [out / "record.json", *(path for name in names if (path := out / name).is_file())]

    def show() -> None:
        if brief and not ids:
            print_brief(record)
        else:
            print_record(record, ids=ids)
            print_groups(record)
        for line in in_words(record):
            click.echo(f"\n{line}")
        click.echo(f"\ncost   {cost_line(record)}\nrecord {files[0]}")
        for path in files[1:]:
            click.echo(f"{'sheet ' if path.suffix == '.png' else 'table '} {path}")

    return Result({"files": files, "record": record}, show)


def _one_shard(config: RunConfig, text: str) -> Result:
    from aubench.run.distributed.shards import parse_shard, run_shard

    shard = parse_shard(text)
    path, done = run_shard(config, shard)
    line = f"shard {shard}: {done.generated} images, {done.failed} failed, in {path}"
    data = {
        "files": [path],
        "shard": str(shard),
        "generated": done.generated,
        "failed": done.failed,
        "samples": done.samples,
    }
    more = f"when all {shard.count} are there: aubench merge {config.out}"
    return Result(data, lambda: click.echo(f"{line}\n{more}"))
