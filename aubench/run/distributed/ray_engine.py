"""Images made and measured on a Ray cluster in pieces, collected in the run folder here.

Each piece is a task, which Ray tries again where a process or a node dies. A piece that kills all
its tries is split in halves until the sample that kills is alone, and fails. The run folder is that
of any run: it can be interrupted, and resumed with another number of workers or with none. Workers
need no file system in common with this machine; images and features come back through Ray's object
store.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aubench.errors import AubenchError, first_line
from aubench.evaluate.parts import assemble, read_part
from aubench.generators.plain_info import info_of
from aubench.progress import bar
from aubench.run.build_record import GenerationResult
from aubench.run.config import Job
from aubench.run.distributed.ray_task import ERROR, PieceInput, make_and_measure
from aubench.run.distributed.shards import versions
from aubench.run.execute import ImageBackend, check_weights_unchanged, supported
from aubench.stage_times import Meter, Spent
from aubench.storage.files import sha256_bytes, write_bytes
from aubench.storage.run_folder import RunFolder

PARTS = "parts"
"""Below the run folder, while it is being made: features of the shards that are measured."""
LARGEST = 128
"""Samples of a piece, where nobody says how many there are to be; a kill here costs as much."""
ENOUGH = 3
"""Samples that kill processes and end a run, if they are more than the pieces that were done."""
CAUSE = "its worker process died"


@dataclass(frozen=True)
class Cluster:
    """Where to work.

    Attributes:
        address: Address of a cluster; None for ``RAY_ADDRESS``, else a new one on this machine.
        workers: How many; as many as the cluster takes if None.
        shards: Pieces of work; chosen from the number of samples and workers if None.
        cpus: Cpus of each worker.
        gpus: Gpus of each worker; 1 where the device is CUDA, else 0, if None.
    """

    address: str | None = None
    workers: int | None = None
    shards: int | None = None
    cpus: float = 1.0
    gpus: float | None = None


def ray_backend(cluster: Cluster) -> ImageBackend:
    """Return what makes the images of a run on a cluster.

    Raises:
        AubenchError: Ray is not installed.
    """
    _ray()

    def generate(job: Job, folder: RunFolder, meter: Meter) -> GenerationResult:
        with _connected(cluster):
            return _RayRun(cluster, job, folder, meter).run()

    return generate


def _ray() -> Any:
    """Import Ray, which is a heavy extra; nothing is sent to its makers.

    Raises:
        AubenchError: It is not installed.
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


@dataclass(frozen=True)
class _Piece:
    """Samples that one task makes and measures.

    Attributes:
        rows: Numbers of the samples; a task without any loads the generator and describes it.
        half: Whether it was split off a piece that killed its processes.
    """

    rows: tuple[int, ...]
    half: bool = False

    @property
    def retries(self) -> int:
        """How often Ray tries again: a half is split at once, a sample alone gets two tries."""
        return 0 if self.half and len(self.rows) > 1 else 1

    def halves(self) -> list[_Piece]:
        """Return two pieces of half as many samples."""
        middle = len(self.rows) // 2
        return [_Piece(rows, half=True) for rows in (self.rows[:middle], self.rows[middle:])]


