"""Figures of scores: AUs as radar and heat map, FID by AAAD, combinations, training curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from aubench.comparison.runs import Run
from aubench.errors import AubenchError, first_line
from aubench.facs import AUS
from aubench.metrics.action_units.au_scores import leakage_matrix
from aubench.metrics.registry import heading
from aubench.records.record import Record, ScoreRow
from aubench.report.figures.labels import label_points
from aubench.report.figures.style import MAP, Row, draw, style
from aubench.storage.tables import read_table
from aubench.storage.text_files import parse_json, read_json, read_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Matrix = npt.NDArray[np.float64]


def radar(records: Sequence[Record], path: Path) -> Path:
    """Draw F1 of each AU, a closed line a record.

    Raises:
        AubenchError: A record has no F1 of single AUs, or they were measured differently.
    """
    lines = {record.model.name: _f1(record) for record in records}
    ids = {row.id for record in records if (row := record.score("au_f1"))}
    if len(ids) > 1:
        raise AubenchError("the records were measured differently", f"ids: {', '.join(ids)}")
    angles = np.linspace(0, 2 * np.pi, len(AUS), endpoint=False)
    kinds = _kinds(records)

    def fill(figure: Figure) -> None:
        panel: Any = figure.add_subplot(projection="polar")
        panel.set_theta_zero_location("N")
        panel.set_theta_direction(-1)
        for name, values in lines.items():
            closed, kind = [*values, values[0]], kinds[name]
            panel.plot([*angles, angles[0]], closed, label=name, ms=3, **kind)
        panel.set_xticks(angles, [f"AU{au}" for au in AUS])
        panel.set_ylim(0, 1)
        panel.set_rlabel_position(15)  # between the spokes of AU1 and AU2
        panel.tick_params("y", labelsize=6, colors="0.45")
        panel.grid(color="0.85", lw=0.6)
        panel.set_title(f"F1 of each AU\n{', '.join(sorted(ids))}", fontsize=7)
        panel.legend(loc="upper left", bbox_to_anchor=(1.05, 1.0), frameon=False)

    names = [f"AU{au}" for au in AUS]
    numbers: list[Row] = [
        {"model": model, "au": name, "f1": value}
        for model, values in lines.items()
        for name, value in zip(names, values, strict=True)
    ]
    return draw(path, (5.2, 3.6), fill, numbers)


def _kinds(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """Return how each record's line looks: models in colours, controls thin and grey."""
    out: dict[str, dict[str, Any]] = {}
    models = controls = 0
    for record in records:
        if record.model.control:
            kind = style(controls) | {"color": "0.55", "lw": 0.8}
            controls += 1
        else:
            kind = style(models) | {"lw": 1.6}
            models += 1
        out[record.model.name] = kind
    return out


def _f1(record: Record) -> list[float]:
    rows = [record.score(f"au_f1_{au}") for au in AUS]
    if any(row is None for row in rows):
        raise AubenchError(
            f"the record of {record.model.name} has no F1 of each AU", "run with --metrics au"
        )
    return [float("nan") if row is None or row.value is None else row.value for row in rows]


def heat_map(run: Run, path: Path) -> Path:
    """Draw how often each AU is detected where each was commanded; targets beside it.

    Raises:
        AubenchError: The run has no AUs detected.
    """
    if "au" not in run.metrics():
        raise AubenchError(f"{run.folder.path} has no AUs detected", "run with --metrics au")
    data = run.evaluation_data(["au"])
    seen = data.detected(data.independent_detector)
    truth = data.detected_in_targets(data.independent_detector)
    labels = data.labels_for(data.independent_detector)
    matrices = {
        run.name: leakage_matrix(seen, labels),
        "targets": leakage_matrix(truth, labels),
    }
    names = [f"AU{au}" for au in AUS]

    def fill(figure: Figure) -> None:
        panels = figure.subplots(1, 2, sharey=True)
        for panel, (title, values) in zip(panels, matrices.items(), strict=True):
            image = _matrix(panel, values, names, names)
            panel.set_title(title)
            panel.set_xlabel("detected")
        panels[0].set_ylabel("commanded")
        figure.colorbar(image, ax=panels, shrink=0.7, label="share of samples")
        judge = data.network_id(data.independent_detector)
        about = f"{data.reference_set}, N = {len(data):,}, {judge}"
        figure.suptitle(f"{about}; off the diagonal: detected where not commanded", fontsize=7)

    numbers: list[Row] = [
        {"faces": name, "commanded": row, "detected": column, "share": float(values[i, j])}
        for name, values in matrices.items()
        for i, row in enumerate(names)
        for j, column in enumerate(names)
    ]
    return draw(path, (8.6, 4.4), fill, numbers)


