"""How figures look and are written: colour-blind-safe, vector, the same bytes each time."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.errors import AubenchError
from aubench.storage.files import atomic_path, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("svg", "pdf", "png")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, told apart by every kind of colour vision; markers tell them too."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")
MAP = "cividis"
"""Uniform in lightness, the same to colour-blind eyes."""

STYLE: Any = {
    "svg.hashsalt": "aubench",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "font.size": 8,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "image.interpolation": "none",
    "savefig.dpi": 200,
    "image.composite_image": False,
}
META: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": "aubench"},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": "aubench", "Producer": None},
    "png": {"Software": "aubench"},
}


def style(index: int) -> dict[str, Any]:
    """Return colour, marker and line of the n-th series."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": LINES[index % len(LINES)],
    }


Row = dict[str, str | float | None]
"""What a figure shows of a point or a cell, by column."""
Numbers = Sequence[Row]
"""The first row names the columns of all."""


def draw(
    path: Path,
    size: tuple[float, float],
    fill: Callable[[Figure], None],
    numbers: Numbers = (),
) -> Path:
    """Draw a figure and write it, its numbers beside it; the suffix names the format.

    Args:
        path: Path with suffix .svg, .pdf or .png.
        size: Width and height in inches.
        fill: Draws into an empty figure.
        numbers: What it shows, for `numbers_of`.

    Raises:
        AubenchError: Another suffix.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise AubenchError(f"cannot write a figure as '{path.name}'", "use .svg, .pdf or .png")
    with rc_context({"backend": "agg", **STYLE}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        fill(figure)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=kind, metadata=META[kind])
    if numbers:
        _write_numbers(numbers_of(path), numbers)
    return path


def numbers_of(path: Path) -> Path:
    """Return where the numbers of a figure lie: ``radar.data.csv`` beside ``radar.svg``."""
    return path.with_name(f"{path.stem}.data.csv")


def _write_numbers(path: Path, numbers: Numbers) -> None:
    out = StringIO()
    writer = csv.DictWriter(out, list(numbers[0]), lineterminator="\n")
    writer.writeheader()
    for row in numbers:
        writer.writerow({k: "" if v is None or v != v else v for k, v in row.items()})
    write_text(path, out.getvalue())