class _RayRun:
    """Submits pieces and takes their results in; the only writer of the run folder."""

    def __init__(self, cluster: Cluster, job: Job, folder: RunFolder, meter: Meter) -> None:
        self.cluster, self.job, self.folder, self.meter = cluster, job, folder, meter
        self.ids = job.ids
        self.waiting: deque[_Piece] = deque()
        self.pending: dict[Any, _Piece] = {}
        self.description: dict[str, Any] | None = None
        self.machines: dict[str, None] = {}
        self.done, self.poisoned = 0, list[int]()

    @property
    def parts(self) -> Path:
        """Where parts of features are kept."""
        return self.folder.path / PARTS

    def run(self) -> GenerationResult:
        """Make what is missing, put features together, and tell what made it."""
        self.job.choices.write(self.folder.path)
        rows, known = self._missing()
        workers = self._workers(len(rows))
        self.waiting.extend(self._pieces(rows, workers))
        try:
            with bar(len(self.ids), "generate", "img", initial=known) as self.progress:
                while self.waiting or self.pending:
                    while self.waiting and len(self.pending) < workers:
                        self._submit(self.waiting.popleft())
                    self._take_ready()
            self._fail_poisoned()
        finally:
            self._cancel()
        assert self.description is not None
        info, size = info_of(self.description["info"]), self.description["size"]
        samples, _ = supported(self.job.samples, self.folder, info.name)
        places = sorted(self.parts.iterdir()) if self.parts.is_dir() else []
        assemble(self.folder, samples, self.job.images, size, places)
        shutil.rmtree(self.parts, ignore_errors=True)
        return GenerationResult(info, size, self.description["weights"], tuple(self.machines))

    def _missing(self) -> tuple[list[int], int]:
        """Return rows to make or to measure, and how many samples need nothing more."""
        folder = self.folder
        hopeless = folder.failures | folder.unsupported
        todo = {n for n in self.ids if n not in hopeless and not folder.intact(n)}
        if not todo and not self.parts.is_dir():
            return [], len(self.ids)  # a finished run: its features lie in the folder
        measured: set[tuple[str, str]] = set()
        for place in self.parts.iterdir() if self.parts.is_dir() else ():
            part = read_part(place)
            measured |= set(part.made) if part else set()
        rows = [
            i
            for i, n in enumerate(self.ids)
            if n in todo or (n not in hopeless and (n, folder.digests[n]) not in measured)
        ]
        return rows, len(self.ids) - len(rows)

    def _gpus(self) -> float:
        cuda = self.job.config.device.startswith("cuda")
        return self.cluster.gpus if self.cluster.gpus is not None else float(cuda)

    def _workers(self, rows: int) -> int:
        """Return how many tasks may run at once.

        Raises:
            AubenchError: The cluster has no room for one.
        """
        there = _ray().cluster_resources()
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

    def _pieces(self, rows: list[int], workers: int) -> list[_Piece]:
        usual = max(workers, -(-len(rows) // LARGEST))
        count = min(self.cluster.shards or usual, max(1, len(rows)))
        return [_Piece(tuple(rows[i::count])) for i in range(count)]

    def _submit(self, piece: _Piece) -> None:
        ray = _ray()
        plain = self.job.config.plain()
        if self.job.config.weights is not None:
            plain["weights"] = str(self.job.config.weights.resolve())
        names = [self.ids[i] for i in piece.rows]
        known = [name for name in names if self.folder.intact(name)]
        what = PieceInput(
            plain,
            {k: v for k, v in self.job.identity().items() if k != "weights"},
            self.job.config.batch_size,
            max(1, int(self.cluster.cpus)),
            piece.rows,
            self.folder.rows(known),
            {name: self.folder.image(name).read_bytes() for name in known},
        )
        task = ray.remote(make_and_measure).options(
            num_cpus=self.cluster.cpus,
            num_gpus=self._gpus(),
            max_retries=piece.retries,
            scheduling_strategy="SPREAD",
        )
        self.pending[task.remote(what)] = piece

    def _take_ready(self) -> None:
        """Wait for an answer and take it in."""
        ray = _ray()
        ready, _ = ray.wait(list(self.pending), num_returns=1, timeout=1.0)
        for ref in ready:
            piece = self.pending.pop(ref)
            try:
                answer = ray.get(ref)
            except ray.exceptions.RayTaskError as error:
                reason = str(error.cause if hasattr(error, "cause") else error).splitlines()[-1]
                raise AubenchError(f"a worker failed: {reason}", "its log tells more") from error
            except ray.exceptions.RayError:
                self._on_process_died(piece)
                continue
            if ERROR in answer:
                raise AubenchError(*answer[ERROR])
            self._take(piece, answer)

    def _take(self, piece: _Piece, answer: dict[str, Any]) -> None:
        """Enter what a task has made, and keep what it has measured."""
        self.meter.add({name: Spent(**spent) for name, spent in answer["spent"].items()})
        self._check_description(answer["description"])
        for name, data in answer["images"].items():
            write_bytes(self.folder.image(name), data)
        before = {json.dumps(row) for row in self.folder.rows([self.ids[i] for i in piece.rows])}
        self.folder.enter([row for row in answer["ledger"] if json.dumps(row) not in before])
        if piece.rows:
            self.done += 1
            self._keep_part(answer["part"])
            self.progress.update(len(piece.rows))
            self._fail_poisoned()

    def _check_description(self, description: dict[str, Any]) -> None:
        """Refuse a worker that is not like the others, or has other versions than are here.

        Raises:
            AubenchError: Names what differs.
        """
        first = self.description or description
        for one, other, whom in (
            (description["versions"], versions(), "the driver"),
            (description, first, "another worker"),
        ):
            for key in one:
                if key not in ("hardware", "machine") and one[key] != other.get(key):
                    raise AubenchError(
                        f"worker on {description['machine']} has {key} {one[key]}, {whom} "
                        f"{other.get(key)}",
                        "make the environments of all nodes the same",
                    )
        if self.description is None:
            self.description = description
            check_weights_unchanged(self.folder, description["weights"])
        self.machines[description["hardware"]] = None

    def _keep_part(self, files: dict[str, bytes]) -> None:
        place = self.parts / sha256_bytes(files["part.json"])[:16]
        for name in sorted(files, key=lambda name: name == "part.json"):  # that one last
            write_bytes(place / name, files[name])

    def _on_process_died(self, piece: _Piece) -> None:
        """Split a piece that killed its processes, or give up its only sample.

        Raises:
            AubenchError: Loading kills processes, or sample after sample does.
        """
        if not piece.rows:
            raise AubenchError(
                f"workers die while they load model '{self.job.config.model}'",
                "give them more memory, or fewer of them: --workers",
            )
        if self.description is None:  # find out whether loading alone kills
            self.waiting.appendleft(_Piece(()))
        if len(piece.rows) > 1:
            self.waiting.extend(piece.halves())
            return
        self.poisoned.append(piece.rows[0])
        if len(self.poisoned) >= max(ENOUGH, self.done + 1):
            names = ", ".join(self.ids[row] for row in self.poisoned)
            raise AubenchError(
                f"{names} each killed their processes alone, and no more than {self.done} pieces "
                "were done",
                "try one of them with --engine local; the run resumes where it stopped",
            )

    def _fail_poisoned(self) -> None:
        """Enter samples that kill processes as failures, now that others are known not to."""
        for row in self.poisoned:
            name = self.ids[row]
            if name not in self.folder.failures:
                self.folder.fail(name, CAUSE)
                sys.stderr.write(f"sample {name} failed: {CAUSE}, twice, with it alone\n")
                self.progress.update(1)

    def _cancel(self) -> None:
        """End the tasks that are left."""
        for ref in self.pending:
            with suppress(Exception):
                _ray().cancel(ref, force=True)
