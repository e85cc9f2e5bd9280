"""Which samples are judged, which are repeated, and which answers are known beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

from aubench.errors import AubenchError
from aubench.facs import AUS, load_facs, parse_aus
from aubench.study.design.files import Kind
from aubench.study.design.sources import stray_aus

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from aubench.datasets.dataset import Dataset
    from aubench.datasets.samples import SampleSet

WRONG_STRENGTH = 3.0
"""Intensity of AUs outside the judged region in faces that are known to be wrong."""
STRONGEST = 8
"""Gold samples are drawn among so many with the strongest AUs of a combination."""


@dataclass(frozen=True)
class Draft:
    """A trial before its images have names.

    Attributes:
        combination: What is judged.
        sample, subject, text: Of the prompt.
        kind: What the trial is for.
        repeats: Index of the repeated trial.
        wrong: Keys of faces without the AUs, in trials whose best image is known.
        target: Key of that best image.
        reference: Key of the resting face of the same person.
        wanted: Intensities that were asked for, by question (``au12``).
    """

    combination: str
    sample: str
    subject: str
    text: str
    kind: Kind = "main"
    repeats: int | None = None
    wrong: tuple[str, ...] = ()
    target: str | None = None
    reference: str | None = None
    wanted: tuple[tuple[str, float], ...] = ()


def draw_main(
    frame: pd.DataFrame, per_combination: int, generator: np.random.Generator
) -> list[Draft]:
    """Draw the samples of each combination, distinct subjects as far as they go.

    Raises:
        AubenchError: Too few samples, or one whose auxiliary AUs act in the judged region.
    """
    drafts = []
    for combination in dict.fromkeys(frame["strata"]):
        rows = frame[frame["strata"] == combination]
        _check_fair(combination, rows)
        order = generator.permutation(len(rows))
        subjects = rows["subject"].to_numpy()
        # Each subject once, then, where samples outnumber subjects, once more.
        nth = {
            int(i): sum(subjects[j] == subjects[i] for j in order[:at])
            for at, i in enumerate(order)
        }
        chosen = sorted(nth, key=lambda i: nth[i])[:per_combination]
        if len(chosen) < per_combination:
            raise AubenchError(
                f"combination {combination} has {len(rows)} samples",
                f"ask for --per-combination {len(rows)} or fewer",
            )
        drafts += [_draft(rows.iloc[index], combination) for index in chosen]
    return drafts


def _draft(row: pd.Series, combination: str) -> Draft:
    import numpy as np

    reference = row.get("reference")
    return Draft(
        combination,
        str(row["sample_id"]),
        str(row["subject"]),
        str(row["text"]),
        reference=reference if isinstance(reference, str) else None,
        wanted=tuple(
            (f"au{au}", float(row[f"I{au}"]))
            for au in parse_aus(combination)
            if np.isfinite(row.get(f"I{au}", np.nan))
        ),
    )


def _check_fair(combination: str, rows: pd.DataFrame) -> None:
    known = load_facs()
    try:
        parse_aus(combination)
    except AubenchError as error:
        raise AubenchError(
            f"stratum '{combination}' is no combination of AUs", "use a protocol such as `conflict`"
        ) from error
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
    ``used``; combinations take turns. Persons are those of ``used``, where there are any: a face
    that no other trial shows would tell what the trial is for.

    Raises:
        AubenchError: The samples have no targets, or none are left.
    """
    frame = samples.frame.assign(dataset=samples.dataset)
    names = [str(name) for name in generator.permutation(sorted(set(frame["strata"])))]
    taken, drafts = {draft.sample for draft in used}, []
    persons = {draft.subject for draft in used}
    for number in range(count):
        combination = names[number % len(names)]
        pure = frame[(frame["strata"] == combination) & (frame["combination"] == combination)]
        pure = pure[~pure["sample_id"].isin(taken) & pure["target"].notna()]
        if persons:
            pure = pure[pure["subject"].isin(persons)]
        if pure.empty:
            whose = " of the persons of the trials" if persons else ""
            raise AubenchError(
                f"no sample of {combination}{whose} is left for an attention trial",
                "ask for fewer --gold",
            )
        columns = [f"I{au}" for au in parse_aus(combination)]
        strongest = pure.assign(least=pure[columns].min(axis=1).fillna(0.0)).nlargest(
            STRONGEST, "least"
        )
        draft = _known(frame, strongest, combination, k, generator)
        taken.add(draft.sample)
        drafts.append(draft)
    return drafts


def _known(
    frame: pd.DataFrame,
    rows: pd.DataFrame,
    combination: str,
    k: int,
    generator: np.random.Generator,
) -> Draft:
    """Return a trial of one of the rows that has enough faces without the AUs.

    Raises:
        AubenchError: None has.
    """
    most = 0
    for index in generator.permutation(len(rows)):
        row = rows.iloc[int(index)]
        keys = _wrong(frame, row, combination, k - 1, generator)
        if len(keys) == k - 1:
            base = _draft(row, combination)
            return replace(base, kind="gold", wrong=tuple(keys), target=str(row["target"]))
        most = max(most, len(keys))
    raise AubenchError(
        f"attention trials of {combination} need {k - 1} faces of one person without the AUs, "
        f"{rows.iloc[0]['dataset']} has {most}",
        "compare fewer models, or let raters choose of --task pairs",
    )


def _wrong(
    frame: pd.DataFrame,
    row: pd.Series,
    combination: str,
    count: int,
    generator: np.random.Generator,
) -> list[str]:
    """Return keys of faces of the same person that show nothing in the judged region."""
    from aubench.datasets.registry import named_dataset

    source, target = named_dataset(str(row["dataset"])), str(row["target"])
    if source.key_with(target, [0.0] * len(AUS)) is not None:
        return _same_scene(source, target, combination, count, generator)
    return _same_person(frame, row, combination, count, generator)


def _same_scene(
    source: Dataset, target: str, combination: str, count: int, generator: np.random.Generator
) -> list[str]:
    """Return keys of the same face in the same scene, with AUs of other regions or none.

    Such a trial looks like any other: one background, faces that move.
    """
    import numpy as np

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
        key = source.key_with(target, values)
        assert key is not None
        keys.append(key)
    return keys


def _same_person(
    frame: pd.DataFrame,
    row: pd.Series,
    combination: str,
    count: int,
    generator: np.random.Generator,
) -> list[str]:
    """Return keys of other faces of the same person: at rest, or with AUs of other regions."""
    own = frame[frame["subject"] == row["subject"]]
    judged, known = set(parse_aus(combination)), load_facs()
    keys = {str(key) for key in own["reference"].dropna() if key != row["reference"]}
    for key, aus in zip(own["target"], own["combination"], strict=True):
        shown = set(parse_aus(str(aus)))
        if isinstance(key, str) and not (judged & shown or stray_aus(combination, str(aus), known)):
            keys.add(key)
    distinct = sorted(keys - {str(row["target"])})
    return [distinct[i] for i in generator.permutation(len(distinct))][:count]


def repeat(drafts: Sequence[Draft], count: int, generator: np.random.Generator) -> list[Draft]:
    """Return ``count`` repetitions of main trials, of as many combinations as possible.

    Raises:
        AubenchError: More repetitions than trials.
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
            drafts[index].combination,
            drafts[index].sample,
            drafts[index].subject,
            drafts[index].text,
            "duplicate",
            repeats=index,
            reference=drafts[index].reference,
            wanted=drafts[index].wanted,
        )
        for index in order[:count]
    ]
