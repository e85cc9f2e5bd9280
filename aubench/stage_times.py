"""What a run costs, stage by stage, added up over all the calls that it took.

Each call of ``aubench run`` writes an entry into ``costs.json`` of the run folder: at the end of a
stage, and every few seconds inside it, so that a call that was killed counts but for the last of
them. Clocks are monotonic: setting the date changes nothing.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from aubench.errors import AubenchError
from aubench.records.record import StageCost
from aubench.storage.files import sha256_json, write_text
from aubench.storage.text_files import read_json

COSTS = "costs.json"
SAMPLE, INTERVAL = 0.25, 2.0
"""Seconds between looks at the memory, and between two writes of the file."""

Calls = list[dict[str, "Spent"]]
"""An entry a call: what it spent, by stage."""


@dataclass
class Spent:
    """What one call spent on one stage.

    Attributes:
        images: Made or looked at.
        seconds: Seconds of the wall clock, monotonic.
        processor_seconds: Processor seconds of this process and of the children it has waited for.
        memory: Largest resident set of this process, MiB.
        device_memory: Largest allocation of torch on CUDA, MiB; None without CUDA.
    """

    images: int = 0
    seconds: float = 0.0
    processor_seconds: float = 0.0
    memory: float = 0.0
    device_memory: float | None = None

    def add(self, more: Spent) -> None:
        """Add what another call spent: sums, and the largest memory."""
        self.images += more.images
        self.seconds += more.seconds
        self.processor_seconds += more.processor_seconds
        self.memory = max(self.memory, more.memory)
        self.saw(more.device_memory)

    def saw(self, device_memory: float | None) -> None:
        """Take note of an allocation on CUDA, None where there is none."""
        if device_memory is not None:
            self.device_memory = max(self.device_memory or 0.0, device_memory)


def processor_seconds() -> float:
    """Return processor seconds of this process and of the children it has waited for."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def peak_memory() -> float:
    """Return the largest resident set of this process so far, MiB."""
    # Not ru_maxrss where this can be had: a child starts with its parent's.
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    import resource

    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def resident_memory() -> float:
    """Return the resident set of this process, MiB; its peak where the system tells no more."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return peak_memory()
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def device_memory(*, reset: bool = False) -> float | None:
    """Return the largest allocation on CUDA since the last reset, MiB; None without CUDA."""
    torch = sys.modules.get("torch")  # a run that needs no torch is not to import it for this
    if torch is None or not torch.cuda.is_initialized():
        return None
    devices = range(torch.cuda.device_count())
    found = max(torch.cuda.max_memory_allocated(i) for i in devices) / (1 << 20)
    if reset:
        for i in devices:
            torch.cuda.reset_peak_memory_stats(i)
    return float(found)


@dataclass(frozen=True)
class Gauges:
    """What a meter reads; tests put their own in."""

    wall: Callable[[], float] = time.monotonic
    processor: Callable[[], float] = processor_seconds
    resident: Callable[[], float] = resident_memory
    peak: Callable[[], float] = peak_memory


_running: list[Meter] = []


def count(images: int) -> None:
    """Add images to the stage that is running, if any."""
    if _running:
        _running[-1].count(images)


class Meter:
    """Measures the stages of one call of a run and keeps them beside those of former calls.

    Args:
        path: The file to keep them in, None for nowhere.
        gauges: Clocks and memory.
        interval: Seconds between two writes.
    """

    def __init__(
        self, path: Path | None, gauges: Gauges | None = None, interval: float = INTERVAL
    ) -> None:
        self._path, self._gauges, self._interval = path, gauges or Gauges(), interval
        self._former = read_calls(path) if path is not None else []
        self._call: dict[str, Spent] = {}
        self._lock = threading.RLock()
        self._open: _Open | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure one stage; a second time under a name adds to the first.

        Raises:
            ValueError: Another stage is running.
        """
        if self._open is not None:
            raise ValueError(f"stage '{name}' inside another")
        device_memory(reset=True)
        self._open = _Open(self._call.setdefault(name, Spent()), self._gauges)
        stop = threading.Event()
        beat = threading.Thread(target=self._beat, args=(stop,), daemon=True)
        beat.start()
        _running.append(self)
        try:
            yield
        finally:
            _running.remove(self)
            stop.set()
            beat.join()
            self._open.look()
            self._open = None
            self._write()

    def count(self, images: int) -> None:
        """Add images to the stage that is running, if any."""
        with self._lock:
            if self._open is not None:
                self._open.spent.images += images

    def add(self, call: dict[str, Spent]) -> None:
        """Add a call of another process, such as a worker of a cluster."""
        with self._lock:
            self._former.append(call)
        self._write()

    def calls(self) -> Calls:
        """Return what every call spent, this one last."""
        with self._lock:
            return [*self._former, self._call] if self._call else list(self._former)

    def totals(self) -> dict[str, StageCost]:
        """Return the costs of the run so far, by stage."""
        return totals(self.calls())

    def _beat(self, stop: threading.Event) -> None:
        written = time.monotonic()
        while not stop.wait(min(SAMPLE, self._interval)):
            with self._lock:
                if self._open is not None:
                    self._open.look()
            if time.monotonic() - written >= self._interval:
                self._write()
                written = time.monotonic()

    def _write(self) -> None:
        if self._path is None:
            return
        with self._lock, suppress(AubenchError, OSError):
            # A disk that is full stops the run where it writes images, not its book-keeping.
            write_calls(self._path, self.calls())


