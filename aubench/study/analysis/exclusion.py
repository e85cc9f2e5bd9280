"""Who is excluded, by rules that were stated before the first answer."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING

from aubench.study.analysis.results import Exclusion
from aubench.study.design.files import Key, Rules

if TYPE_CHECKING:
    import pandas as pd


def gold_share(frame: pd.DataFrame) -> dict[str, float]:
    """Return, by rater, the share of gold trials with the right face in the first place alone.

    Of rated faces it is the share of samples whose right face is rated above the wrong one.
    """
    gold = frame[frame["kind"] == "gold"]
    if gold["rank"].isna().all():
        table = gold.pivot_table("score", ["rater", "item"], "model")
        if not {"target", "wrong"} <= set(table):
            return {}
        right = (table["target"] > table["wrong"])[table.notna().all(axis=1)]
        return {str(rater): float(part.mean()) for rater, part in right.groupby("rater")}
    gold = gold[gold["model"] == "target"]
    return {str(rater): float((part["rank"] == 1).mean()) for rater, part in gold.groupby("rater")}


def median_seconds(frame: pd.DataFrame) -> dict[str, float]:
    """Return, by rater, the median time of a trial in seconds, by the server's clock."""
    trials = frame.drop_duplicates(["rater", "trial"])
    return {str(rater): float(part.median()) for rater, part in trials.groupby("rater")["seconds"]}


def self_tau(frame: pd.DataFrame, key: Key) -> dict[str, float]:
    """Return, by rater, the mean Kendall's tau-b of repeated trials with their first showing.

    Of rated faces it is 1 less twice the difference, as a share of the scale.
    """
    import numpy as np
    from scipy.stats import kendalltau

    pairs = {name: entry.repeats for name, entry in key.trials.items() if entry.repeats}
    wanted = {*pairs, *pairs.values()}
    part = frame[frame["trial"].isin(wanted)]
    if not part.empty and part["rank"].isna().all():
        return _self_agreement(part, pairs)
    ranks: dict[tuple[str, str], dict[str, float]] = {}
    for rater, trial, image, rank in zip(
        part["rater"], part["trial"], part["image"], part["rank"], strict=True
    ):
        ranks.setdefault((str(rater), str(trial)), {})[str(image)] = float(rank)
    found: dict[str, list[float]] = {}
    for (rater, repeated), second in ranks.items():
        first = ranks.get((rater, pairs.get(repeated) or ""))
        if first is not None:
            tau = float(kendalltau([first[name] for name in second], list(second.values()))[0])
            found.setdefault(rater, []).append(0.0 if np.isnan(tau) else tau)
    return {rater: float(np.mean(values)) for rater, values in found.items()}


def _self_agreement(part: pd.DataFrame, pairs: dict[str, str]) -> dict[str, float]:
    """Return the mean agreement of ratings of repeated faces, from -1 to 1."""
    import json

    given = {
        (str(rater), str(trial)): json.loads(text)
        for rater, trial, text in zip(part["rater"], part["trial"], part["ratings"], strict=True)
    }
    span = max((value for found in given.values() for value in found.values()), default=1) or 1
    found: dict[str, list[float]] = {}
    for (rater, trial), second in given.items():
        first = given.get((rater, pairs.get(trial, "")))
        if first is not None:
            off = sum(abs(second[name] - first[name]) for name in second) / len(second)
            found.setdefault(rater, []).append(1 - 2 * off / span)
    return {rater: sum(values) / len(values) for rater, values in found.items()}


def exclusions(
    frame: pd.DataFrame, key: Key, rules: Rules, done: Set[str]
) -> tuple[Exclusion, ...]:
    """Return every rule with the raters it excludes; several may exclude one rater."""
    raters = sorted(set(frame["rater"]), key=int)

    def below(values: dict[str, float], floor: float) -> tuple[str, ...]:
        return tuple(rater for rater in raters if values.get(rater, floor) < floor)

    found = []
    if rules.finished_only:
        left = tuple(rater for rater in raters if rater not in done)
        found.append(Exclusion(rule="did not finish", raters=left))
    if any(entry.kind == "gold" for entry in key.trials.values()):
        rule = f"right face first in less than {rules.min_gold:.0%} of the gold trials"
        found.append(Exclusion(rule=rule, raters=below(gold_share(frame), rules.min_gold)))
    rule = f"median trial under {rules.min_seconds:g} s"
    found.append(Exclusion(rule=rule, raters=below(median_seconds(frame), rules.min_seconds)))
    if rules.min_self_tau is not None:
        rule = f"mean tau with oneself under {rules.min_self_tau:g}"
        taus = below(self_tau(frame, key), rules.min_self_tau)
        found.append(Exclusion(rule=rule, raters=taus))
    return tuple(found)
