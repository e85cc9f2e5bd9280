"""Who does what next: everything is done once, killers are found alone, others are spared."""

import random

import pytest

from aubench.engine.dispatch import Batch, Dispatch, Measure, Shard
from aubench.errors import AubenchError


def split(total, count, done=()):
    rows = [tuple(range(total))[i::count] for i in range(count)]
    return [Shard(part, tuple(r for r in part if r not in done)) for part in rows]


def names(total):
    return [f"sample {row}" for row in range(total)]


def play(work, poison, rng, workers=3, preempted=0.0):
    """Play workers that die of poisoned rows, and at random; return what was done, in order."""
    at, log, deaths, new = {}, [], 0, iter(range(10_000))
    crew = [next(new) for _ in range(workers)]
    while not work.done:
        for name in crew:
            if name not in at and (task := work.next(name)) is not None:
                at[name] = task
        assert at, "nothing is done, nobody works"
        name = rng.choice(sorted(at))
        task = at.pop(name)
        if rng.random() < preempted:
            work.lost(name, task)
        elif isinstance(task, Batch) and poison & set(task.rows):
            work.died(name, task)
            deaths += 1
        else:
            work.finished(task)
            log.append(task)
            continue
        crew[crew.index(name)] = next(new)
    return log, deaths


@pytest.mark.parametrize("seed", range(20))
def test_all_is_done_once_and_only_killers_are_condemned(seed):
    rng = random.Random(seed)
    total, count, size = rng.randint(40, 60), rng.randint(1, 7), rng.randint(1, 9)
    poison = set(rng.sample(range(total), rng.randint(0, 3)))
    work = Dispatch(split(total, count), size, names(total))
    log, _ = play(work, poison, rng, preempted=rng.choice((0.0, 0.3)))
    made = [row for task in log if isinstance(task, Batch) for row in task.rows]
    assert sorted(made) == sorted(set(range(total)) - poison)
    assert sorted(work.condemned) == sorted(poison)
    measured = [task.shard for task in log if isinstance(task, Measure)]
    assert sorted(measured) == [n for n, shard in enumerate(split(total, count)) if shard.rows]
    for i, task in enumerate(log):  # nothing is measured before it is there
        if isinstance(task, Measure):
            rows = set(work.shards[task.shard].rows) - poison
            before = [r for t in log[:i] if isinstance(t, Batch) for r in t.rows]
            assert rows <= set(before)


def test_one_killer_among_32_costs_few_workers():
    work = Dispatch(split(64, 2), 32, names(64))
    _, deaths = play(work, {17}, random.Random(0))
    # the batch twice, its halves of 16, 8, 4 and 2 once, the sample alone twice
    assert deaths == 2 + 4 + 2 and work.condemned == [17]


def test_what_is_done_is_measured_but_not_made_again():
    work = Dispatch(split(6, 2, done=(0, 1, 2)), 2, names(6))
    log, _ = play(work, set(), random.Random(1))
    assert sorted(r for t in log if isinstance(t, Batch) for r in t.rows) == [3, 4, 5]
    assert sorted(t.shard for t in log if isinstance(t, Measure)) == [0, 1]


def test_measuring_that_kills_ends():
    work = Dispatch(split(2, 1, done=(0, 1)), 2, names(2))
    for name in range(3):
        work.died(name, work.next(name))
    task = work.next(3)
    with pytest.raises(AubenchError, match="measure"):
        work.died(3, task)


def test_no_work_is_done_at_once():
    assert Dispatch([], 4, []).done and Dispatch(split(0, 1), 4, []).done


def test_a_model_that_kills_on_sample_after_sample_ends_the_run():
    work = Dispatch(split(9, 3), 1, names(9))
    with pytest.raises(AubenchError, match=r"sample \d, sample \d, sample \d each killed 2"):
        play(work, set(range(9)), random.Random(0))
