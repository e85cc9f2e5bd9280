"""Which samples are judged, which are repeated, and which answers are known beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from aubench.errors import AubenchError
from aubench.facs import AUS, load_facs, parse_aus
from aubench.study.settings import Kind
from aubench.study.sources import stray_aus

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from aubench.datasets.samples import SampleSet

WRONG_STRENGTH = 3.0
"""Intensity of AUs outside the judged region in faces that are known to be wrong."""
STRONGEST = 8
"""Gold samples are drawn among so many with the strongest AUs of a combination."""


@dataclass(frozen=True)
class Draft:
    """A trial before its images have names.

    Attributes:
        combination: what is judged.
        sample, subject, text: of the prompt.
        kind: what the trial is for.
        repeats: index of the repeated trial.
        wrong: keys of faces without the AUs, in trials whose best image is known.
        target: key of that best image.
    """

    combination: str
    sample: str
    subject: str
    text: str
    kind: Kind = "main"
    repeats: int | None = None
    wrong: tuple[str, ...] = ()
    target: str | None = None


def draw_main(
    frame: pd.DataFrame, per_combination: int, generator: np.random.Generator
) -> list[Draft]:
    """Draw the samples of each combination, distinct subjects as far as they go.

    Raises:
        AubenchError: too few samples, or one whose auxiliary AUs act in the judged region.
    """
    drafts = []
    for combination in dict.fromkeys(frame["strata"]):
        rows = frame[frame["strata"] == combination]
        _check_fair(combination, rows)
        order = generator.permutation(len(rows))
        subjects = rows["subject"].to_numpy()
        # Each subject once, then, where samples outnumber subjects, once more.
        nth = {int(i): sum(subjects[j] == subjects[i] for j in order[:at])
               for at, i in enumerate(order)}  # fmt: skip
        chosen = sorted(nth, key=lambda i: nth[i])[:per_combination]
        if len(chosen) < per_combination:
            raise AubenchError(
                f"combination {combination} has {len(rows)} samples",
                f"ask for --per-combination {len(rows)} or fewer",
            )
        drafts += [_draft(rows.iloc[index], combination) for index in chosen]
    return drafts


def _draft(row: pd.Series, combination: str) -> Draft:
    return Draft(combination, str(row["sample_id"]), str(row["subject"]), str(row["text"]))


def _check_fair(combination: str, rows: pd.DataFrame) -> None:
    known = load_facs()
    for name, aus in zip(rows["sample_id"], rows["combination"], strict=True):
        stray = stray_aus(combination, str(aus), known)
        missing = set(parse_aus(combination)) - set(parse_aus(str(aus)))
        if stray or missing:
            what = f"AU{stray[0]} acts in the judged region" if stray else "an AU is missing"
            raise AubenchError(
                f"sample '{name}' ({aus}) is no fair prompt for {combination}: {what}",
                "use a protocol such as `conflict`",
            )


def draw_known(
    samples: SampleSet, used: Sequence[Draft], count: int, k: int, generator: np.random.Generator
) -> list[Draft]:
    """Draw trials with a known best image: the target among faces without the AUs.

    Samples are pure (no auxiliary AU), among the strongest of their combination, and none of
    ``used``; combinations take turns.

    Raises:
        AubenchError: the samples have no targets, or none are left.
    """
    frame = samples.frame.assign(dataset=samples.dataset)
    names = [str(name) for name in generator.permutation(sorted(set(frame["strata"])))]
    taken, drafts = {draft.sample for draft in used}, []
    for number in range(count):
        combination = names[number % len(names)]
        pure = frame[(frame["strata"] == combination) & (frame["combination"] == combination)]
        pure = pure[~pure["sample_id"].isin(taken) & pure["target"].notna()]
        if pure.empty:
            raise AubenchError(
                f"no sample of {combination} is left for an attention trial", "ask for fewer --gold"
            )
        columns = [f"I{au}" for au in parse_aus(combination)]
        strongest = pure.assign(least=pure[columns].min(axis=1).fillna(0.0)).nlargest(
            STRONGEST, "least"
        )
        row = strongest.iloc[int(generator.integers(len(strongest)))]
        taken.add(str(row["sample_id"]))
        drafts.append(_with_wrong(frame, row, combination, k, generator))
    return drafts


def _with_wrong(
    frame: pd.DataFrame,
    row: pd.Series,
    combination: str,
    k: int,
    generator: np.random.Generator,
) -> Draft:
    """Return a trial of the target and k - 1 faces that show nothing in the judged region.

    Raises:
        AubenchError: there are not so many.
    """
    if row["dataset"] == "synfacs":
        keys = _same_scene(str(row["target"]), combination, k - 1, generator)
    else:
        keys = _other_neutral(frame, row, k - 1, generator)
    if len(keys) < k - 1:
        raise AubenchError(
            f"attention trials need {k - 1} faces without AUs beside {row['sample_id']}, "
            f"{row['dataset']} has {len(keys)}",
            "compare fewer models",
        )
    base = _draft(row, combination)
    return Draft(
        combination, base.sample, base.subject, base.text, "gold",
        wrong=tuple(keys), target=str(row["target"]),
    )  # fmt: skip


def _same_scene(
    target: str, combination: str, count: int, generator: np.random.Generator
) -> list[str]:
    """Return keys of the same face in the same scene, with AUs of other regions or none.

    Such a trial looks like any other: one background, faces that move.
    """
    import numpy as np

    from aubench.synfacs.keys import format_key, parse_key

    subject, _, scene = parse_key(target)
    judged = set(parse_aus(combination))
    name = combination
    free = [au for au in AUS if au not in judged and not stray_aus(name, f"{name}+{au}")]
    opposed = load_facs().conflicts_in
    sets: list[tuple[int, ...]] = [()]
    for size in range(1, len(free) + 1):
        if len(sets) < count:
            alike = list(combinations(free, size))
            mixed = [alike[i] for i in generator.permutation(len(alike))]
            sets += sorted(mixed, key=lambda aus: bool(opposed(aus)))
    keys = []
    for aus in sets[:count]:
        values = np.zeros(len(AUS), np.float32)
        values[[AUS.index(au) for au in aus]] = WRONG_STRENGTH
        keys.append(format_key(subject, values, scene))
    return keys


def _other_neutral(
    frame: pd.DataFrame, row: pd.Series, count: int, generator: np.random.Generator
) -> list[str]:
    """Return keys of neutral faces, of the same subject as far as they go."""
    own = frame[(frame["subject"] == row["subject"]) & (frame["reference"] != row["reference"])]
    other = frame[frame["subject"] != row["subject"]]
    keys: list[str] = []
    for pool in (own, other):
        distinct = sorted(set(pool["reference"]))
        keys += [distinct[i] for i in generator.permutation(len(distinct))][: count - len(keys)]
    return keys


def repeat(drafts: Sequence[Draft], count: int, generator: np.random.Generator) -> list[Draft]:
    """Return ``count`` repetitions of main trials, of as many combinations as possible.

    Raises:
        AubenchError: more repetitions than trials.
    """
    if count > len(drafts):
        raise AubenchError(
            f"{count} repetitions of {len(drafts)} trials", "ask for fewer --duplicates"
        )
    order = [int(index) for index in generator.permutation(len(drafts))]
    seen: dict[str, int] = {}
    turn = {}
    for index in order:
        name = drafts[index].combination
        turn[index] = seen.get(name, 0)
        seen[name] = turn[index] + 1
    order.sort(key=lambda index: turn[index])
    return [
        Draft(
            drafts[index].combination, drafts[index].sample, drafts[index].subject,
            drafts[index].text, "duplicate", repeats=index,
        )
        for index in order[:count]
    ]  # fmt: skip
