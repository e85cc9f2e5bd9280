"""Records as tables in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aubench.errors import AubenchError, suggest
from aubench.record import Record, ScoreRow

if TYPE_CHECKING:
    from rich.table import Table

TITLES = {
    "fid": "FID", "fd_inf": "FD∞", "kid": "KID ×10³", "kid_subset": "KID ×10³ (subsets)",
    "is": "IS", "lpips": "LPIPS", "aaad": "AAAD", "aaad_second": "AAAD, 2nd detector",
    "cosine": "mean cosine", "cosine_second": "mean cosine, 2nd", "aaad_ceiling": "AAAD of targets",
    "aaad_floor": "AAAD shuffled", "au_f1": "AU F1", "au_auc": "AU AUC",
    "off_target": "off-target AUs", "precision": "precision", "recall": "recall",
    "density": "density", "coverage": "coverage", "rms": "RMS, grey levels", "psnr": "PSNR, dB",
    "ssim": "SSIM", "au_ap": "AU average precision", "leakage": "leakage beyond targets",
    "intensity_icc": "intensity ICC(3,1)", "intensity_mae": "intensity MAE, levels",
    "spearman": "response: Spearman", "violations": "response: steps down",
    "linearity": "response: linearity R²", "response_icc": "response: ICC(3,1)",
    "response_mae": "response: MAE, levels", "interaction": "response: interaction error, levels",
    "outside_change": "change outside, grey levels", "locality": "change inside, share",
    "identity": "identity cosine", "verification": "verification at FAR 1 %",
    "memorised": "memorised", "memory_ratio": "memory ratio", "authenticity": "authenticity",
}  # fmt: skip
HEADLINE = ("fid", "kid", "is", "lpips", "aaad", "aaad_second", "au_f1")
SCALE = {"kid": 1e3, "kid_subset": 1e3}
DIGITS = {"fid": 2, "fd_inf": 2, "kid": 2, "kid_subset": 2, "is": 3, "rms": 2, "psnr": 2}


def format_score(row: ScoreRow | None, *, interval: bool = True) -> str:
    """Return a number with its interval, or a dash where it was not measured."""
    if row is None or row.value is None:
        return "—"
    scale, digits = SCALE.get(row.metric, 1.0), DIGITS.get(row.metric, 3)
    text = _number(row.value * scale, digits)
    if interval and row.ci is not None:
        text += f" [{_number(row.ci[0] * scale, digits)}, {_number(row.ci[1] * scale, digits)}]"
    return text


def _number(value: float, digits: int) -> str:
    """Return a fixed number of decimals, without the sign of a zero."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _title(row: ScoreRow) -> str:
    arrow = "↑" if row.higher_is_better else "↓"
    mark = "" if row.informative else "*"
    return f"{TITLES.get(row.metric, row.metric)} {arrow}{mark}"


UNINFORMATIVE = "* not informative on faces"


def _heading(record: Record) -> str:
    counts, protocol = record.counts, record.protocol
    text = (
        f"{record.model.name} on {protocol.dataset}/{protocol.name} {protocol.version}, "
        f"N = {counts.generated} of {counts.asked}, {counts.failed} failed, {protocol.size} px"
    )
    if counts.unsupported:
        text += f", {counts.unsupported} unsupported and left out"
    return text + (", LIMITED RUN" if counts.limited else "")


PER_AU = "au_f1_"


def record_table(record: Record, *, ids: bool = False) -> Table:
    """Return the scores of a record, one a row, with interval and note or metric id."""
    from rich.table import Table

    table = Table(title=_heading(record), box=None, title_justify="left", pad_edge=False)
    for column in ("metric", "value [95 %]", "id" if ids else "note"):
        table.add_column(column, overflow="fold")
    for row in record.scores:
        if ids or not row.metric.startswith(PER_AU):
            table.add_row(_title(row), format_score(row), row.id if ids else row.note)
    return table


def print_record(record: Record, *, ids: bool = False) -> None:
    """Print the scores of one run."""
    from rich.console import Console

    console = Console()
    console.print(record_table(record, ids=ids), markup=False)
    if not all(row.informative for row in record.scores):
        console.print(UNINFORMATIVE, markup=False)
    per_au = [row for row in record.scores if row.metric.startswith(PER_AU)]
    if per_au and not ids:
        line = ", ".join(f"AU{r.metric.removeprefix(PER_AU)} {format_score(r)}" for r in per_au)
        console.print(f"  F1 of each AU: {line}", markup=False)
    for name, rows in record.subsets.items():
        line = ", ".join(f"{TITLES.get(r.metric, r.metric)} {format_score(r)}" for r in rows)
        console.print(f"  {name} (n = {rows[0].n if rows else 0}): {line}", markup=False)
    if record.model.metrics_in_training:
        seen = ", ".join(record.model.metrics_in_training)
        console.print(f"† {record.model.name} was trained with {seen}", markup=False)


def board_columns(
    records: Sequence[Record], metrics: Sequence[str] = HEADLINE
) -> list[tuple[str, str]]:
    """Return (metric, id) pairs in reading order; another id of a metric is another column."""
    seen: dict[tuple[str, str], None] = {}
    for metric in metrics:
        for record in records:
            row = record.score(metric)
            if row is not None and row.value is not None:
                seen[(metric, row.id)] = None
    return list(seen)


def check_columns(records: Sequence[Record], metrics: Sequence[str]) -> None:
    """Refuse a metric that no record holds.

    Raises:
        AubenchError: names it, and those there are.
    """
    known = sorted({row.metric for record in records for row in record.scores})
    for metric in metrics:
        if metric not in known:
            raise AubenchError(
                f"no record holds the metric '{metric}'{suggest(metric, known)}",
                f"choose from {', '.join(known)}",
            )


def print_board(
    name: str,
    records: Sequence[Record],
    *,
    ids: bool = False,
    metrics: Sequence[str] = HEADLINE,
) -> None:
    """Print one protocol's table with a column a metric; controls come last."""
    from rich.console import Console
    from rich.table import Table

    columns = board_columns(records, metrics)
    table = Table(title=f"{name}", box=None, title_justify="left", pad_edge=False)
    table.add_column("model")
    for i, (metric, _) in enumerate(columns):
        row = next(r for record in records if (r := record.score(metric)) is not None)
        twin = sum(1 for other, _ in columns if other == metric) > 1
        table.add_column(_title(row) + (f" ({i + 1})" if twin else ""), justify="right")
    for record in sorted(records, key=lambda r: (r.model.control, r.model.name)):
        cells = []
        for metric, metric_id in columns:
            cell = record.score(metric)
            cells.append(format_score(cell if cell and cell.id == metric_id else None))
        mark = "†" if record.model.metrics_in_training else ""
        kind = " (control)" if record.model.control else ""
        table.add_row(record.model.name + mark + kind, *cells)
    console = Console()
    console.print(table, markup=False)
    rows = [record.score(metric) for record in records for metric, _ in columns]
    if not all(row.informative for row in rows if row is not None):
        console.print(UNINFORMATIVE, markup=False)
    if any(record.model.metrics_in_training for record in records):
        console.print("† trained with a network that also scores; see the record", markup=False)
    if ids:
        for i, (metric, metric_id) in enumerate(columns):
            console.print(f"({i + 1}) {TITLES.get(metric, metric)}: {metric_id}", markup=False)
    console.print()
