"""``aubench run``: generate, measure and score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aubench.cli import completion as complete
from aubench.cli.options import data_option, named_values
from aubench.cli.output import Result, results

if TYPE_CHECKING:
    from aubench.engine.job import RunConfig
    from aubench.engine.run import Maker
    from aubench.record import Record

PAPER = ("fid", "kid", "is", "lpips", "aaad", "au", "prdc")
METRICS = (
    *PAPER,
    "control",
    "pixels",
    "change",
    "identity",
    "groups",
    "memorisation",
    "legibility",
    "response",
)
PROFILES: dict[str, tuple[str, ...]] = {"paper": PAPER, "full": METRICS}
GRADED = ("response",)
"""On a protocol that commands intensities, whatever the profile."""


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
    required=True,
    help="Frozen protocol; see `aubench protocols`.",
)
@data_option("Data set of the protocol.")
@click.option(
    "--weights", type=click.Path(path_type=Path), help="Weights in place of the model's own."
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    help="For --model images: the folder or CSV of images made elsewhere.",
)
@click.option("--allow-missing", is_flag=True, help="With --images: absent images are failures.")
@click.option(
    "--option",
    "words",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of the model, such as saturate=true; repeatable.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=2),
    help="Only N samples, evenly spread; never on a leaderboard.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Added to the sample seeds.")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="torch device.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder [runs/...].")
@click.option("--resume/--fresh", default=True, show_default=True, help="Go on, or start again.")
@click.option(
    "--profile",
    type=click.Choice(list(PROFILES)),
    default="paper",
    show_default=True,
    help="Which metrics: the paper's and their company, or all.",
)
@click.option("--extractor", help="Network behind FID, KID, PRDC in place of the data set's own.")
@click.option("--detectors", metavar="A,B", help="Two AU detectors, such as me-graphau=FILE,"
              "open-graphau=FILE; needed for photographs.")  # fmt: skip
@click.option(
    "--legibility-model",
    metavar="MODEL",
    help="CLIP for `legibility`: a folder, or a hub id in the local cache; nothing is fetched.",
)
@click.option(
    "--metrics",
    shell_complete=complete.group_list,
    help=f"In place of a profile: some of {','.join(METRICS)}.",
)
@click.option("--ids", is_flag=True, help="Print the metric id of every number.")
@click.option(
    "--check-determinism", is_flag=True, help="Make a few samples again, alone, and compare."
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
@click.option("--workers", type=click.IntRange(min=1), help="With ray: how many [all it takes].")
@click.option("--shards", type=click.IntRange(min=1), help="With ray: pieces of work.")
@click.option("--worker-cpus", type=click.FloatRange(min=0), help="With ray: of each worker [1].")
@click.option("--worker-gpus", type=click.FloatRange(min=0),
              help="With ray: of each worker [1 with --device cuda, else 0].")  # fmt: skip
@results
def run(
    model: str,
    protocol: str,
    data: str,
    weights: Path | None,
    images: Path | None,
    allow_missing: bool,
    words: tuple[str, ...],
    limit: int | None,
    seed: int,
    batch_size: int,
    device: str,
    out: Path | None,
    resume: bool,
    profile: str,
    extractor: str | None,
    detectors: str | None,
    legibility_model: str | None,
    metrics: str | None,
    ids: bool,
    check_determinism: bool,
    shard: str | None,
    engine: str,
    address: str | None,
    workers: int | None,
    shards: int | None,
    worker_cpus: float | None,
    worker_gpus: float | None,
) -> Result:
    """Run a model on a protocol, print its scores, leave a run folder and a record.

    The run can be interrupted at any time; the same command resumes it.
    """
    from aubench.engine.run import RunConfig, default_folder, execute
    from aubench.errors import AubenchError

    if check_determinism and engine != "local":
        raise AubenchError("--check-determinism is for --engine local", "check a few samples here")
    maker = _maker(engine, shard, address, workers, shards, worker_cpus, worker_gpus)
    chosen = metrics_of(profile, metrics, protocol, data)
    options = _options(model, words, images, allow_missing)
    if images is not None and weights is not None:
        raise AubenchError("--images and --weights are two names of one thing", "give one of them")
    config = RunConfig(
        model=model,
        protocol=protocol,
        data=data,
        weights=images or weights,
        options=options,
        limit=limit,
        seed=seed,
        batch_size=batch_size,
        device=device,
        out=out or default_folder(data, protocol, _called(model, images), limit, seed),
        fresh=not resume,
        metrics=chosen,
        check_determinism=check_determinism,
        extractor=extractor,
        legibility_model=legibility_model,
        detectors=detectors,
    )
    if shard is not None:
        return _one_shard(config, shard)
    return shown(config.out, execute(config, maker), ids=ids)


def shown(out: Path, record: Record, *, ids: bool) -> Result:
    """Return the result of a finished run: its record and the files beside it."""
    from aubench.report.costs import cost_line
    from aubench.report.groups import print_groups
    from aubench.report.terminal import print_record

    files = [out / "record.json", out / "grid.png"]

    def show() -> None:
        print_record(record, ids=ids)
        print_groups(record)
        click.echo(f"\ncost   {cost_line(record)}\nrecord {files[0]}\nsheet  {files[1]}")

    return Result({"files": files, "record": record}, show)


def _one_shard(config: RunConfig, text: str) -> Result:
    from aubench.engine.shards import parse_shard, run_shard

    shard = parse_shard(text)
    path, done = run_shard(config, shard)
    line = f"shard {shard}: {done.generated} images, {done.failed} failed, in {path}"
    data = {"files": [path], "shard": str(shard), "generated": done.generated,
            "failed": done.failed, "samples": done.samples}  # fmt: skip
    more = f"when all {shard.count} are there: aubench merge {config.out}"
    return Result(data, lambda: click.echo(f"{line}\n{more}"))


def _maker(engine: str, shard: str | None, address: str | None, workers: int | None,
           shards: int | None, cpus: float | None, gpus: float | None) -> Maker:  # fmt: skip
    """Return what makes the images.

    Raises:
        AubenchError: options that do not belong together, or no Ray.
    """
    from aubench.engine.run import make_here
    from aubench.engine.shards import parse_shard
    from aubench.errors import AubenchError

    if shard is not None:
        parse_shard(shard)
    given = {"--address": address, "--workers": workers, "--shards": shards,
             "--worker-cpus": cpus, "--worker-gpus": gpus}  # fmt: skip
    if engine == "local":
        for name, value in given.items():
            if value is not None:
                raise AubenchError(f"{name} belongs to --engine ray")
        return make_here
    if shard is not None:
        raise AubenchError("--shard and --engine ray exclude each other", "Ray makes shards itself")
    from aubench.engine.ray_engine import Cluster, maker

    return maker(Cluster(address, workers, shards, 1.0 if cpus is None else cpus, gpus))


def metrics_of(profile: str, words: str | None, protocol: str, data: str) -> tuple[str, ...]:
    """Return the metric groups that ``--metrics`` names, each once, or else those of a profile.

    Raises:
        AubenchError: one is unknown, or none is named.
    """
    from aubench.errors import AubenchError, suggest
    from aubench.protocol import load_protocol

    remedy = f"choose from {', '.join(METRICS)}"
    if words is None:
        graded = GRADED if load_protocol(protocol, data).definition.graded else ()
        return tuple(dict.fromkeys([*PROFILES[profile], *graded]))
    chosen = tuple(dict.fromkeys(word.strip() for word in words.split(",") if word.strip()))
    for word in chosen:
        if word not in METRICS:
            raise AubenchError(
                f"unknown metric '{word}'{suggest(word, METRICS)} in --metrics", remedy
            )
    if not chosen:
        raise AubenchError("--metrics names none", remedy)
    return chosen


def _called(model: str, images: Path | None) -> str:
    """Return what the run folder is called after: images of two systems are two runs."""
    return f"{model}-{images.resolve().stem}" if images is not None else model


def _options(
    model: str, words: tuple[str, ...], images: Path | None, allow_missing: bool
) -> dict[str, str]:
    from aubench.errors import AubenchError

    if model != "images" and (images is not None or allow_missing):
        raise AubenchError("--images and --allow-missing belong to --model images")
    found = named_values("--option", words, "saturate=true")
    return found | ({"allow_missing": "true"} if allow_missing else {})
