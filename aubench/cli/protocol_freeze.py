"""``aubench protocol freeze``: a protocol built anew, or from the researcher's own data."""

from __future__ import annotations

from pathlib import Path

import click

from aubench.cli import completion as complete
from aubench.cli.options import data_option
from aubench.cli.output import Result, results, written


@click.command()
@click.argument("name", shell_complete=complete.protocol)
@data_option("synfacs, or an imported set.")
@click.option("--out", type=click.Path(path_type=Path),
              help="Folder to write.  [imported sets: among your protocols]")  # fmt: skip
@click.option("--fold", type=click.IntRange(min=1), default=1, show_default=True,
              help="Whose test subjects are asked for.")  # fmt: skip
@click.option("--samples", type=click.IntRange(min=2), help="In place of the paper's number.")
@click.option("--size", type=click.IntRange(32, 1024), default=256, show_default=True)
@click.option("--unknown", type=click.Choice(["active", "absent"]), default="active",
              show_default=True, help="What AUs unknown in train may be, for unseen.")  # fmt: skip
@click.option("--detectors", metavar="A,B", help="Freeze AAAD's constants for these, such as "
              "me-graphau=FILE,open-graphau=FILE.")  # fmt: skip
@click.option("--extractor", help="Of the feature moments.  [default: inception-2015-12-05]")
@click.option("--statistics/--no-statistics", default=True, show_default=True,
              help="Measure the targets too.")  # fmt: skip
@click.option("--device", default="cpu", show_default=True)
@results
def freeze(
    name: str, data: str, out: Path | None, fold: int, samples: int | None, size: int,
    unknown: str, detectors: str | None, extractor: str | None, statistics: bool, device: str,
) -> Result:  # fmt: skip
    """Build a protocol: of synfacs byte for byte as shipped, or from your imported data.

    The same files give the same digest on every machine. Ids, folds, digests, the proof of unseen
    combinations, and statistics of the targets go into one folder.
    """
    from aubench.datasets import DATASETS
    from aubench.errors import AubenchError

    if data in DATASETS:
        if out is None:
            raise AubenchError("--out DIR is needed to build a protocol of synfacs")
        return _shipped(name, out)
    from aubench.detectors import load_detectors
    from aubench.engine.job import check_device
    from aubench.protocol import load_protocol
    from aubench.protocol_freeze import freeze_own

    check_device(device)
    chosen = load_detectors(detectors, device) if detectors else ()
    frozen = freeze_own(name, data, fold=fold, samples=samples, size=size, root=out,
                        strict=unknown == "active")  # fmt: skip
    train, test = len(frozen.split.train), len(frozen.split.test)
    number, sets = sum(frozen.strata.values()), frozen.combinations
    lines = [f"{data}/{name}: {number} samples, {sets} AU sets, {train} train subjects, "
             f"{test} test subjects"]  # fmt: skip
    lines += [f"  {stratum}: {count}" for stratum, count in frozen.strata.items()]
    networks: list[str] = []
    if statistics:
        from aubench.reference_statistics import freeze_statistics

        told = freeze_statistics(load_protocol(name, data, out), extractor, chosen, device)
        networks = list(told["networks"])
        lines += [f"statistics of the targets by {network}" for network in networks]
        for network, reason in told["missing"].items():
            click.echo(f"no statistics by {network}: {reason}", err=True)
    lines += [f"sha256 {frozen.sha256}", f"wrote {frozen.place}"]
    return written(
        frozen.place, line="\n".join(lines), data=data, name=name, sha256=frozen.sha256,
        samples=number, combinations=sets, strata=frozen.strata, subjects={"train": train,
        "test": test}, statistics=networks,
    )  # fmt: skip


def _shipped(name: str, out: Path) -> Result:
    from aubench.errors import AubenchError, suggest
    from aubench.freeze import PLANS
    from aubench.freeze import freeze as build

    if name not in PLANS:
        raise AubenchError(f"unknown protocol '{name}'{suggest(name, PLANS)}")
    return written(build(name, out))
