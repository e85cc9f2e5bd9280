"""Coverage of simulated studies as text."""

from __future__ import annotations

from aubench.study.analysis.terminal import grid, number
from aubench.study.simulation.simulate import Coverage


def coverage_text(found: Coverage) -> str:
    """Return how often intervals held the truth."""
    rows = [["", "truth", "AUCHS held", "worth held"]]
    rows += [
        [
            name,
            f"{found.truth[name]:.3f}",
            f"{found.mean[name]:.3f}",
            number(None if found.worths is None else found.worths[name]),
        ]
        for name in found.truth
    ]
    return "\n".join(
        [
            f"{found.studies} simulated studies; 95 % intervals held the truth in this share:",
            *grid(rows),
            f"single combinations: {found.cells:.3f}; right order of all models: "
            f"{found.order:.3f}; mean width of the mean's interval {found.width:.3f}",
        ]
    )
