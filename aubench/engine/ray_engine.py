"""Images made and measured on the workers of a Ray cluster, collected in the run folder here.

The run folder is that of any run: it can be interrupted, and resumed with another number of workers
or with none. Workers need no file system in common with this machine; images and features come back
through Ray's object store.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aubench.engine.costs import Meter, Spent
from aubench.engine.dispatch import ENOUGH, Batch, Dispatch, Measure, Shard, Task
from aubench.engine.folder import RunFolder
from aubench.engine.job import Job
from aubench.engine.parts import assemble, read_part
from aubench.engine.ray_worker import ERROR, Worker
from aubench.engine.recording import Made
from aubench.engine.run import Maker, state_weights, supported
from aubench.engine.shards import versions
from aubench.engine.stamp import info_of
from aubench.errors import AubenchError, first_line
from aubench.files import sha256_bytes, write_bytes
from aubench.progress import bar

PARTS = "parts"
"""Below the run folder, while it is being made: features of the shards that are measured."""
LARGEST = 512
"""Samples of a shard, where nobody says how many shards there are to be."""
CAUSE = "its worker process died"


@dataclass(frozen=True)
class Cluster:
    """Where to work.

    Attributes:
        address: of a cluster; None for ``RAY_ADDRESS``, else a new one on this machine.
        workers: how many; as many as the cluster takes if None.
        shards: pieces of work; chosen from the number of samples and workers if None.
        cpus: of each worker.
        gpus: of each worker; 1 where the device is CUDA, else 0, if None.
    """

    address: str | None = None
    workers: int | None = None
    shards: int | None = None
    cpus: float = 1.0
    gpus: float | None = None


def maker(cluster: Cluster) -> Maker:
    """Return what makes the images of a run on a cluster.

    Raises:
        AubenchError: Ray is not installed.
    """
    _ray()

    def make(job: Job, folder: RunFolder, meter: Meter) -> Made:
        with _connected(cluster):
            return _Driver(cluster, job, folder, meter).run()

    return make


def _ray() -> Any:
    """Import Ray, which is a heavy extra; nothing is sent to its makers.

    Raises:
        AubenchError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise AubenchError("--engine ray needs Ray", "pip install 'aubench[ray]'") from error
    return ray


@contextmanager
def _connected(cluster: Cluster) -> Iterator[None]:
    ray = _ray()
    if ray.is_initialized():
        yield
        return
    address = cluster.address or os.environ.get("RAY_ADDRESS")
    try:
        alone = {} if address else {"include_dashboard": False}
        ray.init(
            address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **alone
        )
    except Exception as error:
        reason = first_line(error)
        where = f"the Ray cluster at {address}" if address else "Ray on this machine"
        raise AubenchError(f"cannot use {where}: {reason}", "see docs/cluster.md") from error
    try:
        yield
    finally:
        ray.shutdown()


@dataclass(eq=False)
class _Hand:
    """A worker as seen from here.

    Attributes:
        actor: Ray's handle.
        task: what it is at; None while it loads or waits.
        holds: ids of the samples whose images it still has.
        spent: what it has cost, by stage.
    """

    actor: Any
    task: Task | None = None
    holds: set[str] = field(default_factory=set)
    spent: dict[str, Spent] = field(default_factory=dict)

    def pay(self, spent: dict[str, dict[str, Any]]) -> None:
        """Add what an answer has cost."""
        for name, more in spent.items():
            self.spent.setdefault(name, Spent()).add(Spent(**more))


