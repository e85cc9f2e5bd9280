"""``aubench protocol freeze``: a protocol built anew, or from the researcher's own data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from aubench.cli import completion as complete
from aubench.cli.options import data_option, gather_options, text_au_option, with_chosen
from aubench.cli.output import Result, results, written


@dataclass(frozen=True)
class DrawOptions:
    """Options that say which samples are drawn from an imported data set."""

    fold: int
    samples: int | None
    size: int
    unknown: str
    allocation: str


@dataclass(frozen=True)
class StatisticsOptions:
    """Options that say whether and by which networks the targets are measured."""

    statistics: bool
    detectors: str | None
    extractor: str | None
    device: str
    text_au: str | None


@click.command()
@click.argument("name", shell_complete=complete.protocol)
@data_option("synfacs, or an imported set.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder to write.  [imported sets: among your protocols]",
)
@click.option(
    "--fold",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Whose test subjects are asked for.",
)
@click.option("--samples", type=click.IntRange(min=2), help="In place of the paper's number.")
@click.option("--size", type=click.IntRange(32, 1024), default=256, show_default=True)
@click.option(
    "--unknown",
    type=click.Choice(["active", "absent"]),
    default="active",
    show_default=True,
    help="What AUs unknown in train may be, for unseen.",
)
@click.option(
    "--allocation",
    type=click.Choice(["conflicts", "paper"]),
    default="conflicts",
    show_default=True,
    help="Which AUs our texts describe together: opposed ones first, or in the paper's order.",
)
@click.option(
    "--detectors",
    metavar="A,B",
    help="Freeze AAAD's constants for these, such as me-graphau=FILE,open-graphau=FILE.",
)
@text_au_option()
@click.option("--extractor", help="Of the feature moments.  [default: inception-2015-12-05]")
@click.option(
    "--statistics/--no-statistics", default=True, show_default=True, help="Measure the targets too."
)
@click.option("--device", default="cpu", show_default=True)
@results
@gather_options(DrawOptions, "draw")
@gather_options(StatisticsOptions, "measure")
def freeze(
    name: str, data: str, out: Path | None, draw: DrawOptions, measure: StatisticsOptions
) -> Result:
    """Build a protocol: of synfacs byte for byte as shipped, or from your imported data.

    NAME may go on after a dash, as in test2k-fold2 with --fold 2, so that the protocols of several
    folds stand side by side. The same files give the same digest on every machine. Ids, folds,
    digests, the proof of unseen combinations, and statistics of the targets go into one folder.
    """
    from aubench.datasets.registry import find_dataset
    from aubench.errors import AubenchError
    from aubench.networks.textau import text_au_identity
    from aubench.run.config import check_device

    check_device(measure.device)
    measure = with_chosen(measure, data)
    text_au_identity(measure.text_au)
    if find_dataset(data).drawn_protocols:
        if out is None:
            raise AubenchError(f"--out DIR is needed to build a protocol of {data}")
        return _shipped(data, name, out)
    from aubench.networks.detectors import load_detectors
    from aubench.protocols.freeze import freeze_own
    from aubench.protocols.protocol import load_protocol

    chosen = load_detectors(measure.detectors, measure.device) if measure.detectors else ()
    frozen = freeze_own(
        name,
        data,
        fold=draw.fold,
        samples=draw.samples,
        size=draw.size,
        root=out,
        strict=draw.unknown == "active",
        allocation="paper" if draw.allocation == "paper" else "conflicts",
    )
    train, test = len(frozen.split.train), len(frozen.split.test)
    number, sets = sum(frozen.strata.values()), frozen.combinations
    lines = [
        f"{data}/{name}: {number} samples, {sets} AU sets, {train} train subjects, "
        f"{test} test subjects"
    ]
    lines += [f"  {stratum}: {count}" for stratum, count in frozen.strata.items()]
    networks: list[str] = []
    if measure.statistics:
        from aubench.protocols.reference_statistics import freeze_statistics

        statistics = freeze_statistics(
            load_protocol(name, data, out),
            measure.extractor,
            chosen,
            measure.device,
            measure.text_au,
        )
        networks = list(statistics["networks"])
        lines += [f"statistics of the targets by {network}" for network in networks]
        for network, reason in statistics["missing"].items():
            click.echo(f"no statistics by {network}: {reason}", err=True)
    lines += [f"sha256 {frozen.sha256}", f"wrote {frozen.place}"]
    return written(
        frozen.place,
        line="\n".join(lines),
        data=data,
        name=name,
        sha256=frozen.sha256,
        samples=number,
        combinations=sets,
        strata=frozen.strata,
        subjects={"train": train, "test": test},
        statistics=networks,
    )


def _shipped(data: str, name: str, out: Path) -> Result:
    from aubench.errors import AubenchError, suggest
    from aubench.protocols import synfacs2_draws, synfacs_draws

    drawn = {module.DATASET: module for module in (synfacs_draws, synfacs2_draws)}
    if data not in drawn:
        raise AubenchError(f"'{data}' has no protocols of its own", f"--data {max(drawn)}")
    plans = drawn[data].PLANS
    if name not in plans:
        raise AubenchError(f"unknown protocol '{name}'{suggest(name, plans)}")
    return written(drawn[data].freeze(name, out))
