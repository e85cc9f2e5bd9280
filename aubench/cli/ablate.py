"""``aubench ablate``: train and score a generator with parts left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aubench.cli import completion as complete
from aubench.cli.options import Asked, training_options
from aubench.cli.output import Result, results

if TYPE_CHECKING:
    from aubench.engine.run import RunConfig
    from aubench.generator import Ablatable, AblationRow, Training
    from aubench.record import Record

FOLDER = "ablations"


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
    default="synfacs",
    show_default=True,
    help="Data set of the protocol.",
)
@click.option("--limit", type=click.IntRange(min=2), help="Only N samples of it, evenly spread.")
@training_options("To train on.", "Of every row, not the preset's.", FOLDER)
@results
def ablate(
    model: str,
    rows: str,
    listed: bool,
    protocol: str,
    protocol_data: str,
    limit: int | None,
    asked: Asked,
) -> Result:
    """Train MODEL once for each row of its ablations, all alike, and print the tables.

    Each row is trained on --data and scored on --protocol of --protocol-data.

    Interrupt it at any time; the same command resumes. Records lie in OUT/records, a folder
    that `aubench report --leaderboards` prints.
    """
    from aubench.errors import AubenchError
    from aubench.generator import Ablatable
    from aubench.registry import generator_class

    cls = generator_class(model)
    if not isinstance(cls, Ablatable):
        raise AubenchError(f"model '{model}' has no ablations", "vqauface has some")
    if listed:
        lines = [f"{row.name:26} {row.table}  {row.title}" for row in cls.rows]
        return Result(list(cls.rows), lambda: click.echo("\n".join(lines)))
    from aubench.engine.run import execute

    training = asked.training(model, cls.presets, FOLDER)
    chosen, folder = _chosen(cls, rows), training.out
    scored = {
        row.name: _scored(model, row, folder / row.name, protocol, protocol_data, limit, asked)
        for row in chosen
    }
    records: dict[str, Path] = {}
    made: list[tuple[AblationRow, Record]] = []
    for number, row in enumerate(chosen, 1):
        click.echo(f"row {number} of {len(chosen)}: {row.name}, {row.title}", err=True)
        weights = cls.fit_row(row, training)
        record = execute(replace(scored[row.name], weights=weights))
        record = _named(model, row, training, record)
        place = folder / "records" / record.protocol.dataset / record.protocol.name
        records[row.name] = place / f"{record.model.name}.json"
        record.write(records[row.name])
        made.append((row, record))
    data = {"model": model, "preset": training.preset, "records": records}
    return Result(data, lambda: _print(folder / "records", made))


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


def _scored(
    model: str, row: AblationRow, folder: Path, protocol: str, data: str, limit: int | None,
    asked: Asked,
) -> RunConfig:  # fmt: skip
    """Return the run that scores a row; a protocol that is not there is told before training.

    Raises:
        AubenchError: no such protocol or data set.
    """
    from aubench.engine.run import RunConfig
    from aubench.protocol import load_protocol

    protocol = protocol_of(row, protocol)
    load_protocol(protocol, data)
    place = folder / (f"run-{protocol}" + (f"-limit{limit}" if limit else ""))
    return RunConfig(
        model=model, protocol=protocol, data=data, out=place, limit=limit, device=asked.device
    )


def _named(model: str, row: AblationRow, training: Training, record: Record) -> Record:
    """Return the record of a row under a name of its own; it tells of its training."""
    steps = f", {training.steps} steps" if training.steps else ""
    told = record.model.model_copy(
        update={
            "name": f"{model}-{row.name}",
            "inputs": sorted(row.inputs),
            "metrics_in_training": list(row.metrics_in_training),
            "training": f"{training.preset} preset{steps}; ablation, {row.table}: {row.title}",
        }
    )
    return record.model_copy(update={"model": told})


def protocol_of(row: AblationRow, protocol: str) -> str:
    """Return the protocol of a row: ``test2k``'s twin without text where it reads labels alone."""
    return "label-input" if protocol == "test2k" and "text" not in row.inputs else protocol


def _print(folder: Path, made: list[tuple[AblationRow, Record]]) -> None:
    """Print the rows trained, a table for each of the paper's."""
    from aubench.report.terminal import print_board

    groups: dict[tuple[str, str], list[Record]] = {}
    for row, record in made:
        groups.setdefault((row.table, record.protocol.name), []).append(record)
    for (table, place), records in groups.items():
        print_board(f"{table}, {place}", records)
    click.echo(f"records {folder}")
