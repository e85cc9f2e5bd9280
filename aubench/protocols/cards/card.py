"""A card of a data set or a protocol, written as a folder."""

from __future__ import annotations

import json
from pathlib import Path

from aubench.datasets.export import whole_folder
from aubench.protocols.cards.contents import Contents
from aubench.protocols.cards.croissant import document
from aubench.protocols.cards.facts import Facts
from aubench.protocols.cards.sheet import datasheet
from aubench.storage.files import write_bytes, write_text

MACHINES, PEOPLE = "croissant.json", "README.md"


def write_card(contents: Contents, facts: Facts, out: Path) -> list[Path]:
    """Write ``croissant.json``, ``README.md`` and the files they name that may be given away.

    Args:
        contents: What was counted.
        facts: What is known besides.
        out: Folder, absent or empty. Nothing is left in it where writing fails.

    Returns:
        The files, the card for machines first.

    Raises:
        AubenchError: There is something at ``out``, or it cannot be written.
    """
    given = [file for file in contents.files if file.data is not None]
    with whole_folder(out) as place:
        text = json.dumps(document(contents, facts), indent=2, ensure_ascii=False)
        write_text(place / MACHINES, text + "\n")
        write_text(place / PEOPLE, datasheet(contents, facts))
        for file in given:
            write_bytes(place / file.name, file.data or b"")
    return [out / name for name in (MACHINES, PEOPLE, *(file.name for file in given))]