def _matrix(panel: Any, values: Matrix, rows: Sequence[str], columns: Sequence[str]) -> Any:
    image = panel.imshow(values, vmin=0, vmax=1, cmap=MAP, aspect="auto")
    panel.set_xticks(range(len(columns)), columns, rotation=60, ha="right", fontsize=7)
    panel.set_yticks(range(len(rows)), rows, fontsize=7)
    for i, line in enumerate(values):
        for j, value in enumerate(line):
            if np.isfinite(value):
                ink = "black" if value > 0.55 else "white"
                panel.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=5, color=ink)
    return image


def scatter(records: Sequence[Record], path: Path, x: str = "fid", y: str = "aaad_second") -> Path:
    """Draw one metric by another, a point a record with its intervals; controls hollow.

    Records measured otherwise than most are left out and named under the figure.

    Raises:
        AubenchError: Fewer than two records have both, measured alike.
    """
    points = [
        (record, a, b)
        for record in records
        if (a := record.score(x))
        and (b := record.score(y))
        and a.value is not None
        and b.value is not None
    ]
    ways = Counter((a.id, b.id) for _, a, b in points).most_common(1)
    others = [record.model.name for record, a, b in points if (a.id, b.id) != ways[0][0]]
    points = [point for point in points if point[0].model.name not in others]
    if len(points) < 2:
        raise AubenchError(
            f"fewer than two records have {x} and {y}, measured alike", "name other metrics"
        )

    def fill(figure: Figure) -> None:
        panel = figure.subplots()
        for i, (record, a, b) in enumerate(points):
            kind = style(i)
            hollow: Any = {"mfc": "white"} if record.model.control else {}
            panel.errorbar(
                a.value or 0.0,
                b.value or 0.0,
                xerr=_reach(a.value, a.ci),
                yerr=_reach(b.value, b.ci),
                fmt=kind["marker"],
                color=kind["color"],
                ms=6,
                capsize=2,
                lw=1,
                **hollow,
            )
        for axis, row in ((panel.set_xlabel, points[0][1]), (panel.set_ylabel, points[0][2])):
            arrow = "↑" if row.higher_is_better else "↓"
            axis(f"{heading(row.metric)} {arrow}")
        info = points[0][0].protocol
        about = f"{info.dataset}/{info.name} {info.version}, intervals 95 %, controls hollow"
        panel.set_title(about, fontsize=8)
        panel.margins(0.12)
        names = [record.model.name for record, _, _ in points]
        places = [(a.value or 0.0, b.value or 0.0) for _, a, b in points]
        label_points(panel, names, places)
        ids = f"{x}: {points[0][1].id}\n{y}: {points[0][2].id}"
        if others:
            ids += f"\nleft out, measured otherwise: {', '.join(others)}"
        figure.supxlabel(ids, fontsize=5)

    numbers: list[Row] = [_numbers(record, a, b) for record, a, b in points]
    return draw(path, (5.2, 3.8), fill, numbers)


def _numbers(record: Record, *rows: ScoreRow) -> Row:
    """Return values and ends of the intervals of a record's scores."""
    out: Row = {"model": record.model.name}
    for row in rows:
        low, high = row.ci or (None, None)
        out |= {row.metric: row.value, f"{row.metric} low": low, f"{row.metric} high": high}
    return out


def _reach(value: float | None, ci: tuple[float, float] | None) -> Matrix | None:
    if value is None or ci is None:
        return None
    return np.array([[max(0.0, value - ci[0])], [max(0.0, ci[1] - value)]])


