"""The installed metrics, ours and those of other packages, by the entry points they register."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any

from aubench.errors import AubenchError
from aubench.plugins import PluginGroup, warn_of

if TYPE_CHECKING:
    from aubench.metrics.metric import (
        Metric,
        Need,
        PairBatch,
        PairStep,
        ProtocolFacts,
        ScoreFacts,
    )

GROUP = PluginGroup("aubench.metrics", "metric")
METHODS = (
    "score",
    "per_sample",
    "resampled",
    "subject_sums",
    "strata",
    "groups",
    "artefacts",
)
"""What a metric is asked of what was measured."""

ABOUT = ("applies", "lacks", "pair_step")
"""What a metric is asked beside that."""

PROFILES = ("paper", "full", "quick")
"""Named choices of metrics: those of the paper, and all that are installed."""


def names() -> list[str]:
    """Return the names of the installed metrics, sorted; no metric is imported."""
    return GROUP.names()


@lru_cache
def metric(name: str) -> Metric:
    """Return an installed metric.

    Raises:
        AubenchError: Nothing of that name is installed, or it cannot be imported.
    """
    from aubench.metrics.metric import Metric

    loaded = GROUP.load(name)
    if not (isinstance(loaded, type) and issubclass(loaded, Metric)):
        raise GROUP.wrong(name, "an aubench.metrics.metric.Metric")
    if getattr(loaded, "name", None) != name or not getattr(loaded, "scores", None):
        raise GROUP.wrong(name, f"a metric whose name is '{name}' and that states its scores")
    _check_facts(name, loaded)
    with GROUP.calling(name, "being made"):
        found: Metric = loaded()
    if not GROUP.foreign(name):
        return found
    for method in METHODS:
        object.__setattr__(found, method, _on_copies(getattr(found, method)))
    guarded: Metric = GROUP.guarded(name, found, [*METHODS, *ABOUT])
    return guarded


def _check_facts(name: str, found: type[Metric]) -> None:
    """Refuse facts of another type, which would be misread where tables are made.

    Raises:
        AubenchError: Names the fact.
    """
    from aubench.metrics.metric import Need, ScoreFacts

    scores, needs, files = found.scores, found.needs, found.files
    for fact, good, what in (
        (
            "scores",
            isinstance(scores, Mapping)
            and all(isinstance(k, str) and isinstance(v, ScoreFacts) for k, v in scores.items()),
            "a mapping from names to ScoreFacts",
        ),
        (
            "needs",
            isinstance(needs, frozenset | set) and all(isinstance(need, Need) for need in needs),
            "a frozenset of Need",
        ),
        (
            "files",
            isinstance(files, tuple | list) and all(isinstance(file, str) for file in files),
            "a tuple of names; the comma makes the tuple",
        ),
        ("order", isinstance(found.order, int), "a number"),
    ):
        if not good:
            raise AubenchError(
                f"metric '{name}': {fact} is {getattr(found, fact)!r}", f"it should be {what}"
            )


def _on_copies(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that is given copies of what was measured, which other metrics read too."""

    @wraps(method)
    def called(*args: Any, **kwargs: Any) -> Any:
        from aubench.metrics.evaluation_data import EvaluationData

        own = [deepcopy(one) if isinstance(one, EvaluationData) else one for one in args]
        return method(*own, **kwargs)

    return called


def pair_step_of(found: Metric, size: int, device: str) -> PairStep | None:
    """Return what a metric computes on pairs; that of a plug-in runs behind the wall, on copies.

    Raises:
        UnavailableError: It cannot be computed here.
        MissingWeightsError: Weights are not on this machine.
    """
    step = found.pair_step(size, device)
    if step is None or found.name not in names() or not GROUP.foreign(found.name):
        return step
    compute = step.compute

    def on_copy(batch: PairBatch) -> Any:
        return compute(deepcopy(batch))

    return replace(step, compute=GROUP.walled(found.name, "its step on pairs", on_copy))


@lru_cache(maxsize=1)
def installed() -> tuple[Metric, ...]:
    """Return all metrics in the order of tables; one that cannot be used is told in a line."""
    found: list[Metric] = []
    for name in names():
        try:
            found.append(metric(name))
        except AubenchError as error:
            warn_of(error)
    owners: dict[str, str] = {}
    out = []
    for one in sorted(found, key=lambda m: (m.order, m.name)):
        taken = [row for row in one.scores if row in owners]
        if taken:
            text = f"metric '{one.name}' gives the score '{taken[0]}' of '{owners[taken[0]]}'"
            warn_of(AubenchError(text, "rename the score"))
            continue
        owners |= dict.fromkeys(one.scores, one.name)
        out.append(one)
    return tuple(out)


@lru_cache(maxsize=1)
def _facts() -> dict[str, tuple[Metric, ScoreFacts]]:
    return {row: (one, facts) for one in installed() for row, facts in one.scores.items()}


def owner(score: str) -> Metric | None:
    """Return the metric that gives a score of records, None where none installed does."""
    found = _facts().get(score)
    return found[0] if found else None


def facts_of(score: str) -> ScoreFacts | None:
    """Return the facts of a score of records, None where no installed metric gives it."""
    found = _facts().get(score)
    return found[1] if found else None


def heading(score: str) -> str:
    """Return what a score is called, with its unit; its bare name where it is not known."""
    facts = facts_of(score)
    return facts.heading if facts else score


def score_names() -> list[str]:
    """Return the names of all scores that installed metrics give, in the order of tables."""
    return list(_facts())


def artefacts_of(scores: Iterable[str]) -> list[str]:
    """Return the names of the files that the metrics of some scores may have written."""
    found = [one for one in map(owner, scores) if one is not None]
    return list(dict.fromkeys(name for one in found for name in one.files))


def headline() -> tuple[str, ...]:
    """Return the scores that leaderboards show first."""
    return tuple(name for name, (_, facts) in _facts().items() if facts.headline)


def paper_columns() -> tuple[str, ...]:
    """Return the scores that are columns of the paper's tables."""
    return tuple(name for name, (_, facts) in _facts().items() if facts.in_paper)


def chosen(names: Iterable[str]) -> list[Metric]:
    """Return metrics by name, in the order given.

    Raises:
        AubenchError: One is unknown or cannot be imported.
    """
    return [metric(name) for name in names]


def needs(names: Iterable[str]) -> frozenset[Need]:
    """Return what some metrics need together.

    Raises:
        AubenchError: One is unknown or cannot be imported.
    """
    return frozenset(need for one in chosen(names) for need in one.needs)


def profile(name: str, *, graded: bool = False) -> tuple[str, ...]:
    """Return the metrics of a profile.

    Args:
        name: One of ``PROFILES``.
        graded: Whether the protocol commands intensities.
    """
    if name == "quick":
        return tuple(one.name for one in installed() if one.quick)
    return tuple(
        one.name
        for one in installed()
        if name == "full" or one.paper or (graded and one.with_intensities)
    )


def check(names: Sequence[str], protocol: ProtocolFacts) -> None:
    """Refuse metrics that would say nothing, before any work.

    Raises:
        AubenchError: One is unknown, does not apply to the protocol, or says nothing beside the
            others; names it and the reason.
    """
    found = chosen(names)
    for one in found:
        reason = one.applies(protocol)
        if reason is not None:
            raise AubenchError(
                f"metric '{one.name}' does not apply to protocol '{protocol.name}': {reason}",
                "leave it out of --metrics",
            )
        reason = one.lacks([other for other in found if other is not one])
        if reason is not None:
            raise AubenchError(f"metric '{one.name}' alone says nothing", reason)
