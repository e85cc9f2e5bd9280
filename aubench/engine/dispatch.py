"""Who does what next when workers may die: batches and shards, without a word of how they run.

A batch whose worker died is tried once more, then halved until the sample that kills is alone; a
sample that kills two workers alone is condemned. Suspects wait until everything else is done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from aubench.errors import AubenchError

TRIES = 2
"""Workers that a batch, or a sample alone, may cost before the next step."""
ENOUGH = 3
"""Condemned samples that end a run, if they are more than the batches that were done."""


@dataclass(frozen=True)
class Batch:
    """Rows to generate at once.

    Attributes:
        rows: numbers of the samples.
        shard: that they belong to.
        deaths: how many workers it has cost.
    """

    rows: tuple[int, ...]
    shard: int
    deaths: int = 0


@dataclass(frozen=True)
class Measure:
    """A shard to measure, all of whose samples are settled."""

    shard: int


Task = Batch | Measure


@dataclass(frozen=True)
class Shard:
    """Rows that are measured together, some of which are still to be generated."""

    rows: tuple[int, ...]
    todo: tuple[int, ...]


class Dispatch:
    """The work that is left, and who is at which shard.

    Args:
        shards: of the run.
        batch_size: rows generated at once.
        names: ids of all samples of the run, for messages.
    """

    shards: list[Shard]

    def __init__(self, shards: Sequence[Shard], batch_size: int, names: Sequence[str]) -> None:
        self.shards, self._names = list(shards), names
        self._suspects: deque[Batch] = deque()
        self._waiting = [
            deque(
                Batch(shard.todo[i : i + batch_size], number)
                for i in range(0, len(shard.todo), batch_size)
            )
            for number, shard in enumerate(self.shards)
        ]
        self._left = [len(shard.todo) for shard in self.shards]
        self._to_measure = {n for n, shard in enumerate(self.shards) if shard.rows}
        self._measuring: set[int] = set()
        self._measure_deaths, self._batches = 0, 0
        self._killers: list[str] = []
        self._owner: dict[Hashable, int] = {}
        self.condemned: list[int] = []
        """Rows given up since the last batch that was done; take them when one is."""

    @property
    def done(self) -> bool:
        """Whether nothing is left, waiting or under way."""
        return not any(self._left) and not self._to_measure

    def next(self, worker: Hashable) -> Task | None:
        """Return what a worker should do, preferably for the shard it is at; None for nothing."""
        own = self._owner.get(worker)
        if own is not None and self._waiting[own]:
            return self._waiting[own].popleft()
        ready = [n for n in sorted(self._to_measure - self._measuring) if not self._left[n]]
        if ready:
            number = own if own in ready else ready[0]
            self._measuring.add(number)
            return Measure(number)
        for number, queue in enumerate(self._waiting):
            if queue and number not in self._owner.values():
                self._owner[worker] = number
                return queue.popleft()
        longest = max(self._waiting, key=len, default=deque())
        if longest:
            return longest.popleft()
        return self._suspects.popleft() if self._suspects else None

    def finished(self, task: Task) -> None:
        """Take note that a task is done."""
        if isinstance(task, Measure):
            self._to_measure.discard(task.shard)
            self._measuring.discard(task.shard)
        else:
            self._left[task.shard] -= len(task.rows)
            self._batches += 1

    def lost(self, worker: Hashable, task: Task | None) -> None:
        """Give back what a worker was at that is gone through no fault of the task."""
        self._owner.pop(worker, None)
        if isinstance(task, Measure):
            self._measuring.discard(task.shard)
        elif task is not None:
            self._waiting[task.shard].append(task)

    def died(self, worker: Hashable, task: Task) -> None:
        """Take note that a worker died of a task, or at least at it.

        Raises:
            AubenchError: measuring kills workers, or sample after sample does.
        """
        if isinstance(task, Measure):
            self._measure_deaths += 1
            if self._measure_deaths > ENOUGH:
                raise AubenchError("workers die while they measure",
                                   "give them more memory, or measure less: --metrics")  # fmt: skip
            self.lost(worker, task)
            return
        self._owner.pop(worker, None)
        task = replace(task, deaths=task.deaths + 1)
        if task.deaths < TRIES:
            self._suspects.append(task)
        elif len(task.rows) == 1:
            self.condemned.append(task.rows[0])
            self._left[task.shard] -= 1
            self._killers.append(self._names[task.rows[0]])
            if len(self._killers) >= max(ENOUGH, self._batches + 1):
                raise AubenchError(
                    f"{', '.join(self._killers)} each killed {TRIES} workers, and no more than "
                    f"{self._batches} batches were done",
                    "try one of them with --engine local; the run resumes where it stopped",
                )
        else:
            middle = len(task.rows) // 2
            for rows in (task.rows[:middle], task.rows[middle:]):
                # A half may cost one worker, a sample alone two.
                deaths = TRIES - 1 if len(rows) > 1 else 0
                self._suspects.append(Batch(rows, task.shard, deaths))
