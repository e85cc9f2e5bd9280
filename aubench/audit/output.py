"""An audit as files and as a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.audit.aaad import TARGET, Audit, without, worst_misorder
from aubench.storage.files import atomic_path, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.console import Console

SKILLS = ("skill-smallest", "skill", "skill-second", "skill-witness")
BESIDE = ("pearson", "pearson-second", "pearson-witness", "motion-gain", "motion")
AUDITED = (
    *(*SKILLS, *BESIDE),
    *("aaad", "aaad-second", "cosine", "cosine-second", "f1", "f1-second"),
)
CONTROLS = ("closeness", "closeness-second", "cosine-labels", "cosine-perfect", "f1-perfect")
OVER = {"levels": "means of levels", "faces": "single faces", "within": "levels of one face"}

# Okabe and Ito's colours, told apart by every kind of colour vision; shapes tell them too.
STYLE = {
    "aaad": ("#0072B2", "o", "-"),
    "aaad-second": ("#56B4E9", "s", "--"),
    "cosine": ("#009E73", "^", "-."),
    "f1": ("#D55E00", "D", "-"),
    "f1-second": ("#E69F00", "v", "--"),
    "closeness": ("#000000", "*", ":"),
}
KIND_STYLE = {
    "drop": ("#0072B2", "o"),
    "add": ("#D55E00", "s"),
    "weaken": ("#009E73", "^"),
    "swap": ("#CC79A7", "D"),
}


def as_dict(audit: Audit) -> dict[str, Any]:
    """Return everything an audit found, ready for JSON."""
    pooled = audit.agreed("aaad", "pooled", "intensity", "levels")
    metrics = audit.audited((*AUDITED, *CONTROLS))
    return {
        "audit": "aaad",
        "verdict": {
            "target": TARGET,
            "spearman": pooled["spearman"],
            "ci": pooled["ci"],
            "reached": pooled["spearman"] is not None and pooled["spearman"] >= TARGET,
        },
        "agreement": audit.agreement,
        "limits": audit.limits,
        "cheats": audit.cheats,
        "pooled_without": {m: without(audit, m) for m in metrics},
        "worst_misorder": {m: worst_misorder(audit, m) for m in metrics},
        "levels": audit.levels,
        "provenance": audit.provenance,
    }


def write(audit: Audit, folder: Path) -> list[Path]:
    """Write ``audit.json``, ``audit.csv`` and ``audit.svg``; return their paths."""
    paths = [folder / f"audit.{kind}" for kind in ("json", "csv", "svg")]
    write_text(paths[0], json.dumps(as_dict(audit), indent=1) + "\n")
    _csv(audit, paths[1])
    _plot(audit, paths[2])
    return paths


def _csv(audit: Audit, path: Path) -> None:
    import pandas as pd

    rows = []
    for row in audit.levels:
        low, high = row["ci"] or (None, None)
        rows.append({**{k: v for k, v in row.items() if k != "ci"}, "low": low, "high": high})
    table = pd.DataFrame(rows)
    table["id"] = table["metric"].map(audit.provenance["metrics"])
    write_text(path, table.to_csv(index=False))


def _plot(audit: Audit, path: Path) -> None:
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "aubench", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(11.5, 6.2), layout="constrained")
        FigureCanvasSVG(figure)
        halves: Any = figure.subfigures(2, 1)
        panels = halves[0].subplots(1, len(audit.kinds), sharey=True)
        for panel, kind in zip(panels, audit.kinds, strict=True):
            _by_level(audit, panel, kind)
        panels[0].set_ylabel("value")
        panels[0].legend(fontsize=7, frameon=False, loc="lower left")
        lower = halves[1].subplots(1, 3, sharey=True)
        for panel, metric in zip(lower, ("aaad", "f1", "closeness"), strict=True):
            _by_error(audit, panel, metric)
        lower[0].legend(fontsize=7, frameon=False, loc="lower left")
        p = audit.provenance
        figure.suptitle(
            f"audit of AAAD on {p['protocol']}, {p['samples']} faces, first detector "
            f"{p['detectors'][0]}, {p['corrupted']} corrupted, bands 95 %"
        )
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None})


def _by_level(audit: Audit, panel: Axes, kind: str) -> None:
    for metric in audit.audited(list(STYLE)):
        colour, marker, line = STYLE[metric]
        rows = audit.level(metric, kind)
        x, y = [row["level"] for row in rows], [row["value"] for row in rows]
        # The cosine lies under AAAD, which hardly differs from it.
        under = metric == "cosine"
        wide: dict[str, Any] = {"lw": 4.0, "alpha": 0.4} if under else {"lw": 1.2}
        panel.plot(x, y, line, color=colour, marker=marker, ms=3.5, label=metric, **wide)
        if all(row["ci"] for row in rows):
            panel.fill_between(
                x,
                [row["ci"][0] for row in rows],
                [row["ci"][1] for row in rows],
                color=colour,
                alpha=0.2,
                lw=0,
            )
    panel.set_title(kind)
    panel.set_xlabel("level of corruption")


def _by_error(audit: Audit, panel: Axes, metric: str) -> None:
    for kind in audit.kinds:
        colour, marker = KIND_STYLE[kind]
        rows = audit.level(metric, kind)
        panel.plot(
            [row["intensity_error"] for row in rows],
            [row["value"] for row in rows],
            color=colour,
            marker=marker,
            ms=3.5,
            lw=1.2,
            label=kind,
        )
    agreed = audit.agreed(metric, "pooled", "intensity", "levels")["spearman"]
    panel.set_title(f"{metric}: Spearman {agreed:.3f}" if agreed is not None else metric)
    panel.set_xlabel(f"{_error(audit)}, share of the scale")


def _error(audit: Audit) -> str:
    """Return what is known to be wrong: labels say no more of an AU than that it is there."""
    graded = audit.provenance["corrupted"] == "faces"
    return "true intensity error" if graded else "true label error"


def _cell(row: dict[str, Any]) -> str:
    if row["spearman"] is None:
        return "—"
    ends = row["ci"]
    return f"{row['spearman']:.3f}" + (f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else "")


def print_audit(audit: Audit, *, ids: bool = False) -> None:
    """Print how each metric agrees with the true error, and what it loses a wrong AU."""
    from aubench.console import console as terminal

    console, p = terminal(), audit.provenance
    console.print(
        f"audit of AAAD: {p['protocol']}, {p['samples']} faces of {p['subjects']} subjects, "
        f"{p['levels']} levels of corrupted {p['corrupted']}, first detector {p['detectors'][0]}"
    )
    for name, count in p["faces not found"].items():
        if count:
            console.print(f"{name} did not find {count} faces; they score 0")
    for over in OVER:
        _agreement_table(console, audit, over)
    _yardstick_table(console, audit)
    _limit_table(console, audit)
    if audit.cheats:
        _cheat_table(console, audit)
    _verdict(console, audit)
    if ids:
        for name, metric_id in p["metrics"].items():
            console.print(f"{name}: {metric_id}")


def _agreement_table(console: Console, audit: Audit, over: str) -> None:
    from aubench.console import Grid, print_grid

    console.print(
        f"\nSpearman with minus the {_error(audit)}, {OVER[over]} (1 = perfect)",
        soft_wrap=True,
    )
    rows = [
        (
            metric,
            *(_cell(audit.agreed(metric, group, "intensity", over)) for group in audit.groups),
        )
        for metric in audit.audited((*AUDITED, *CONTROLS))
    ]
    head = ("metric", *audit.groups)
    print_grid(Grid(head, rows, left=range(len(head))), console)


YARDSTICKS = ("intensity", "labels", "balanced")


def _yardstick_table(console: Console, audit: Audit) -> None:
    from aubench.console import Grid, print_grid

    console.print("\nSpearman pooled over the means of levels, by yardstick of error")
    rows = [
        (name, *(_cell(audit.agreed(name, "pooled", error, "levels")) for error in YARDSTICKS))
        for name in audit.audited((*AUDITED, *CONTROLS))
    ]
    print_grid(Grid(("metric", *YARDSTICKS), rows, left=range(4)), console)


def _cheat_table(console: Console, audit: Audit) -> None:
    from aubench.audit.cheats import ALLOWED
    from aubench.console import Grid, print_grid

    names = list(dict.fromkeys(row["control"] for row in audit.cheats))
    console.print(
        f"\nshare of the way from a copy of the reference to the target; ! above {ALLOWED}"
    )
    rows = []
    for name in audit.audited((*AUDITED, *CONTROLS)):
        found = [row for row in audit.cheats if row["metric"] == name]
        cells = [
            ("—" if r["share"] is None else f"{r['share']:.2f}") + ("" if r["allowed"] else " !")
            for r in found
        ]
        if cells:
            rows.append((name, *cells))
    print_grid(Grid(("metric", *names), rows, left=range(len(names) + 1)), console)


def _limit_table(console: Console, audit: Audit) -> None:
    from aubench.console import Grid, print_grid

    console.print("\nfirst level told from faithful, and loss at the last level")
    rows = []
    for metric in audit.audited(AUDITED):
        found = [row for row in audit.limits if row["metric"] == metric]
        cells = (_told(r) for r in found)
        rows.append((metric, *cells))
    head = ("metric", *audit.kinds)
    print_grid(Grid(head, rows, left=range(len(head))), console)
    console.print()


def _told(row: dict[str, Any]) -> str:
    loss = row["loss_at_last"]  # None where the last level asks for nothing
    return f"{row['told_from_level'] or 'never'}, {'—' if loss is None else f'{loss:.3f}'}"


def _verdict(console: Console, audit: Audit) -> None:
    row = audit.agreed("aaad", "pooled", "intensity", "levels")
    reached = row["spearman"] is not None and row["spearman"] >= TARGET
    verb = "reaches" if reached else "does not reach"
    console.print(f"AAAD over all levels: {_cell(row)}, {verb} {TARGET}")
    left = ", ".join(
        f"{kind} {'—' if value is None else f'{value:.3f}'}"
        for kind, value in without(audit, "aaad").items()
    )
    console.print(f"the same without one kind: {left}")
    worst = worst_misorder(audit, "aaad")
    if worst:
        b, w = worst["better"], worst["worse"]
        console.print(
            f"widest mistake: {b['kind']} {b['level']} (error {b['intensity_error']:.3f}) scores "
            f"{b['value']:.3f}, below {w['kind']} {w['level']} (error {w['intensity_error']:.3f}) "
            f"with {w['value']:.3f}\n{worst['pairs']} pairs of conditions are in the wrong order, "
            f"apart by up to {worst['largest_lead']:.3f}"
        )
