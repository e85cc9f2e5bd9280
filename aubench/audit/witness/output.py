"""The audit of readers as files and as tables."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.audit.witness.measure import Audit, Number
from aubench.facs import AUS
from aubench.storage.files import atomic_path, write_text

if TYPE_CHECKING:
    from rich.console import Console

NAME = "witness"
STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#000000", "v"))
RAMP, CONTROL = ("rho", "auc"), ("gain", "auc", "f1")


def as_dict(audit: Audit) -> dict[str, Any]:
    """Return everything that was found, ready for JSON."""
    return {
        "audit": NAME,
        "plan": asdict(audit.plan),
        "renderer": audit.renderer,
        "readers": audit.readers,
        "unknown AUs": audit.unknown,
        "no face": {name: {"of": of, "lost": lost} for name, (lost, of) in audit.lost.items()},
        "ramps": audit.ramps,
        "controls": audit.controls,
        "transfer": audit.transfer,
    }


def write(audit: Audit, folder: Path) -> list[Path]:
    """Write ``witness.json``, ``witness.csv`` and ``witness.svg``; return their paths."""
    paths = [folder / f"{NAME}.{kind}" for kind in ("json", "csv", "svg")]
    write_text(paths[0], json.dumps(as_dict(audit), indent=1) + "\n")
    write_text(paths[1], _table(audit))
    draw(audit, paths[2])
    return paths


def _table(audit: Audit) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["part", "of", "reader", "score", "value", "low", "high"])
    parts = {"ramp": _by_au(audit), "control": audit.controls, "transfer": audit.transfer}
    for part, table in parts.items():
        for of, readers in table.items():
            for reader, scores in readers.items():
                for name, number in scores.items():
                    if isinstance(number, dict):
                        low, high = number["ci"] or ("", "")
                        writer.writerow([part, of, reader, name, number["value"], low, high])
    return out.getvalue()


def _by_au(audit: Audit) -> dict[str, dict[str, Number]]:
    return {
        f"AU{au}": {r: rows[f"AU{au}"] for r, rows in audit.ramps.items() if f"AU{au}" in rows}
        for au in AUS
    }


def cell(number: Number | None) -> str:
    """Return a number with its interval, a dash where there is none."""
    if number is None or number["value"] != number["value"]:
        return "—"
    ci = number["ci"]
    return f"{number['value']:.2f}" + (f" [{ci[0]:.2f}, {ci[1]:.2f}]" if ci else "")


def print_audit(audit: Audit, out: Console | None = None) -> None:
    """Print the tables."""
    from aubench.console import Grid, console, print_grid

    out, plan = out or console(), audit.plan
    for score, title in (
        ("rho", "order of the levels within a person, Spearman"),
        ("auc", "the AU from B on against the person's other AUs, AUC"),
    ):
        rows = [
            [name, *(cell(rows.get(reader, {}).get(score)) for reader in audit.readers)]
            for name, rows in _by_au(audit).items()
        ]
        head = f"{title}; {plan.people} people, {audit.renderer}"
        print_grid(Grid(("AU", *audit.readers), rows, head), out)
    rows = [
        [name, *(str(rows.get(r, {}).get("seen from") or "—") for r in audit.readers)]
        for name, rows in _by_au(audit).items()
    ]
    print_grid(Grid(("AU", *audit.readers), rows, "lowest level that half of them see"), out)
    for score, title in (("gain", "share of the target's gain"), ("auc", "AUC"), ("f1", "F1")):
        rows = [
            [name, *(cell(readers[reader][score]) for reader in audit.readers)]
            for name, readers in audit.controls.items()
        ]
        head = f"{title}; {plan.samples} samples"
        print_grid(Grid(("condition", *audit.readers), rows, head), out)
    if audit.transfer:
        rows = [
            [name, *(cell(readers[reader]["auc"]) for reader in audit.readers)]
            for name, readers in audit.transfer.items()
        ]
        print_grid(Grid(("run", *audit.readers), rows, "AUC of the runs"), out)
    for name, (lost, of) in audit.lost.items():
        if lost:
            out.print(f"{name} found no face in {lost} of {of} pictures; they count as no AU")


def draw(audit: Audit, path: Path) -> None:
    """Draw the mean probability of each AU by its level, a line a reader."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "aubench", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(9, 7), layout="constrained")
        FigureCanvasSVG(figure)
        panels: Any = figure.subplots(3, 4, sharex=True, sharey=True)
        for panel, au in zip(panels.ravel(), AUS, strict=True):
            for (reader, rows), (colour, mark) in zip(audit.ramps.items(), STYLES, strict=False):
                row = rows.get(f"AU{au}")
                if row is not None:
                    panel.plot(row["curve"], marker=mark, color=colour, lw=1.2, ms=4, label=reader)
            panel.set_title(f"AU{au}", fontsize=8)
            panel.set_xticks(range(6), ["0", *"ABCDE"])
            panel.set_ylim(-0.03, 1.03)
        panels[0, 0].legend(fontsize=7, frameon=False, loc="upper left")
        figure.supxlabel("level of the AU alone")
        figure.supylabel(f"mean probability, {audit.plan.people} people")
        figure.suptitle(audit.renderer, fontsize=7)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})
