"""``aubench data card``: a data set or a protocol described for catalogues and for people."""

from __future__ import annotations

from pathlib import Path

import click

from aubench.cli import completion as complete
from aubench.cli.output import Result, results, written


@click.command()
@click.argument("data", metavar="NAME", shell_complete=complete.dataset)
@click.option(
    "--protocol",
    shell_complete=complete.protocol,
    help="One of its protocols, in place of the whole data set.",
)
@click.option(
    "--facts",
    "facts_file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="TOML that states what nothing here knows: licence, creator, url, published, …",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder to write, absent or empty.",
)
@results
def card(data: str, protocol: str | None, facts_file: Path | None, out: Path) -> Result:
    """Describe data set NAME: Croissant 1.1 (croissant.json) and a datasheet (README.md).

    Beside them lie the tables that they name. Of data under an agreement no image and no row is
    written: the card tells sums, columns and digests.
    """
    from aubench.datasets.registry import find_dataset
    from aubench.protocols.cards.card import write_card
    from aubench.protocols.cards.contents import of_dataset, of_protocol
    from aubench.protocols.cards.facts import read_facts
    from aubench.protocols.protocol import load_protocol

    facts = read_facts(data, facts_file)
    source = find_dataset(data)
    found = of_dataset(source) if protocol is None else of_protocol(load_protocol(protocol, data))
    files = write_card(found, facts, out)
    if facts.lacking:
        lacking = ", ".join(facts.lacking)
        click.echo(f"not stated, though Croissant asks for it: {lacking}; see --facts", err=True)
    return written(
        *files, name=found.name, restricted=found.restricted, lacking=list(facts.lacking)
    )
