"""Results of a study as text."""

from __future__ import annotations

from collections.abc import Sequence

from aubench.study.power import Power, Question
from aubench.study.rank_tables import Finding, RankTable
from aubench.study.results import MEAN, StudyResults
from aubench.study.simulation import Coverage


def _number(value: float | None, digits: int = 3) -> str:
    return "—" if value is None else f"{value:.{digits}f}"


def _p(value: float | None) -> str:
    if value is None:
        return "p —"
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _grid(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def results_text(results: StudyResults) -> str:
    """Return table, tests and caveats."""
    rows = [["", *results.models]]
    for name in (*results.combinations, MEAN):
        cells = [results.cell(model, name) for model in results.models]
        label = "Mean AUCHS" if name == MEAN else name
        rows.append([label, *(f"{c.auchs:.3f} [{c.low:.3f}, {c.high:.3f}]" for c in cells)])
    raters, first = results.raters, results.cells[0]
    lines = ["simulated raters, not people"] if results.simulated else []
    lines += [
        f"AUCHS, {len(results.models)} for the first place to 1 for the last; 95 % intervals",
        *_grid(rows),
        "",
        f"raters: {raters.analysed} analysed, {raters.excluded} excluded, {raters.finished} "
        f"finished, {raters.consented} consented, {raters.withdrawn} withdrew; "
        f"{first.items} items a combination",
        f"intervals: {results.interval}",
        "",
        *_agreement(results),
        "",
        *_tests(results),
        "",
        *_exclusions(results),
    ]
    return "\n".join(lines)


def _agreement(results: StudyResults) -> list[str]:
    rows = [["agreement", "Kendall's W", "Krippendorff's α"]]
    rows += [
        ["all" if row.combination == MEAN else row.combination, _number(row.kendall_w),
         _number(row.alpha)]
        for row in results.agreement
    ]  # fmt: skip
    tau = _number(results.self_tau)
    return [*_grid(rows), f"raters with themselves: τ {tau}; trials with ties: {results.tied:.1%}"]


def _tests(results: StudyResults) -> list[str]:
    test = results.friedman
    best = sorted(results.worths, key=lambda worth: -worth.worth)
    ranks = sorted(test.mean_ranks.items(), key=lambda item: item[1])
    apart = [pair.replace("|", " – ") for pair, p in test.nemenyi.items() if p >= 0.05]
    return [
        f"Friedman, raters as blocks (N = {test.blocks}): χ² = {_number(test.statistic, 2)}, "
        f"{_p(test.p)}; Iman–Davenport F = {_number(test.iman_davenport, 2)}, "
        f"{_p(test.iman_davenport_p)}",
        "mean ranks: " + ", ".join(f"{name} {rank:.2f}" for name, rank in ranks),
        f"Nemenyi: critical difference {test.critical_difference:.3f}; not told apart: "
        + (", ".join(apart) or "none"),
        "Plackett–Luce worths: "
        + ", ".join(f"{w.model} {w.worth:.3f} [{w.low:.3f}, {w.high:.3f}]" for w in best),
    ]


def _exclusions(results: StudyResults) -> list[str]:
    lines = [
        f"excluded, {rule.rule}: {', '.join(rule.raters) or 'none'}" for rule in results.exclusions
    ]
    kept = {model: results.cell(model, MEAN).auchs for model in results.models}
    moved = ", ".join(
        f"{model} {value:.3f} ({kept[model] - value:+.3f})"
        for model, value in results.without_exclusion.items()
    )
    return [*lines, f"mean AUCHS with nobody excluded who finished (effect): {moved}"]


def coverage_text(found: Coverage) -> str:
    """Return how often intervals held the truth."""
    rows = [["", "truth", "AUCHS held", "worth held"]]
    rows += [
        [name, f"{found.truth[name]:.3f}", f"{found.mean[name]:.3f}",
         _number(None if found.worths is None else found.worths[name])]
        for name in found.truth
    ]  # fmt: skip
    return "\n".join([
        f"{found.studies} simulated studies; 95 % intervals held the truth in this share:",
        *_grid(rows),
        f"single combinations: {found.cells:.3f}; right order of all models: {found.order:.3f}; "
        f"mean width of the mean's interval {found.width:.3f}",
    ])  # fmt: skip


def power_text(question: Question, rows: Sequence[Power], wanted: float, studies: int) -> str:
    """Return power by raters and items, and the smallest size that suffices."""
    table = [["raters", "items a combination", "rankings", "interval excludes 0", "Nemenyi"]]
    table += [
        [str(row.raters), str(row.items), str(row.raters * row.items * question.combinations),
         f"{row.paired:.3f} ± {1.96 * row.error:.3f}", f"{row.nemenyi:.3f}"]
        for row in rows
    ]  # fmt: skip
    enough = [row for row in rows if row.paired >= wanted]
    best = min(enough, key=lambda row: (row.raters * row.items, row.raters), default=None)
    last = (
        f"no size above reaches a power of {wanted:.0%}"
        if best is None
        else f"a power of {wanted:.0%} takes {best.raters} raters and {best.items} items "
        "a combination, the fewest rankings of the sizes above"
    )
    return "\n".join([
        f"share of {studies} simulated studies that see a difference of "
        f"{question.difference:g} in mean AUCHS ({question.models} models, "
        f"{question.combinations} combinations, spread of raters {question.rater_spread:g}, "
        f"of items {question.item_spread:g})",
        *_grid(table), last,
    ])  # fmt: skip


def audit_text(table: RankTable, findings: Sequence[Finding]) -> str:
    """Return what an audit found, faults first."""
    faults = [finding for finding in findings if finding.fault]
    lines = [f"{table.name}: {len(table.rows)} rows, {table.k} models, {table.decimals} decimals"]
    for finding in [*faults, *(finding for finding in findings if not finding.fault)]:
        lines.append(f"{'FAULT' if finding.fault else 'ok   '}  {finding.where}: {finding.what}")
    lines.append(
        f"{len(faults)} things that complete rankings without rounding beyond the last digit "
        "cannot give; ask the authors about excluded, repeated or missing rankings and about ties"
        if faults
        else "nothing here contradicts complete rankings"
    )
    return "\n".join(lines)
