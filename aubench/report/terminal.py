"""Records as tables in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aubench.errors import AubenchError, suggest
from aubench.record import Record, ScoreRow

if TYPE_CHECKING:
    from aubench.console import Grid

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


def record_grid(record: Record, *, ids: bool = False) -> Grid:
    """Return the scores of a record, one a row, with interval and note or metric id."""
    from aubench.console import Grid

    rows = [
        (_title(row), format_score(row), row.id if ids else row.note)
        for row in record.scores
        if ids or not row.metric.startswith(PER_AU)
    ]
    heads = ("metric", "value [95 %]", "id" if ids else "note")
    return Grid(heads, rows, _heading(record), left=(1, 2), prose=(2,))


def print_record(record: Record, *, ids: bool = False) -> None:
    """Print the scores of one run."""
    from aubench.console import console, print_grid

    out = console()
    print_grid(record_grid(record, ids=ids), out)
    if not all(row.informative for row in record.scores):
        out.print(UNINFORMATIVE)
    per_au = [row for row in record.scores if row.metric.startswith(PER_AU)]
    if per_au and not ids:
        line = ", ".join(f"AU{r.metric.removeprefix(PER_AU)} {format_score(r)}" for r in per_au)
        out.print(f"  F1 of each AU: {line}")
    for name, rows in record.subsets.items():
        line = ", ".join(f"{TITLES.get(r.metric, r.metric)} {format_score(r)}" for r in rows)
        out.print(f"  {name} (n = {rows[0].n if rows else 0}): {line}")
    if record.model.metrics_in_training:
        seen = ", ".join(record.model.metrics_in_training)
        out.print(f"† {record.model.name} was trained with {seen}")


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


def told_apart(ids: Sequence[str]) -> list[str]:
    """Return what tells metric ids apart, in brief, ``text-nano``; empty for one alone."""
    parts = [id_.split("|") for id_ in ids]
    if len({len(words) for words in parts}) > 1:
        return list(ids) if len(ids) > 1 else [""]
    differing = [words for words in zip(*parts, strict=True) if len(set(words)) > 1]
    brief = []
    for words in differing:
        short = [word.removeprefix("target=").partition("@")[0] for word in words]
        brief.append(short if len(set(short)) == len(set(words)) else words)
    return [", ".join(words) for words in zip(*brief, strict=True)] if brief else [""] * len(ids)


def board_grid(
    name: str, records: Sequence[Record], columns: Sequence[tuple[str, str]], *, ids: bool = False
) -> Grid:
    """Return one protocol's table with a column for each (metric, id); controls come last."""
    from aubench.console import Grid

    heads = ["model"]
    for i, (metric, id_) in enumerate(columns):
        row = next(r for record in records if (r := record.score(metric)) is not None)
        twins = [other for name, other in columns if name == metric]
        mark = told_apart(twins)[twins.index(id_)]
        marks = [word for word in (mark, str(i + 1) if ids else "") if word]
        heads.append(_title(row) + "".join(f" ({word})" for word in marks))
    rows = []
    for record in sorted(records, key=lambda r: (r.model.control, r.model.name)):
        mark = "†" if record.model.metrics_in_training else ""
        kind = " (control)" if record.model.control else ""
        cells = [record.score(metric) for metric, _ in columns]
        rows.append([record.model.name + mark + kind, *(
            format_score(cell if cell and cell.id == id_ else None)
            for cell, (_, id_) in zip(cells, columns, strict=True)
        )])  # fmt: skip
    return Grid(heads, rows, name)


def print_board(
    name: str,
    records: Sequence[Record],
    *,
    ids: bool = False,
    metrics: Sequence[str] = HEADLINE,
) -> None:
    """Print one protocol's table and what its marks mean."""
    from aubench.console import console, print_grid

    columns, out = board_columns(records, metrics), console()
    print_grid(board_grid(name, records, columns, ids=ids), out)
    rows = [record.score(metric) for record in records for metric, _ in columns]
    if not all(row.informative for row in rows if row is not None):
        out.print(UNINFORMATIVE)
    if any(record.model.metrics_in_training for record in records):
        out.print("† trained with a network that also scores; see the record")
    if ids:
        for i, (metric, metric_id) in enumerate(columns):
            out.print(f"({i + 1}) {TITLES.get(metric, metric)}: {metric_id}", soft_wrap=True)
    out.print()
