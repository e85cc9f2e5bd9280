"""One progress bar for every long stage: rate, remaining time, on the error stream."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


def bar(total: int, label: str, unit: str = "it", initial: int = 0) -> tqdm[Any]:
    """Return a progress bar; call ``update(n)`` on it inside a ``with`` block."""
    from tqdm import tqdm

    return tqdm(
        total=total,
        desc=label,
        unit=unit,
        initial=initial,
        file=sys.stderr,
        dynamic_ncols=True,
        # A log file gets a line every few seconds, a terminal a moving bar.
        mininterval=0.2 if sys.stderr.isatty() else 5.0,
    )
