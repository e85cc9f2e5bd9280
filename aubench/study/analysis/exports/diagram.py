"""Diagram of the means: models on a line, those that are not told apart joined by a bar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aubench.storage.files import atomic_path
from aubench.study.analysis.comparisons import groups_alike
from aubench.study.analysis.results import MEAN, StudyResults

INK, SOFT, ACCENT = "#1c1c1a", "#75756e", "#0b4aa8"


def draw(results: StudyResults, path: Path) -> None:
    """Write the diagram as SVG, with text as text and no date."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    means = {model: results.cell(model, MEAN).auchs for model in results.models}
    order = sorted(means, key=lambda name: -means[name])
    groups = [g for g in groups_alike(results.comparisons, order) if len(g) > 1]
    half = (len(order) + 1) // 2
    top = 0.9 + 0.28 * len(groups)
    span = results.high - results.low
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "aubench", "font.size": 9}):
        figure = Figure(figsize=(6.4, 1.3 + 0.28 * (half + len(groups))), layout="constrained")
        axes: Any = figure.add_subplot()
        axes.set_axis_off()
        # The best stands on the left.
        axes.set_xlim(results.high + 0.35 * span, results.low - 0.35 * span)
        axes.set_ylim(-top - 0.45 * half, 1.2)
        _scale(axes, results)
        for row, group in enumerate(groups):
            ends = [means[group[0]] + 0.01 * span, means[group[-1]] - 0.01 * span]
            axes.plot(ends, [-0.35 - 0.28 * row] * 2, color=ACCENT, lw=4, solid_capstyle="round")
        for index, name in enumerate(order):
            left = index < half
            depth = -top - 0.45 * (index if left else len(order) - 1 - index)
            edge = results.high + 0.08 * span if left else results.low - 0.08 * span
            axes.plot([means[name], means[name], edge], [0, depth, depth], color=INK, lw=0.9)
            words = f"{name} {means[name]:.2f} ({results.letters[name]})"
            shift = 0.01 * span if left else -0.01 * span
            side = "right" if left else "left"
            axes.text(edge + shift, depth, words, ha=side, va="center", color=INK)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})


def _scale(axes: Any, results: StudyResults) -> None:
    axes.plot([results.low, results.high], [0, 0], color=INK, lw=1.2)
    for step in range(int(results.low), int(results.high) + 1):
        axes.plot([step, step], [0, 0.12], color=INK, lw=1)
        axes.text(step, 0.2, str(step), ha="center", va="bottom", color=INK)
    words = f"{results.scale}; a bar or a letter joins models that are not told apart (Holm)"
    axes.text(results.high, 0.85, words, ha="left", va="bottom", color=SOFT, fontsize=7)
