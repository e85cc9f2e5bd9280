"""``aubench text-au``: the AUs that a text speaks of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aubench.cli.output import Result, results

if TYPE_CHECKING:
    from aubench.networks.textau.classifier import Reading

WIDTH = 20


@click.command(name="text-au")
@click.argument("text")
@click.option(
    "--encoder", help="nano and nano-dictionary are shipped; t5-small, t5-base or t5-large."
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder that `aubench train-text-au` wrote.",
)
@results
def text_au(text: str, encoder: str | None, weights: Path | None) -> Result:
    """Print the probability of each of the 12 AUs given an English TEXT; * marks 0.5 and more."""
    from aubench.errors import AubenchError
    from aubench.facs import AUS
    from aubench.networks.textau.checks import check_reading, check_text
    from aubench.networks.textau.classifier import DEFAULT, WEIGHTS, find_name, load

    if not text.strip():  # before the weights are read
        raise AubenchError("the text is empty", "describe a face in English")
    folder = weights or WEIGHTS
    model = load(encoder or (find_name(folder) if weights else DEFAULT), "cpu", folder)
    reading = model.read([text])[0]
    unsure = check_reading(text, reading)
    warnings = check_text(text, model.tokens)
    never = model.card.get("data", {}).get("AUs never labelled", [])
    if never:
        names = ", ".join(f"AU{au}" for au in never)
        warnings.append(f"{model.id} has never seen a label of {names}; take no notice of them")
    if unsure:
        warnings.append(f"unsure: {unsure}")
    for line in warnings:
        click.echo(f"warning: {line}", err=True)
    p = [float(value) for value in reading.probabilities]
    data = {
        "text": text,
        "classifier": model.id,
        "probabilities": {f"AU{au}": round(v, 6) for au, v in zip(AUS, p, strict=True)},
        "active": list(reading.aus),
        "sides": {f"AU{au}": side for au, side in reading.sides.items()},
        "levels": {f"AU{au}": level for au, level in reading.levels.items()},
        "unsure": unsure is not None,
        "warnings": warnings,
    }
    return Result(data, lambda: _print(reading))


def _print(reading: Reading) -> None:
    from aubench.facs import AUS, load_facs
    from aubench.facs.describe import GRADES

    actions = load_facs(None).actions
    wide = max(len(actions[au].name) for au in AUS)
    for au, value in zip(AUS, reading.probabilities.tolist(), strict=True):
        mark, name = "*" if value >= 0.5 else " ", f"AU{au}".ljust(4)
        drawn = "█" * round(value * WIDTH)
        level = reading.levels.get(au)
        told = [reading.sides.get(au, ""), GRADES[level - 1] if level else ""]
        more = ", ".join(word for word in told if word)
        line = f"{mark} {name}  {actions[au].name:{wide}}  {value:5.3f}  {drawn:{WIDTH}}  {more}"
        click.echo(line.rstrip())