def combinations(records: Sequence[Record], path: Path, metric: str = "au_f1") -> Path:
    """Draw a metric of each combination (or stratum) and model as a heat map.

    Raises:
        AubenchError: No record tells the metric of its strata.
    """
    names = list(dict.fromkeys(name for record in records for name in record.subsets))
    values = np.array([[_subset(record, name, metric) for record in records] for name in names])
    if not values.size or not np.isfinite(values).any():
        raise AubenchError(f"no record tells {metric} of its strata", "aaad or au_f1")
    heads = [record.model.name for record in records]
    info = records[0].protocol

    def fill(figure: Figure) -> None:
        panel = figure.subplots()
        image = _matrix(panel, values, names, heads)
        figure.colorbar(image, ax=panel, label=heading(metric))
        white = ", white: not measured" if not np.isfinite(values).all() else ""
        panel.set_title(f"{info.dataset}/{info.name} {info.version}{white}")

    numbers: list[Row] = [
        {"model": head, "stratum": name, metric: float(values[i, j])}
        for j, head in enumerate(heads)
        for i, name in enumerate(names)
    ]
    size = (2.2 + 0.7 * len(heads), 1.3 + 0.35 * len(names))
    return draw(path, size, fill, numbers)


def _subset(record: Record, name: str, metric: str) -> float:
    rows = [row for row in record.subsets.get(name, []) if row.metric == metric]
    return float("nan") if not rows or rows[0].value is None else rows[0].value


Series = dict[str, tuple[list[float], list[float]]]


def read_log(path: Path) -> Series:
    """Return the curves of a training: x and y by name.

    Reads ``*.jsonl`` and ``*.csv`` with a column ``step``, and the ``history`` of a card in JSON,
    whose x is then the epoch.

    Raises:
        AubenchError: The file is none of these.
    """
    try:
        if path.suffix == ".jsonl":
            rows = [parse_json(line) for line in read_text(path).splitlines() if line.strip()]
        elif path.suffix == ".csv":
            table = read_table(path)
            rows = [{k: row.number(k) for k in table.columns if row[k]} for row in table.rows]
        else:
            rows = _history(read_json(path))
        return _series(rows)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = first_line(error)
        raise AubenchError(
            f"{path} is no log of a training: {reason}", "give a .jsonl, .csv or card with history"
        ) from error


def _history(card: Mapping[str, Any]) -> list[dict[str, float]]:
    history = card.get("history") or card.get("log")
    if not isinstance(history, list) or not history:
        raise ValueError("it holds no history")
    if all(isinstance(part, list) for part in history):
        history = [row for part in history for row in part]
    return [
        {"step": i + 1, **(row if isinstance(row, dict) else {"loss": row})}
        for i, row in enumerate(history)
    ]


def _series(rows: Sequence[Mapping[str, Any]]) -> Series:
    out: Series = {}
    for i, row in enumerate(rows):
        x = float(row.get("step", i + 1))
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float) and not isinstance(value, bool):
                xs, ys = out.setdefault(name, ([], []))
                xs.append(x)
                ys.append(float(value))
    if not out:
        raise ValueError("it holds no numbers")
    return out


def curves(paths: Sequence[Path], path: Path) -> Path:
    """Draw the curves of trainings, a panel a quantity, a line a log.

    Raises:
        AubenchError: A log cannot be read.
    """
    logs = {f"{p.parent.name}/{p.name}": read_log(p) for p in paths}
    names = list(dict.fromkeys(name for log in logs.values() for name in log))
    across = min(4, len(names))
    down = -(-len(names) // across)

    def fill(figure: Figure) -> None:
        panels = figure.subplots(down, across, squeeze=False)
        for panel in panels.flat[len(names) :]:
            panel.set_visible(False)
        for panel, name in zip(panels.flat, names, strict=False):
            for i, (label, log) in enumerate(logs.items()):
                if name in log:
                    kind = {**style(i), "marker": "o" if len(log[name][0]) < 2 else ""}
                    panel.plot(*log[name], label=label, lw=1.1, **kind)
            panel.set_title(name, fontsize=8)
            panel.set_xlabel("step", fontsize=7)
        panels.flat[0].legend(frameon=False, fontsize=6)

    numbers: list[Row] = [
        {"log": label, "quantity": name, "step": x, "value": y}
        for label, log in logs.items()
        for name, (xs, ys) in log.items()
        for x, y in zip(xs, ys, strict=True)
    ]
    return draw(path, (2.4 * across + 0.4, 1.9 * down + 0.2), fill, numbers)
