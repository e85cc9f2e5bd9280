"""``aubench text-au``: the AUs that a text speaks of."""

from __future__ import annotations

from pathlib import Path

import click

from aubench.cli.output import Result, results

WIDTH = 20


@click.command(name="text-au")
@click.argument("text")
@click.option("--encoder", help="nano (shipped), t5-small, t5-base or t5-large.")
@click.option("--weights", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Folder that `aubench train-text-au` wrote.")  # fmt: skip
@results
def text_au(text: str, encoder: str | None, weights: Path | None) -> Result:
    """Print the probability of each of the 12 AUs given an English TEXT; * marks 0.5 and more."""
    from aubench.errors import AubenchError
    from aubench.facs import AUS
    from aubench.textau.checks import check_text
    from aubench.textau.classifier import WEIGHTS, find_name, load

    if not text.strip():  # before the weights are read
        raise AubenchError("the text is empty", "describe a face in English")
    folder = weights or WEIGHTS
    model = load(encoder or (find_name(folder) if weights else "nano"), "cpu", folder)
    warnings = check_text(text, model.tokens)
    never = model.card.get("data", {}).get("AUs never labelled", [])
    if never:
        names = ", ".join(f"AU{au}" for au in never)
        warnings.append(f"{model.id} has never seen a label of {names}; take no notice of them")
    for line in warnings:
        click.echo(f"warning: {line}", err=True)
    p = [float(value) for value in model.probabilities([text])[0]]
    data = {"text": text, "classifier": model.id,
            "probabilities": {f"AU{au}": round(v, 6) for au, v in zip(AUS, p, strict=True)},
            "active": [au for au, v in zip(AUS, p, strict=True) if v >= 0.5],
            "warnings": warnings}  # fmt: skip
    return Result(data, lambda: _print(p))


def _print(p: list[float]) -> None:
    from aubench.facs import AUS, load_facs

    actions = load_facs(None).actions
    wide = max(len(actions[au].name) for au in AUS)
    for au, value in zip(AUS, p, strict=True):
        mark, name = "*" if value >= 0.5 else " ", f"AU{au}".ljust(4)
        drawn = "█" * round(value * WIDTH)
        click.echo(f"{mark} {name}  {actions[au].name:{wide}}  {value:5.3f}  {drawn}".rstrip())
