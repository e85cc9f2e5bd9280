"""A card for people: a datasheet in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aubench.plain_text import markdown_text
from aubench.protocols.cards.contents import meaning_of
from aubench.protocols.cards.croissant import description

if TYPE_CHECKING:
    from aubench.protocols.cards.contents import Contents
    from aubench.protocols.cards.facts import Facts

UNSTATED = "*Not stated.*"
SECTIONS = (
    ("Motivation", (("", "motivation"),)),
    (
        "Collection",
        (
            ("", "collection"),
            ("Made from", "raw"),
            ("What is missing", "missing"),
            ("Preprocessing", "preprocessing"),
        ),
    ),
    (
        "Labels",
        (
            ("", "annotation"),
            ("Per item", "annotations_per_item"),
            ("Annotators", "annotators"),
        ),
    ),
    ("Uses", (("For", "uses"), ("Misuse", "misuse"))),
    ("Biases", (("", "biases"),)),
    ("Limitations", (("", "limitations"),)),
    ("Personal and sensitive information", (("", "sensitive"),)),
    ("Social impact", (("", "social_impact"),)),
    (
        "Distribution",
        (
            ("", "distribution"),
            ("Licence", "licence"),
            ("Creator", "creator"),
            ("Page", "url"),
            ("Published", "published"),
        ),
    ),
    ("Maintenance", (("", "maintenance"),)),
)
"""Headings, and below each the answers with what introduces them."""


def datasheet(contents: Contents, facts: Facts) -> str:
    """Return the Markdown of a card; what is not stated is said to be so.

    Args:
        contents: What was counted.
        facts: What is known besides.
    """
    parts = [
        f"# {markdown_text(contents.name)}",
        markdown_text(description(contents, facts)),
        _table("what", "", contents.composition),
        _table("AU", "active in", {f"AU{au}": f"{x:.1%}" for au, x in contents.shares.items()}),
    ]
    if contents.strata:
        parts.append(_table("stratum", "samples", {k: str(v) for k, v in contents.strata.items()}))
    for heading, answers in SECTIONS:
        parts += [f"## {heading}", *(_answer(word, getattr(facts, name)) for word, name in answers)]
    parts += ["## Files", _files(contents), f"## Columns of {contents.table.file.name}"]
    parts.append(_table("column", "", {name: meaning_of(name) for name in contents.table.columns}))
    if facts.citation:
        parts += ["## Cite", f"```bibtex\n{facts.citation}\n```"]
    return "\n\n".join(parts) + "\n"


def _answer(word: str, value: str | tuple[str, ...]) -> str:
    """Return a paragraph or a list, introduced by a word."""
    if not value:
        return f"{word}: {UNSTATED}" if word else UNSTATED
    if isinstance(value, str):
        return f"{word}: {markdown_text(value)}" if word else markdown_text(value)
    lines = "\n".join(f"- {markdown_text(line)}" for line in value)
    return f"{word}:\n\n{lines}" if word else lines


def _table(left: str, right: str, rows: dict[str, str]) -> str:
    body = (f"| {markdown_text(k)} | {markdown_text(v)} |" for k, v in rows.items())
    return "\n".join([f"| {left} | {right} |", "|---|---|", *body])


def _files(contents: Contents) -> str:
    lines = [
        f"| `{file.name}` | {file.about}{'' if file.data is not None else ' Stays with the data.'}"
        f" | {file.size:,} | `{file.sha256}` |"
        for file in contents.files
    ]
    return "\n".join(["| file | | bytes | sha256 |", "|---|---|---|---|", *lines])
