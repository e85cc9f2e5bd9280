"""``aubench data text``: descriptions attached to imported faces, ours or others'."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aubench.cli import completion as complete
from aubench.cli.options import text_au_option
from aubench.cli.output import Result, results
from aubench.errors import AubenchError

if TYPE_CHECKING:
    from aubench.networks.textau.attached import Disagreement

SHOWN = 10
"""Disagreements that are printed; the list holds all."""


@click.command()
@click.argument("names", shell_complete=complete.dataset, nargs=-1, required=True)
@click.option("--as", "joint", help="Name of the joint set.  [default: bp4d-autext]")
@click.option("--seed", type=int, default=2020, show_default=True, help="Draws the wordings.")
@click.option(
    "--texts",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="CSV or parquet with `key` or `image`, and `text`: texts of others in place of ours.",
)
@click.option("--fill", is_flag=True, help="Describe faces without a text of --texts in our words.")
@text_au_option()
@results
def text(
    names: tuple[str, ...],
    joint: str | None,
    seed: int,
    file: Path | None,
    fill: bool,
    text_au: str | None,
) -> Result:
    """Attach a description to every face; several sets, such as bp4d bp4dplus, become one.

    Writes text.parquet and statistics.json (Table 1, Figure 2) beside the import. Texts of others
    are read by the classifier, and text-check.csv lists those that disagree with the AU codes.
    """
    from aubench.datasets.imported.au_texts import attach_text, join

    if file is None and (fill or text_au):
        raise AubenchError(f"{'--fill' if fill else '--text-au'} needs --texts FILE", "name it")
    name = join(names, joint or "bp4d-autext") if len(names) > 1 else names[0]
    if file is not None:
        return _given(name, file, seed, fill, text_au)
    statistics = attach_text(name, seed)
    return Result({"name": name, **statistics}, lambda: _print_text(name, statistics))


def _given(name: str, file: Path, seed: int, fill: bool, text_au: str | None) -> Result:
    """Attach the texts of a file and check them."""
    from aubench.datasets.imported.given_texts import GIVEN, attach_given
    from aubench.networks.textau import text_au_identity
    from aubench.networks.textau.attached import check_attached

    text_au_identity(text_au)  # before anything is written
    statistics = attach_given(name, file, seed, fill=fill)
    check = check_attached(name, text_au)
    told, plain = statistics[GIVEN], check.plain()

    def show() -> None:
        click.echo(
            f"{name}: {told['texts']:,} texts of {file.name} for {statistics['images']:,} faces"
        )
        if told["faces described in our words"]:
            click.echo(f"{told['faces described in our words']:,} faces described in our words")
        score = "–" if plain["F1"] is None else f"{plain['F1']:.3f}"
        click.echo(f"read by {check.classifier}: mean F1 {score}, exact sets {check.exact:.1%}")
        click.echo(
            f"{plain['disagreements']:,} disagree with the AU codes, {check.unsure:,} unsure"
        )
        for row in check.rows[:SHOWN]:
            click.echo(f"  {row.key}: {_difference(row)}: {row.text[:60]}")
        click.echo(f"sha256 {told['sha256']}\nwrote {statistics['path']} and {check.path}")

    return Result({"name": name, **statistics, "check": plain}, show)


def _difference(row: Disagreement) -> str:
    parts = [f"not read {'+'.join(map(str, row.missing))}"] if row.missing else []
    parts += [f"read besides {'+'.join(map(str, row.added))}"] if row.added else []
    parts += ["unsure"] if row.unsure else []
    return ", ".join(parts)


def _print_text(name: str, statistics: dict[str, Any]) -> None:
    images, length = statistics["images"], statistics["words"]
    click.echo(
        f"{name}: {images:,} faces, {statistics['texts']:,} texts of "
        f"{length['min']} to {length['max']} words"
    )
    conflicts = statistics["conflicts"]
    click.echo(
        f"conflicting AUs in {conflicts['images']:,} ({conflicts['share']:.1%}), "
        f"{conflicts['occurrences']:,} occurrences"
    )
    for what, number in statistics["paper"].items():
        click.echo(f"paper: {number:,} {what}")
    click.echo(f"wrote {statistics['path']}")
