"""``aubench data set``: which networks measure a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from aubench.cli import completion as complete
from aubench.cli.options import (
    detectors_option,
    device_option,
    extractor_option,
    gather_options,
    text_au_option,
    witness_option,
)
from aubench.cli.output import Result, results

if TYPE_CHECKING:
    from aubench.networks.chosen_networks import ChosenNetworks


@dataclass(frozen=True)
class ChoiceOptions:
    """Networks that are to be kept with a data set."""

    detectors: str | None
    text_au: str | None
    extractor: str | None
    witness: str | None


@click.command("set")
@click.argument("name", shell_complete=complete.dataset)
@detectors_option()
@text_au_option()
@extractor_option()
@witness_option()
@click.option("--forget", is_flag=True, help="Remove what was chosen before.")
@device_option()
@results
@gather_options(ChoiceOptions, "options")
def set_(name: str, options: ChoiceOptions, forget: bool, device: str) -> Result:
    """Choose the networks that measure the data set NAME; without options, print the choice.

    Every command that measures takes them unless others are typed: run, estimate, ablate, protocol
    freeze, audit aaad.
    """
    from dataclasses import asdict

    from aubench.datasets.registry import find_dataset
    from aubench.networks import chosen_networks
    from aubench.run.config import check_device

    find_dataset(name)
    check_device(device)
    if forget:
        chosen_networks.forget(name)
    wanted = chosen_networks.ChosenNetworks(**asdict(options))
    if any(value is not None for value in asdict(options).values()):
        chosen = chosen_networks.choose(name, wanted, device)
    else:
        chosen = chosen_networks.read_chosen(name)
    place = chosen_networks.place_of(name)
    files = [place] if place.is_file() else []
    data = {"files": files, "name": name, **chosen.model_dump()}
    return Result(data, lambda: _print(name, chosen))


def _print(name: str, chosen: ChosenNetworks) -> None:
    from aubench.datasets import default_networks

    usual = default_networks(name)
    rows = {
        "detectors": (chosen.detectors, usual.detectors),
        "text-au": (chosen.text_au, usual.text_au),
        "extractor": (chosen.extractor, usual.extractor),
        "witness": (chosen.witness, usual.witness),
    }
    for option, (value, default) in rows.items():
        click.echo(f"{option:10} {value}" if value else f"{option:10} {default} (default)")
    detectors = chosen.detectors or usual.detectors
    if "," not in detectors:
        click.echo("one detector is enough; a second of another kind is recommended", err=True)
