"""Strings of others, made fit to be shown: on a terminal, in a log, in Markdown."""

from __future__ import annotations

import re

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""What moves a cursor, ends a line, turns the direction of writing, or is not seen."""
MARKDOWN = re.compile(r"([\\`|\[\]])")


def printable(text: str) -> str:
    r"""Return a text in which control characters are escaped, as ``\n`` and ``\x1b``.

    >>> printable("a\n\x1b[1mb")
    'a\\n\\x1b[1mb'
    """
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def markdown_text(text: str) -> str:
    r"""Return a text that Markdown shows as it is: no HTML, no link, no other cell of a table.

    >>> markdown_text("<b>a|b</b>")
    '&lt;b&gt;a\\|b&lt;/b&gt;'
    """
    plain = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return MARKDOWN.sub(r"\\\1", plain)
