"""HTML pages with the words of a language filled in."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

from aubench.study.design.language import Language

ASSETS = Path(__file__).with_name("assets")


def _inline(text: str) -> str:
    """Return words as HTML: escaped, ``**bold**`` as strong."""
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", html.escape(text))


def render(name: str, language: Language, table: str, strings: str) -> str:
    """Return a page, the same for everyone.

    Args:
        name: File in ``assets``.
        language: Words.
        table: Table of the words in the page itself.
        strings: Table of the words that its script needs.
    """
    words = {key: _inline(text) for key, text in language.tables[table].items()}
    # A script's JSON must not close the element that holds it.
    data = json.dumps(language.tables[strings], ensure_ascii=False).replace("<", "\\u003c")
    words |= {"lang": language.code, "strings": data}
    page = (ASSETS / name).read_text(encoding="utf-8")
    return re.sub(r"{{(\w+)}}", lambda found: words[found[1]], page)
