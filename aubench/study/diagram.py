"""Critical-difference diagram: mean ranks on a line, models that do not differ joined by a bar."""

from __future__ import annotations

from pathlib import Path

from aubench.files import atomic_path
from aubench.study.results import Friedman

INK, SOFT, ACCENT = "#1c1c1a", "#75756e", "#0b4aa8"


def cliques(friedman: Friedman) -> list[tuple[str, ...]]:
    """Return the largest groups of models, neighbours in rank, within the critical difference."""
    order = sorted(friedman.mean_ranks, key=lambda name: friedman.mean_ranks[name])
    ranks = [friedman.mean_ranks[name] for name in order]
    groups: list[tuple[int, int]] = []
    for first in range(len(order)):
        last = max(
            j for j in range(first, len(order))
            if ranks[j] - ranks[first] <= friedman.critical_difference
        )  # fmt: skip
        if last > first and (not groups or last > groups[-1][1]):
            groups.append((first, last))
    return [tuple(order[a : b + 1]) for a, b in groups]


def draw(friedman: Friedman, path: Path) -> None:
    """Write the diagram as SVG, with text as text and no date."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    k = len(friedman.mean_ranks)
    order = sorted(friedman.mean_ranks, key=lambda name: friedman.mean_ranks[name])
    groups = cliques(friedman)
    half = (k + 1) // 2
    top = 0.9 + 0.28 * len(groups)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "aubench", "font.size": 9}):
        figure = Figure(figsize=(6.4, 1.3 + 0.28 * (half + len(groups))), layout="constrained")
        axes = figure.add_subplot()
        axes.set_axis_off()
        axes.set_xlim(0.2 - 0.25 * k, k + 0.8 + 0.25 * k)
        axes.set_ylim(-top - 0.45 * half, 1.3)
        _scale(axes, k, friedman)
        for row, group in enumerate(groups):
            ends = [friedman.mean_ranks[group[0]] - 0.04, friedman.mean_ranks[group[-1]] + 0.04]
            axes.plot(ends, [-0.35 - 0.28 * row] * 2, color=ACCENT, lw=4, solid_capstyle="round")
        for index, name in enumerate(order):
            left = index < half
            depth = -top - 0.45 * (index if left else k - 1 - index)
            edge = 0.5 if left else k + 0.5
            rank = friedman.mean_ranks[name]
            axes.plot([rank, rank, edge], [0, depth, depth], color=INK, lw=0.9)
            side = "right" if left else "left"
            shift = -0.06 if left else 0.06
            axes.text(edge + shift, depth, f"{name} {rank:.2f}", ha=side, va="center", color=INK)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})


def _scale(axes: object, k: int, friedman: Friedman) -> None:
    from typing import Any, cast

    plot = cast("Any", axes)
    plot.plot([1, k], [0, 0], color=INK, lw=1.2)
    for rank in range(1, k + 1):
        plot.plot([rank, rank], [0, 0.12], color=INK, lw=1)
        plot.text(rank, 0.2, str(rank), ha="center", va="bottom", color=INK)
    plot.plot([1, 1 + friedman.critical_difference], [0.95, 0.95], color=SOFT, lw=2)
    words = f"critical difference {friedman.critical_difference:.2f} ({friedman.blocks} raters)"
    plot.text(1, 1.05, words, ha="left", va="bottom", color=SOFT)
