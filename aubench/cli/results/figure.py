"""``aubench figure``: figures for a paper, from run folders, records and logs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from aubench.cli import completion as complete
from aubench.cli.options import data_option
from aubench.cli.output import Result, results, written

Command = Callable[..., Any]
RUN = click.Path(path_type=Path, exists=True)


def _out(command: Command) -> Command:
    return click.option(
        "-o",
        "--out",
        type=click.Path(path_type=Path, dir_okay=False),
        required=True,
        help="File to write: .svg, .pdf or .png.",
    )(command)


def _restricted(command: Command) -> Command:
    return click.option(
        "--include-restricted", is_flag=True, help="Allow faces of a restricted data set."
    )(command)


def _faces(path: Path, allowed: bool) -> Any:
    """Open a run whose faces a figure will show."""
    from aubench.comparison.runs import open_run
    from aubench.submission.privacy import check_faces

    run = open_run(path)
    check_faces(run.record.protocol.dataset, allowed, "a figure")
    return run


def _with_numbers(path: Path) -> Result:
    """Return a figure and the numbers that were written beside it."""
    from aubench.report.figures.style import numbers_of

    numbers = numbers_of(path)
    return written(path, numbers, line=f"wrote {path}, its numbers to {numbers}")


def _records(command: Command) -> Command:
    for option in (
        click.option(
            "--model",
            "models",
            shell_complete=complete.model,
            multiple=True,
            help="Only these models.",
        ),
        click.option(
            "--protocol",
            shell_complete=complete.protocol,
            required=True,
            help="Protocol of the records.",
        ),
        data_option(),
        click.option(
            "--leaderboards",
            "folder",
            type=click.Path(path_type=Path),
            help="Folder of the records.",
        ),
    ):
        command = option(command)
    return command


def _read(data: str, protocol: str, models: tuple[str, ...], folder: Path | None) -> Any:
    from aubench.errors import AubenchError, suggest
    from aubench.report.leaderboards.leaderboard import boards

    found = {record.model.name: record for record in boards(data, protocol, folder)[protocol]}
    for name in models:
        if name not in found:
            raise AubenchError(
                f"no record of '{name}' on {protocol}{suggest(name, found)}",
                f"choose from {', '.join(found)}",
            )
    return [found[name] for name in models or sorted(found)]


@click.group()
def figure() -> None:
    """Draw figures: vector files, colour-blind-safe, the same bytes from the same input."""


@figure.command()
@click.argument("runs", type=RUN, nargs=-1, required=True)
@click.option("--aus", multiple=True, help="A row: a set of AUs such as 6+12+15, or a sample id.")
@_restricted
@_out
@results
def grid(
    runs: tuple[Path, ...], aus: tuple[str, ...], include_restricted: bool, out: Path
) -> Result:
    """Behaviours by methods, as in the paper's Figure 4, from run folders of one protocol."""
    from aubench.report.figures.faces import faces

    opened = [_faces(path, include_restricted) for path in runs]
    return written(faces(opened, aus, out))


@figure.command()
@click.argument("run", type=RUN)
@click.option("--count", type=click.IntRange(1, 60), default=8, show_default=True)
@_restricted
@_out
@results
def failures(run: Path, count: int, include_restricted: bool, out: Path) -> Result:
    """The samples of a run that show the commanded AUs least."""
    from aubench.report.figures import faces as figure_faces

    opened = _faces(run, include_restricted)
    return written(figure_faces.failures(opened, count, out))


@figure.command("heatmap")
@click.argument("run", type=RUN)
@_out
@results
def heat_map(run: Path, out: Path) -> Result:
    """Commanded by detected AUs of a run, beside those of its targets."""
    from aubench.comparison.runs import open_run
    from aubench.report.figures import scores as figure_scores

    return _with_numbers(figure_scores.heat_map(open_run(run), out))


@figure.command()
@_records
@_out
@results
def radar(
    data: str, protocol: str, models: tuple[str, ...], folder: Path | None, out: Path
) -> Result:
    """F1 of each AU of the records of a protocol."""
    from aubench.report.figures import scores as figure_scores

    return _with_numbers(figure_scores.radar(_read(data, protocol, models, folder), out))


@figure.command()
@_records
@click.option(
    "--x", shell_complete=complete.metric, default="fid", show_default=True, help="Metric."
)
@click.option(
    "--y", shell_complete=complete.metric, default="aaad_second", show_default=True, help="Metric."
)
@_out
@results
def scatter(
    data: str,
    protocol: str,
    models: tuple[str, ...],
    folder: Path | None,
    x: str,
    y: str,
    out: Path,
) -> Result:
    """One metric by another with intervals, a point a record."""
    from aubench.report.figures import scores as figure_scores

    found = _read(data, protocol, models, folder)
    return _with_numbers(figure_scores.scatter(found, out, x, y))


@figure.command()
@_records
@click.option(
    "--metric",
    shell_complete=complete.metric,
    default="au_f1",
    show_default=True,
    help="aaad or au_f1.",
)
@_out
@results
def combinations(
    data: str, protocol: str, models: tuple[str, ...], folder: Path | None, metric: str, out: Path
) -> Result:
    """A metric of each combination and model as a heat map."""
    from aubench.report.figures import scores as figure_scores

    found = _read(data, protocol, models, folder)
    return _with_numbers(figure_scores.combinations(found, out, metric))


@figure.command()
@click.argument(
    "logs", type=click.Path(path_type=Path, exists=True, dir_okay=False), nargs=-1, required=True
)
@_out
@results
def curves(logs: tuple[Path, ...], out: Path) -> Result:
    """Training curves from logs (.jsonl, .csv with a column step) or cards with a history."""
    from aubench.report.figures import scores as figure_scores

    return _with_numbers(figure_scores.curves(logs, out))
