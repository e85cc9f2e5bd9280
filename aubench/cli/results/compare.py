"""``aubench compare``: two runs on the same samples."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aubench.cli import completion as complete
from aubench.cli.options import gather_options
from aubench.cli.output import Result, results
from aubench.errors import AubenchError
from aubench.storage.text_files import read_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aubench.comparison.comparison import Comparison
    from aubench.comparison.difference import Difference

FOLDER = click.Path(path_type=Path, exists=True)
USUAL = "aaad_second"


@dataclass(frozen=True)
class SheetOptions:
    """Options on the sheet of samples that differ most."""

    by: str | None
    worst: int

    def metric(self, found: Comparison) -> str | None:
        """Return the metric whose differences order the sheet; None for no sheet."""
        if not self.worst:
            return None
        known = found.by_sample
        return self.by or next((name for name in (USUAL, *known) if name in known), None)


@click.command()
@click.argument("first", type=FOLDER)
@click.argument("second", type=FOLDER)
@click.option(
    "--protocol", shell_complete=complete.protocol, help="Refuse runs of another protocol."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder. [runs/compare-FIRST-SECOND]")
@click.option(
    "--by",
    shell_complete=complete.metric,
    help="Metric of the sheet. [aaad_second, else the first that both have]",
)
@click.option(
    "--worst",
    type=click.IntRange(0, 200),
    default=12,
    show_default=True,
    help="Samples on the sheet.",
)
@click.option(
    "--minimum",
    type=click.IntRange(2),
    default=20,
    show_default=True,
    help="Samples of a combination to be tested.",
)
@click.option("--enter", is_flag=True, help="Enter the differences beside the records, for ties.")
@click.option("--leaderboards", type=click.Path(path_type=Path), help="Folder of the records.")
@results
@gather_options(SheetOptions, "sheet")
def compare(
    first: Path,
    second: Path,
    protocol: str | None,
    out: Path | None,
    sheet: SheetOptions,
    minimum: int,
    enter: bool,
    leaderboards: Path | None,
) -> Result:
    """Print the paired differences FIRST - SECOND of two run folders, with 95 % intervals."""
    from aubench.comparison import comparison
    from aubench.comparison.difference_sheet import write_samples, write_sheet
    from aubench.comparison.runs import open_run
    from aubench.storage.files import write_text

    one, two = open_run(first), open_run(second)
    comparison.check(one, two, protocol)
    found = comparison.compare(one, two, minimum)
    place = out or _place(found)
    text = json.dumps(found.report(), indent=1) + "\n"
    write_text(place / "compare.json", text)
    write_samples(place / "samples.csv", found)
    by = sheet.metric(found)
    if by:
        write_sheet(place / "sheet.png", found, by, sheet.worst)
    if enter:
        click.echo(f"entered into {_enter(found, leaderboards)}", err=True)

    def show() -> None:
        _show(found)
        drawn = ", sheet.png" if by else ""
        click.echo(f"written to {place}: compare.json, samples.csv{drawn}")

    return Result(found.report(), show)


def _place(found: Comparison) -> Path:
    """Return the folder of a comparison: its own, or the first that holds no other one."""
    names = "-".join(name.strip("/.").replace("/", "_") for name in found.names)
    usual = f"compare-{found.first.protocol.name}-{names}"
    places = (Path("runs") / (usual if i == 1 else f"{usual}-{i}") for i in count(1))
    return next(place for place in places if not _holds_another(place, found.report()))


def _holds_another(place: Path, report: dict[str, Any]) -> bool:
    """Whether a folder holds the comparison of other runs, or something else."""
    if not place.exists():
        return False
    try:
        held = read_json(place / "compare.json")
        return any(held[which] != report[which] for which in ("first", "second"))
    except (OSError, ValueError, TypeError, KeyError):
        return True


def _show(found: Comparison) -> None:
    one, names = found.first, found.names
    counts = f"N = {len(one.ids)}, {len(set(one.samples.subjects()))} subjects"
    title = f"{names[0]} − {names[1]} on {one.protocol.dataset}/{one.protocol.name}, {counts}"
    _table(title, found.metrics, names, holm=False)
    for name, reason in found.skipped.items():
        click.echo(f"  {name}: {reason}")
    _table("F1 of each AU, second detector", found.aus, names)
    if found.skills:
        _table("AU skill of each AU, second detector", found.skills, names)
    for what, family in (("stratum", found.strata), ("combination", found.combinations)):
        if family:
            _table(f"AAAD of each {what}, second detector", family, names)


def _table(
    title: str, rows: Sequence[Difference], names: tuple[str, str], *, holm: bool = True
) -> None:
    from aubench.console import Grid, print_grid
    from aubench.report.tables.cells import shown_as

    last = "p (Holm)" if holm else "p"
    heads = ("", *names, "difference [95 %]", last, "detectable", "n", "better")
    lines = []
    for d in rows:
        arrow = "↑" if d.higher else "↓"
        facts = shown_as(d.name)
        one, two, off = (_figure(v * facts.scale) for v in (d.first, d.second, d.difference))
        ends = [_figure(v * facts.scale) for v in d.interval or ()]
        ci = f" [{', '.join(ends)}]" if ends else ""
        better = ("tie" if d.interval else "—") if not d.better else names[d.better - 1]
        lines.append(
            (
                " ".join(filter(None, (d.name, facts.multiple, arrow))),
                one,
                two,
                f"{off}{ci}",
                _p(d.holm if holm else d.p),
                "—" if d.detectable is None else _figure(d.detectable * facts.scale),
                str(d.n),
                better,
            )
        )
    print_grid(Grid(heads, lines, title))
    click.echo()


def _p(value: float | None) -> str:
    if value is None:
        return "—"
    return "<0.001" if value < 0.001 else f"{value:.2g}"


def _figure(value: float) -> str:
    text = f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _enter(found: Comparison, folder: Path | None) -> Path:
    from aubench.comparison.pairs import Difference, enter
    from aubench.report.places import entry

    record = found.first.record
    if record.counts.limited:
        raise AubenchError("a run with --limit cannot be entered", "compare whole runs")
    pair = Difference(
        first=found.first.name,
        second=found.second.name,
        first_images=record.provenance.images_sha256,
        second_images=found.second.record.provenance.images_sha256,
        metrics={d.name: (d.difference, *d.interval) for d in found.metrics if d.interval},
    )
    root = entry(folder)
    return enter(root / record.protocol.dataset / record.protocol.name, [pair])