class _Driver:
    """Hands work out and takes results in; the only writer of the run folder."""

    def __init__(self, cluster: Cluster, job: Job, folder: RunFolder, meter: Meter) -> None:
        self.cluster, self.job, self.folder, self.meter = cluster, job, folder, meter
        self.ids = job.ids
        self.pending: dict[Any, _Hand] = {}
        self.hands: list[_Hand] = []
        self.idle: list[_Hand] = []
        self.first: dict[str, Any] | None = None
        self.machines: dict[str, None] = {}
        self.load_deaths = 0

    @property
    def parts(self) -> Path:
        """Where parts of features are kept."""
        return self.folder.path / PARTS

    def run(self) -> Made:
        """Make what is missing, put features together, and tell what made it."""
        self.job.choices.write(self.folder.path)
        rows, todo = self._missing()
        wanted = self._workers(len(rows))
        shards = self._shards(rows, todo, wanted)
        self.work = Dispatch(shards, self.job.config.batch_size, self.ids)
        try:
            for _ in range(wanted):
                self._hire()
            left = len(self.ids) - len(todo)
            with bar(len(self.ids), "generate", "img", initial=left) as self.progress:
                while not self.work.done or self.first is None:
                    self._step()
            self._condemn()
        finally:
            self._dismiss()
        assert self.first is not None
        info = info_of(self.first["info"])
        samples, _ = supported(self.job.samples, self.folder, info.name)
        places = sorted(self.parts.iterdir()) if self.parts.is_dir() else []
        assemble(self.folder, samples, self.job.images, self.first["size"], places)
        shutil.rmtree(self.parts, ignore_errors=True)
        return Made(info, self.first["size"], self.first["weights"], tuple(self.machines))

    def _missing(self) -> tuple[list[int], list[int]]:
        """Return rows to measure, and those of them to generate first."""
        folder = self.folder
        hopeless = folder.failures | folder.unsupported
        todo = [i for i, n in enumerate(self.ids) if n not in hopeless and not folder.intact(n)]
        if not todo and not self.parts.is_dir():
            return [], []  # a finished run: its features lie in the folder
        measured: set[tuple[str, str]] = set()
        for place in self.parts.iterdir() if self.parts.is_dir() else ():
            part = read_part(place)
            measured |= set(part.made) if part else set()
        new = set(todo)
        rows = [
            i for i, n in enumerate(self.ids)
            if i in new or (n not in hopeless and (n, folder.digests[n]) not in measured)
        ]  # fmt: skip
        return rows, todo

    def _gpus(self) -> float:
        cuda = self.job.config.device.startswith("cuda")
        return self.cluster.gpus if self.cluster.gpus is not None else float(cuda)

    def _workers(self, rows: int) -> int:
        ray = _ray()
        there = ray.cluster_resources()
        room = there.get("CPU", 1) / self.cluster.cpus if self.cluster.cpus else float(rows or 1)
        if self._gpus():
            room = min(room, there.get("GPU", 0) / self._gpus())
        if room < 1:
            raise AubenchError(
                f"the Ray cluster has {there.get('CPU', 0):g} processors and "
                f"{there.get('GPU', 0):g} GPUs: no room for a worker",
                "--worker-cpus, --worker-gpus",
            )
        batches = -(-rows // self.job.config.batch_size)
        most = max(1, min(batches, self.cluster.shards or batches))
        return min(self.cluster.workers or int(room), most)

    def _shards(self, rows: list[int], todo: list[int], workers: int) -> list[Shard]:
        usual = max(workers, -(-len(rows) // LARGEST))
        count = min(self.cluster.shards or usual, max(1, len(rows)))
        new = set(todo)
        return [
            Shard(tuple(rows[i::count]), tuple(r for r in rows[i::count] if r in new))
            for i in range(count)
        ]

    def _hire(self) -> None:
        ray = _ray()
        options = {"num_cpus": self.cluster.cpus, "num_gpus": self._gpus(), "max_restarts": 0,
                   "max_task_retries": 0, "scheduling_strategy": "SPREAD"}  # fmt: skip
        actor = ray.remote(Worker).options(**options).remote(int(self.cluster.cpus))
        hand = _Hand(actor)
        plain = self.job.config.plain()
        if self.job.config.weights is not None:
            plain["weights"] = str(self.job.config.weights.resolve())
        identity = {k: v for k, v in self.job.identity().items() if k != "weights"}
        self.hands.append(hand)
        self.pending[actor.load.remote(plain, identity)] = hand

    def _step(self) -> None:
        """Hand out work, wait for an answer, take it in."""
        ray = _ray()
        for hand in list(self.idle):
            task = self.work.next(hand)
            if task is not None:
                self.idle.remove(hand)
                self._give(hand, task)
        ready, _ = ray.wait(list(self.pending), num_returns=1, timeout=1.0)
        for ref in ready:
            hand = self.pending.pop(ref)
            try:
                answer = ray.get(ref)
            except ray.exceptions.RayTaskError as error:
                reason = str(error.cause if hasattr(error, "cause") else error).splitlines()[-1]
                raise AubenchError(f"a worker failed: {reason}", "its log tells more") from error
            except ray.exceptions.RayError as error:
                self._mourn(hand, error)
                continue
            if ERROR in answer:
                raise AubenchError(*answer[ERROR])
            self._take(hand, answer)

    def _give(self, hand: _Hand, task: Task) -> None:
        hand.task = task
        if isinstance(task, Batch):
            self.pending[hand.actor.make.remote(list(task.rows))] = hand
            return
        rows = list(self.work.shards[task.shard].rows)
        names = [self.ids[i] for i in rows]
        files = {
            name: self.folder.image(name).read_bytes()
            for name in names
            if name in self.folder.digests and name not in hand.holds
        }
        self.pending[hand.actor.measure.remote(rows, self.folder.rows(names), files)] = hand

    def _take(self, hand: _Hand, answer: dict[str, Any]) -> None:
        hand.pay(answer["spent"])
        task, hand.task = hand.task, None
        self.idle.append(hand)
        if task is None:
            self._check_hand(answer)
        elif isinstance(task, Measure):
            hand.holds.clear()
            self._keep_part(answer["files"])
        else:
            for name, data in answer["files"].items():
                write_bytes(self.folder.image(name), data)
            self.folder.enter(answer["rows"])
            hand.holds |= set(answer["files"])
            self.progress.update(len(task.rows))
            self._condemn()
        if task is not None:
            self.work.finished(task)

    def _check_hand(self, answer: dict[str, Any]) -> None:
        """Refuse a worker that is not like the others, or has other versions than are here."""
        self.load_deaths = 0
        for one, other, whom in ((answer["versions"], versions(), "the driver"),
                                 (answer, self.first or answer, "another worker")):  # fmt: skip
            for key in one:
                if key not in ("hardware", "machine", "spent") and one[key] != other.get(key):
                    raise AubenchError(
                        f"worker on {answer['machine']} has {key} {one[key]}, {whom} "
                        f"{other.get(key)}",
                        "make the environments of all nodes the same",
                    )
        if self.first is None:
            self.first = answer
            state_weights(self.folder, answer["weights"])
        self.machines[answer["hardware"]] = None

    def _keep_part(self, files: dict[str, bytes]) -> None:
        place = self.parts / sha256_bytes(files["part.json"])[:16]
        for name in sorted(files, key=lambda name: name == "part.json"):  # that one last
            write_bytes(place / name, files[name])

    def _mourn(self, hand: _Hand, error: Exception) -> None:
        """Take note of a worker that is gone, and hire another."""
        ray = _ray()
        self.hands.remove(hand)
        if hand.spent:
            self.meter.add(hand.spent)
        with suppress(Exception):
            ray.kill(hand.actor)
        if hand.task is None:
            self.load_deaths += 1
            if self.load_deaths > ENOUGH:
                raise AubenchError(
                    f"workers die while they load model '{self.job.config.model}'",
                    "give them more memory, or fewer of them: --workers",
                )
        elif isinstance(error, ray.exceptions.ObjectLostError) or _node_died(error):
            self.work.lost(hand, hand.task)
        else:
            self.work.died(hand, hand.task)
        self._hire()

    def _condemn(self) -> None:
        """Enter samples that kill workers as failures, now that others are known not to."""
        for row in self.work.condemned:
            self.folder.fail(self.ids[row], CAUSE)
            sys.stderr.write(f"sample {self.ids[row]} failed: {CAUSE}, twice, with it alone\n")
            self.progress.update(1)
        self.work.condemned.clear()

    def _dismiss(self) -> None:
        """Send all workers home: those at work at once, the others after they have cleaned up."""
        ray = _ray()
        busy = set(self.pending.values())
        for hand in self.hands:
            if hand.spent:
                self.meter.add(hand.spent)
            with suppress(Exception):
                if hand in busy:
                    ray.kill(hand.actor)
        with suppress(Exception):
            last = [hand.actor.close.remote() for hand in self.hands if hand not in busy]
            if last:
                ray.wait(last, num_returns=len(last), timeout=10.0)
        for hand in self.hands:
            with suppress(Exception):
                ray.kill(hand.actor)


def _node_died(error: Exception) -> bool:
    """Whether a worker is gone because its node is, not because of what it was at."""
    text = str(error)
    return "its node has died" in text or "node was terminated" in text.lower()
