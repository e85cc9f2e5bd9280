"""From samples to trials of a task: all faces at once, pairs of them, or one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from aubench.study.design import orders
from aubench.study.design.files import Step, Task
from aubench.study.design.trials import Draft


@dataclass(frozen=True)
class Unit:
    """What one trial shows.

    Attributes:
        draft: Index of the draft whose faces are shown.
        treatments: Which of its faces, as indices.
        repeats: Index of the unit that this one repeats.
    """

    draft: int
    treatments: tuple[int, ...]
    repeats: int | None = None


def _shares(task: Task, draft: Draft, faces: int) -> list[tuple[int, ...]]:
    """Return the sets of faces of a draft that trials show."""
    if task == "rank":
        return [tuple(range(faces))]
    if draft.target is not None:  # attention: the right face and one wrong one
        return [(0, 1)] if task == "pairs" else [(0,), (1,)]
    if task == "pairs":
        return list(combinations(range(faces), 2))
    return [(face,) for face in range(faces)]


def units_of(task: Task, drafts: Sequence[Draft], faces: Sequence[int]) -> list[Unit]:
    """Return the units of all drafts; those of a repetition repeat their first showing's."""
    found: list[Unit] = []
    first: dict[int, int] = {}
    for index, draft in enumerate(drafts):
        first[index] = len(found)
        begin = None if draft.repeats is None else first[draft.repeats]
        found += [
            Unit(index, share, None if begin is None else begin + number)
            for number, share in enumerate(_shares(task, draft, faces[index]))
        ]
    return found


def shown_to(
    place: int, units: Sequence[Unit], drafts: Sequence[Draft], shown: int | None
) -> list[int]:
    """Return which units a place shows, as indices; ``shown`` of each sample, in turns.

    Over the places each unit of a sample is shown equally often, as far as counts allow; a
    repetition repeats what the place has shown.
    """
    by_draft: dict[int, list[int]] = {}
    for number, unit in enumerate(units):
        by_draft.setdefault(unit.draft, []).append(number)
    chosen: dict[int, list[int]] = {}
    for index, own in by_draft.items():
        draft = drafts[index]
        if draft.repeats is not None:
            at = by_draft[draft.repeats].index(chosen[draft.repeats][0])
            chosen[index] = [own[at]]
        elif draft.target is not None or shown is None or shown >= len(own):
            chosen[index] = own
        else:
            chosen[index] = [own[(place * shown + j + index) % len(own)] for j in range(shown)]
    return [number for own in chosen.values() for number in own]


def places_of(
    units: Sequence[Unit],
    drafts: Sequence[Draft],
    ids: Sequence[str],
    named: Sequence[Sequence[str]],
    raters: int,
    shown: int | None,
    generator: np.random.Generator,
) -> list[tuple[Step, ...]]:
    """Return the sequence of every place, orders on the page balanced over the places."""
    # Rows and trials are matched at random, so that no trial is tied to its combination's rows.
    times = [int(value) for value in generator.permutation(len(units))]
    places = []
    for place in range(raters):
        own = shown_to(place, units, drafts, shown)
        slots = [
            orders.Slot(
                ids[number],
                drafts[units[number].draft].subject,
                None if (first := units[number].repeats) is None else ids[first],
            )
            for number in own
        ]
        steps = []
        for index in orders.trial_order(slots, generator):
            number = own[index]
            rows = orders.williams(len(units[number].treatments))
            row = rows[times[number] % len(rows)]
            times[number] += 1
            names = sorted(named[number])
            order = tuple(names.index(named[number][treatment]) for treatment in row)
            steps.append(Step(trial=ids[number], order=order))
        places.append(tuple(steps))
    return places
