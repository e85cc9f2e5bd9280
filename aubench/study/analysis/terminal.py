"""Results of a study as text."""

from __future__ import annotations

from collections.abc import Sequence

from aubench.study.analysis.power import Power, Question
from aubench.study.analysis.rank_tables import Finding, RankTable
from aubench.study.analysis.results import MEAN, Comparison, StudyResults


def number(value: float | None, digits: int = 3) -> str:
    """Return a number for a table, a dash for None."""
    return "—" if value is None else f"{value:.{digits}f}"


def _p(value: float | None) -> str:
    if value is None:
        return "p —"
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def grid(rows: list[list[str]]) -> list[str]:
    """Return rows as lines whose columns are aligned, the first one on the left."""
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
        f"{results.scale}; 95 % intervals",
        *grid(rows),
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
        [
            "all" if row.combination == MEAN else row.combination,
            number(row.kendall_w),
            number(row.alpha),
        ]
        for row in results.agreement
    ]
    tau = number(results.self_tau)
    return [*grid(rows), f"raters with themselves: τ {tau}; trials with ties: {results.tied:.1%}"]


def _tests(results: StudyResults) -> list[str]:
    best = sorted(results.worths, key=lambda worth: -worth.worth)
    lines = ["differences of pairs, raters and items random; intervals and p adjusted by Holm:"]
    lines += grid([["", "difference", "interval", "p"], *map(_pair, results.comparisons)])
    order = sorted(results.models, key=lambda name: -results.cell(name, MEAN).auchs)
    shared = ", ".join(f"{name} {results.letters[name]}" for name in order)
    lines.append(f"letters, models that share one are not told apart: {shared}")
    test = results.friedman
    if test is not None:
        one, two = test.by_rater, test.by_item
        lines.append(
            f"Friedman, the larger p counts: {_p(test.p)} (raters as blocks, N = {one.blocks}: "
            f"{_p(one.p)}; items, N = {two.blocks}: {_p(two.p)})"
        )
    if best:
        words = (f"{w.model} {w.worth:.3f} [{w.low:.3f}, {w.high:.3f}]" for w in best)
        lines.append("Plackett–Luce worths: " + ", ".join(words))
    return lines


def _pair(one: Comparison) -> list[str]:
    name = f"{one.first} – {one.second}"
    span = f"[{one.low:+.3f}, {one.high:+.3f}]"
    return [name, f"{one.difference:+.3f}", span, _p(one.p_holm)]


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


def power_text(question: Question, rows: Sequence[Power], wanted: float, studies: int) -> str:
    """Return power by raters and items, and the smallest size that suffices."""
    table = [["raters", "items a combination", "rankings", "one pair alone", "after Holm"]]
    table += [
        [
            str(row.raters),
            str(row.items),
            str(row.raters * row.items * question.combinations),
            f"{row.paired:.3f}",
            f"{row.holm:.3f} ± {1.96 * row.error:.3f}",
        ]
        for row in rows
    ]
    enough = [row for row in rows if row.holm >= wanted]
    best = min(enough, key=lambda row: (row.raters * row.items, row.raters), default=None)
    last = (
        f"no size above reaches a power of {wanted:.0%}"
        if best is None
        else f"a power of {wanted:.0%} takes {best.raters} raters and {best.items} items "
        "a combination, the fewest rankings of the sizes above"
    )
    return "\n".join(
        [
            f"share of {studies} simulated studies that see a difference of "
            f"{question.difference:g} in mean AUCHS ({question.models} models, "
            f"{question.combinations} combinations, spread of raters {question.rater_spread:g}, "
            f"of items {question.item_spread:g})",
            *grid(table),
            last,
        ]
    )


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
