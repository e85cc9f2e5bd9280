"""``aubench study score``: from sealed answers to the table, its intervals and its caveats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aubench.errors import AubenchError
from aubench.study import agreement, answers, intervals
from aubench.study.answers import Ranked
from aubench.study.exclusion import exclusions, self_tau
from aubench.study.results import (
    MEAN,
    Agreement,
    Cell,
    Exclusion,
    Raters,
    StudyResults,
    Worth,
)
from aubench.study.settings import Design, Key, Rules, read_design

if TYPE_CHECKING:
    import pandas as pd

METHOD = (
    "crossed bootstrap over raters and items (items within their combination), {draws} draws, "
    "seed {seed}, stretched to the two-way standard error with Student's t"
)


@dataclass(frozen=True)
class Scored:
    """Results and the rows they came from."""

    results: StudyResults
    frame: pd.DataFrame


def score(
    study: Path,
    *,
    database: str | None = None,
    key: Path | None = None,
    draws: int = 2000,
    seed: int = 0,
    rules: Rules | None = None,
) -> Scored:
    """Open the key of a closed study and analyse its answers.

    Args:
        study: folder.
        database: SQLAlchemy URL; the folder's SQLite file if None.
        key: the sealed key, where it was kept elsewhere.
        draws: of the bootstrap.
        seed: of the bootstrap.
        rules: of exclusion; those of the design if None.

    Raises:
        AubenchError: the study is open, has no answers, or none after exclusion.
    """
    design, digest = read_design(study)
    store = answers.open_store(study, database)
    opened = answers.unsealed(study, store, design, key)
    frame = answers.long_frame(store, design, opened)
    done, counts = answers.finished(store)
    results = analyse(frame, design, opened, done, counts, digest, rules or design.rules,
                      draws, seed, simulated=store.noted("simulated"))  # fmt: skip
    return Scored(results, frame)


def analyse(
    frame: pd.DataFrame,
    design: Design,
    key: Key,
    done: set[str],
    counts: dict[str, int],
    digest: str,
    rules: Rules,
    draws: int = 2000,
    seed: int = 0,
    *,
    simulated: bool = False,
) -> StudyResults:
    """Return everything that the answers say.

    Args:
        frame: of ``answers.long_frame``.
        design: of the study.
        key: opened.
        done: raters who finished.
        counts: raters who consented, finished, withdrew.
        digest: sha256 of the design.
        rules: of exclusion.
        draws: of the bootstrap.
        seed: of the bootstrap.
        simulated: the raters were bots.

    Raises:
        AubenchError: fewer than two raters are left.
    """
    if frame.empty:
        raise AubenchError(f"study {design.name} has no answers")
    everyone = answers.ranked(frame, key)
    struck = exclusions(frame, key, rules, done)
    kept = _keep(everyone, struck)
    taus = [tau for rater, tau in self_tau(frame, key).items() if rater in set(kept.raters)]
    excluded = len(everyone.raters) - len(kept.raters)
    whole = everyone.keep([name for name in everyone.raters if name in done])
    return StudyResults(
        study=design.name, study_sha256=digest, simulated=simulated,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        protocol=design.protocol, models=key.models, combinations=design.combinations,
        interval=METHOD.format(draws=draws, seed=seed),
        raters=Raters(places=len(design.places), excluded=excluded, analysed=len(kept.raters),
                      **counts),
        cells=_cells(kept, design.combinations, draws, seed),
        agreement=_agreement(kept, design.combinations),
        friedman=agreement.friedman(_block_scores(kept), key.models),
        worths=_worths(kept, min(draws, 500), seed), exclusions=struck,
        without_exclusion=_plain(whole if rules.finished_only else everyone),
        tied=_tied(kept), self_tau=float(np.mean(taus)) if taus else None,
    )  # fmt: skip


def _keep(everyone: Ranked, struck: Sequence[Exclusion]) -> Ranked:
    out = {rater for rule in struck for rater in rule.raters}
    kept = everyone.keep([rater for rater in everyone.raters if rater not in out])
    if len(kept.raters) < 2:
        raise AubenchError(
            f"{len(kept.raters)} of {len(everyone.raters)} raters are left after exclusion",
            "the analysis needs two; " + _why(struck),
        )
    return kept


def _why(struck: Sequence[Exclusion]) -> str:
    return ", ".join(f"{rule.rule}: {len(rule.raters)}" for rule in struck if rule.raters)


def _part(ranked: Ranked, combination: str) -> Ranked:
    columns = [i for i, name in enumerate(ranked.combinations) if name == combination]
    return Ranked(
        ranked.raters, tuple(ranked.items[i] for i in columns),
        tuple(ranked.combinations[i] for i in columns), ranked.models, ranked.ranks[:, columns],
    )  # fmt: skip


def _cells(ranked: Ranked, combinations: Sequence[str], draws: int, seed: int) -> tuple[Cell, ...]:
    cells = []
    for name in (*combinations, MEAN):
        part = ranked if name == MEAN else _part(ranked, name)
        found = intervals.auchs(part, draws, seed)
        cells += [
            Cell(
                model=model, combination=name, auchs=float(found.value[i]),
                low=float(found.low[i]), high=float(found.high[i]),
                raters=len(part.raters), items=len(part.items),
            )
            for i, model in enumerate(part.models)
        ]  # fmt: skip
    return tuple(cells)


def _agreement(ranked: Ranked, combinations: Sequence[str]) -> tuple[Agreement, ...]:
    found = []
    for name in (*combinations, MEAN):
        ranks = (ranked if name == MEAN else _part(ranked, name)).ranks
        found.append(
            Agreement(
                combination=name, kendall_w=agreement.mean_w(ranks), alpha=agreement.alpha(ranks)
            )
        )
    return tuple(found)


def _block_scores(ranked: Ranked) -> intervals.Floats:
    return np.asarray(np.nanmean(ranked.scores, axis=1), np.float64)


def _worths(ranked: Ranked, draws: int, seed: int) -> tuple[Worth, ...]:
    found = intervals.worths(ranked, draws, seed)
    return tuple(
        Worth(
            model=model, worth=float(found.value[i]), low=float(found.low[i]),
            high=float(found.high[i]),
        )
        for i, model in enumerate(ranked.models)
    )  # fmt: skip


def _plain(ranked: Ranked) -> dict[str, float]:
    means = np.nanmean(ranked.scores, axis=(0, 1))
    return dict(zip(ranked.models, map(float, means), strict=True))


def _tied(ranked: Ranked) -> float:
    known = ranked.ranks[np.asarray(~np.isnan(ranked.ranks).any(axis=2))]
    return float(np.mean([len(np.unique(row)) < len(row) for row in known]))
