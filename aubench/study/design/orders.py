"""In which order a rater sees images and trials: Williams squares and shuffles with rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

GAP = 5
"""Trials between a trial and its repetition, where the study is long enough."""


def williams(k: int) -> list[tuple[int, ...]]:
    """Return a Williams design: rows are orders of k treatments.

    Each treatment stands equally often at each position, and follows each other treatment equally
    often. k rows where k is even, 2k where it is odd. Source: E. J. Williams (1949).
    """
    first = [0]
    low, high = 1, k - 1
    while len(first) < k:
        first.append(low)
        low += 1
        if len(first) < k:
            first.append(high)
            high -= 1
    rows = [tuple((value + shift) % k for value in first) for shift in range(k)]
    return rows if k % 2 == 0 else rows + [row[::-1] for row in rows]


@dataclass(frozen=True)
class Slot:
    """What the order of trials must know of one: its subject, and the trial it repeats."""

    trial: str
    subject: str
    repeats: str | None = None


def _faults(order: Sequence[int], slots: Sequence[Slot], gap: int) -> int:
    place = {slots[index].trial: position for position, index in enumerate(order)}
    same = sum(slots[a].subject == slots[b].subject for a, b in pairwise(order))
    near = sum(
        place[slot.trial] - place[slot.repeats] < gap for slot in slots if slot.repeats is not None
    )
    return same + near


def trial_order(slots: Sequence[Slot], generator: np.random.Generator) -> list[int]:
    """Return a random order of trials, as indices into ``slots``.

    No subject comes twice in a row, and a repetition at least ``GAP`` trials (or a third of the
    study) after the first showing. Pairs are swapped at random as long as that breaks fewer
    rules; where the rules cannot all hold, the order that breaks fewest is returned.
    """
    gap = min(GAP, max(1, len(slots) // 3))
    order = [int(index) for index in generator.permutation(len(slots))]
    faults = _faults(order, slots, gap)
    for _ in range(4000):
        if faults == 0:
            break
        a, b = (int(value) for value in generator.integers(0, len(slots), 2))
        order[a], order[b] = order[b], order[a]
        now = _faults(order, slots, gap)
        if now <= faults:
            faults = now
        else:
            order[a], order[b] = order[b], order[a]
    return order


def image_row(place: int, trial: int, rows: int) -> int:
    """Return which row of the Williams design a place sees in a trial.

    Over the places every trial runs through all rows; over the trials every place does too.
    """
    return (place + trial) % rows
