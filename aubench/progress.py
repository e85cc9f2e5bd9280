"""One progress bar for every long stage: rate, remaining time, on the error stream."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


class Lines:
    """Stderr that is no terminal: each state of a bar is a line, without control characters."""

    def write(self, text: str) -> int:
        """Write what is left of a text without what moves a cursor."""
        line = text.replace("\x1b[A", "").strip("\r\n ")
        if line:
            sys.stderr.write(line + "\n")
        return len(text)

    def flush(self) -> None:
        """Flush stderr."""
        sys.stderr.flush()


@contextmanager
def bar(total: int, label: str, unit: str = "it", initial: int = 0) -> Iterator[tqdm[Any]]:
    """Show a progress bar inside a ``with`` block; call ``update(n)`` on it."""
    from tqdm import tqdm

    moving = sys.stderr.isatty()
    with tqdm(
        total=total,
        desc=label,
        unit=unit,
        initial=initial,
        file=sys.stderr if moving else Lines(),
        dynamic_ncols=moving,
        # A log file gets a line every few seconds, a terminal a moving bar.
        mininterval=0.2 if moving else 5.0,
        delay=1e-9,  # not drawn before it can be closed: Ctrl-C may come with the first line
    ) as made:
        made.refresh()
        yield made
