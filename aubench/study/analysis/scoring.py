"""``aubench study score``: from sealed answers to the table, its intervals and its caveats."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aubench.errors import AubenchError
from aubench.study.analysis import agreement, answers, comparisons, intervals
from aubench.study.analysis.answers import Ranked
from aubench.study.analysis.exclusion import exclusions, self_tau
from aubench.study.analysis.results import (
    MEAN,
    Agreement,
    Cell,
    Exclusion,
    Raters,
    StudyResults,
    Worth,
)
from aubench.study.design.files import Design, Key, Rules, read_design

if TYPE_CHECKING:
    import pandas as pd

SCALES = {
    "rank": "AUCHS, {k} for the first place to 1 for the last",
    "pairs": "AUCHS from pairs, 1 to {k}, by the share of comparisons won",
    "likert": "mean rating, 1 (not at all) to 5 (completely)",
    "intensity": "nearness to the intensities asked for, 5 less the mean difference in steps",
}
METHOD = (
    "crossed bootstrap over raters and items (items within their combination), {draws} draws, "
    "seed {seed}, stretched to the two-way standard error with Student's t"
)


@dataclass(frozen=True)
class Scored:
    """Results, the rows they came from, and what raters said of themselves, by rater."""

    results: StudyResults
    frame: pd.DataFrame
    forms: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Answered:
    """A study with its answers and its opened key.

    Attributes:
        design: Design of the study.
        digest: sha256 of the design.
        key: Opened.
        frame: Frame of ``answers.long_frame``, a row a ranked image.
        finished: Raters who finished.
        counts: Raters who consented, finished, withdrew.
        simulated: Whether the raters were bots.
    """

    design: Design
    digest: str
    key: Key
    frame: pd.DataFrame
    finished: set[str]
    counts: dict[str, int]
    simulated: bool = False


@dataclass(frozen=True)
class Bootstrap:
    """How often and from which seed raters and items are drawn again."""

    draws: int = 2000
    seed: int = 0


def kept(study: Path, *, database: str | None = None, key: Path | None = None) -> Ranked:
    """Open the key of a closed study and return the judgements of the raters who count.

    Raises:
        AubenchError: As ``score``.
    """
    design, _ = read_design(study)
    store = answers.open_store(study, database)
    opened = answers.unsealed(study, store, design, key)
    frame = answers.long_frame(store, design, opened)
    if frame.empty:
        raise AubenchError(f"study {design.name} has no answers")
    finished, _ = answers.finished(store)
    everyone = answers.judged(frame, opened, design)
    return _keep(everyone, exclusions(frame, opened, design.rules, finished))


def score(
    study: Path,
    *,
    database: str | None = None,
    key: Path | None = None,
    bootstrap: Bootstrap | None = None,
    rules: Rules | None = None,
) -> Scored:
    """Open the key of a closed study and analyse its answers.

    Args:
        study: Folder.
        database: SQLAlchemy URL; the folder's SQLite file if None.
        key: The sealed key, where it was kept elsewhere.
        bootstrap: Bootstrap of the intervals; 2,000 draws if None.
        rules: Rules of exclusion; those of the design if None.

    Raises:
        AubenchError: The study is open, has no answers, or none after exclusion.
    """
    design, digest = read_design(study)
    store = answers.open_store(study, database)
    opened = answers.unsealed(study, store, design, key)
    frame = answers.long_frame(store, design, opened)
    finished, counts = answers.finished(store)
    simulated = store.noted("simulated")
    answered = Answered(design, digest, opened, frame, finished, counts, simulated)
    results = analyse(answered, rules or design.rules, bootstrap or Bootstrap())
    return Scored(results, frame, answers.forms(store))


def analyse(answered: Answered, rules: Rules, bootstrap: Bootstrap) -> StudyResults:
    """Return everything that the answers of a study say.

    Args:
        answered: The study, its answers and key.
        rules: Rules of exclusion.
        bootstrap: Bootstrap of the intervals.

    Raises:
        AubenchError: There are no answers, or fewer than two raters are left.
    """
    design, frame, key = answered.design, answered.frame, answered.key
    if frame.empty:
        raise AubenchError(f"study {design.name} has no answers")
    everyone = answers.judged(frame, key, design)
    excluded = exclusions(frame, key, rules, answered.finished)
    kept = _keep(everyone, excluded)
    taus = [tau for rater, tau in self_tau(frame, key).items() if rater in set(kept.raters)]
    whole = everyone.keep([name for name in everyone.raters if name in answered.finished])
    draws, seed = bootstrap.draws, bootstrap.seed
    means = _plain(kept)
    found = comparisons.compare(kept.scores, kept.combinations, key.models)
    order = sorted(key.models, key=lambda name: -means[name])
    return StudyResults(
        task=design.task,
        scale=SCALES[design.task].format(k=len(key.models)),
        low=kept.low,
        high=kept.best,
        comparisons=found,
        letters=comparisons.letters(found, order),
        questions=_questions(frame, set(kept.raters)),
        study=design.name,
        study_sha256=answered.digest,
        simulated=answered.simulated,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        protocol=design.protocol,
        models=key.models,
        combinations=design.combinations,
        interval=METHOD.format(draws=draws, seed=seed),
        raters=Raters(
            places=len(design.places),
            excluded=len(everyone.raters) - len(kept.raters),
            analysed=len(kept.raters),
            **answered.counts,
        ),
        cells=_cells(kept, design.combinations, draws, seed),
        agreement=_agreement(kept, design.combinations),
        friedman=agreement.friedman(kept.scores) if design.task == "rank" else None,
        worths=_worths(kept, frame, min(draws, 500), seed),
        exclusions=excluded,
        without_exclusion=_plain(whole if rules.finished_only else everyone),
        tied=_tied(kept),
        self_tau=float(np.mean(taus)) if taus else None,
    )


def _keep(everyone: Ranked, excluded: Sequence[Exclusion]) -> Ranked:
    out = {rater for rule in excluded for rater in rule.raters}
    kept = everyone.keep([rater for rater in everyone.raters if rater not in out])
    if len(kept.raters) < 2:
        raise AubenchError(
            f"{len(kept.raters)} of {len(everyone.raters)} raters are left after exclusion",
            "the analysis needs two; " + _why(excluded),
        )
    return kept


def _why(excluded: Sequence[Exclusion]) -> str:
    return ", ".join(f"{rule.rule}: {len(rule.raters)}" for rule in excluded if rule.raters)


def _cells(ranked: Ranked, combinations: Sequence[str], draws: int, seed: int) -> tuple[Cell, ...]:
    cells = []
    for name in (*combinations, MEAN):
        part = ranked if name == MEAN else ranked.part(name)
        found = intervals.auchs(part, draws, seed)
        cells += [
            Cell(
                model=model,
                combination=name,
                auchs=float(found.value[i]),
                low=float(found.low[i]),
                high=float(found.high[i]),
                raters=len(part.raters),
                items=len(part.items),
            )
            for i, model in enumerate(part.models)
        ]
    return tuple(cells)


def _agreement(ranked: Ranked, combinations: Sequence[str]) -> tuple[Agreement, ...]:
    found = []
    for name in (*combinations, MEAN):
        part = ranked if name == MEAN else ranked.part(name)
        found.append(
            Agreement(
                combination=name,
                kendall_w=agreement.mean_w(part.ranks) if part.values is None else None,
                alpha=agreement.alpha(part.ranks if part.values is None else part.scores),
            )
        )
    return tuple(found)


def _worths(ranked: Ranked, frame: pd.DataFrame, draws: int, seed: int) -> tuple[Worth, ...]:
    if ranked.high is not None:  # rated faces have no worths
        return ()
    found = (
        intervals.worths(ranked, draws, seed)
        if ranked.values is None
        else intervals.pair_worths(ranked, _wins(ranked, frame), draws, seed)
    )
    return tuple(
        Worth(
            model=model,
            worth=float(found.value[i]),
            low=float(found.low[i]),
            high=float(found.high[i]),
        )
        for i, model in enumerate(ranked.models)
    )


def _wins(ranked: Ranked, frame: pd.DataFrame) -> intervals.Floats:
    """Return how often each model beat each other one, [raters, items, models, models]."""
    k = len(ranked.models)
    out = np.zeros((len(ranked.raters), len(ranked.items), k, k))
    part = frame[(frame["kind"] == "main") & frame["rater"].isin(ranked.raters)]
    for (rater, _), trial in part.sort_values("rank").groupby(["rater", "trial"]):
        won, lost = (ranked.models.index(name) for name in trial["model"])
        out[ranked.raters.index(rater), ranked.items.index(trial["item"].iloc[0]), won, lost] += 1
    return out


def _questions(frame: pd.DataFrame, raters: set[str]) -> dict[str, dict[str, float]]:
    """Return the mean rating by question and model."""
    part = frame[(frame["kind"] == "main") & frame["rater"].isin(raters)]
    found: dict[str, dict[str, list[float]]] = {}
    for model, combination, text in zip(
        part["model"], part["combination"], part["ratings"], strict=True
    ):
        for name, value in json.loads(text or "{}").items():
            label = f"{combination} {name}"
            found.setdefault(label, {}).setdefault(str(model), []).append(float(value))
    return {
        name: {model: float(np.mean(values)) for model, values in by_model.items()}
        for name, by_model in sorted(found.items())
    }


def _plain(ranked: Ranked) -> dict[str, float]:
    means = np.nanmean(ranked.scores, axis=(0, 1))
    return dict(zip(ranked.models, map(float, means), strict=True))


def _tied(ranked: Ranked) -> float:
    known = ranked.ranks[np.asarray(~np.isnan(ranked.ranks).any(axis=2))]
    return float(np.mean([len(np.unique(row)) < len(row) for row in known])) if len(known) else 0.0