class _Open:
    """The stage that is running: what it has spent since it was entered."""

    def __init__(self, spent: Spent, gauges: Gauges) -> None:
        self.spent, self._gauges = spent, gauges
        self._wall, self._processor = gauges.wall(), gauges.processor()
        self._peak = gauges.peak()

    def look(self) -> None:
        """Bring the entry up to date."""
        gauges, spent = self._gauges, self.spent
        wall, processor = gauges.wall(), gauges.processor()
        spent.seconds += max(0.0, wall - self._wall)
        spent.processor_seconds += max(0.0, processor - self._processor)
        self._wall, self._processor = wall, processor
        # A new peak of the process is this stage's; else its own was seen now and then.
        peak = gauges.peak()
        spent.memory = max(spent.memory, peak if peak > self._peak else gauges.resident())
        spent.saw(device_memory())


def totals(calls: Iterable[Mapping[str, Spent]]) -> dict[str, StageCost]:
    """Return by stage the sums of what calls spent, and the largest memory."""
    found: dict[str, list[Spent]] = {}
    for call in calls:
        for name, spent in call.items():
            found.setdefault(name, []).append(spent)
    return {name: _total(parts) for name, parts in found.items()}


def _total(parts: list[Spent]) -> StageCost:
    whole = Spent()
    for spent in parts:
        whole.add(spent)
    device = whole.device_memory
    return StageCost(
        seconds=round(whole.seconds, 2),
        processor_seconds=round(whole.processor_seconds, 2),
        images=whole.images,
        peak_memory_mib=round(whole.memory, 1),
        device_memory_mib=None if device is None else round(device, 1),
        calls=len(parts),
    )


def write_calls(path: Path, calls: Calls) -> None:
    """Write what calls spent, atomically, with a digest.

    Raises:
        AubenchError: The file cannot be written.
    """
    rows = [{name: _rounded(spent) for name, spent in call.items()} for call in calls]
    write_text(path, json.dumps({"calls": rows, "sha256": sha256_json(rows)}, indent=1) + "\n")


def _rounded(spent: Spent) -> dict[str, float | None]:
    return {
        name: None if value is None else round(value, 3) for name, value in asdict(spent).items()
    }


def read_calls(path: Path) -> Calls:
    """Return what former calls spent; none where the file is missing.

    A damaged file costs nothing but the costs: that is said on the error stream.
    """
    if not path.is_file():
        return []
    try:
        data = read_json(path)
        rows = data["calls"]
        if data["sha256"] != sha256_json(rows):
            raise ValueError("another digest")
        names = {field.name for field in fields(Spent)}
        if any(set(spent) != names for row in rows for spent in row.values()):
            raise ValueError("other fields")
        return [{name: Spent(**spent) for name, spent in row.items()} for row in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        sys.stderr.write(f"{path} is damaged: the costs of former calls are lost\n")
        return []
