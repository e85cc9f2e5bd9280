"""What a worker of a Ray cluster does; knows nothing of Ray itself.

It works in a temporary folder of its node and hands everything back as bytes, so that no file
system need be shared. The data set and the weights must be there, or be rendered there.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from aubench.engine.folder import RunFolder
from aubench.errors import AubenchError

if TYPE_CHECKING:
    from aubench.engine.job import Job, Loaded

Method = TypeVar("Method", bound=Callable[..., dict[str, Any]])
ERROR = "error"
PREFIX = "aubench-worker-"


def told(method: Method) -> Method:
    """Return an error that a user can mend as an answer: exceptions lose much on their way."""

    @wraps(method)
    def wrapped(*args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            return method(*args, **kwargs)
        except AubenchError as error:
            return {ERROR: (error.message, error.hint)}
        except MemoryError:
            return {ERROR: (f"out of memory on {platform.node()}", "take a smaller --batch-size")}

    return wrapped  # type: ignore[return-value]


def _prefix() -> str:
    """Return how temporary folders of workers begin that number processes as this one does."""
    try:
        return f"{PREFIX}{Path('/proc/self/ns/pid').stat().st_ino}-"
    except OSError:
        return f"{PREFIX}{platform.node()}-"


def _clear_dead() -> None:
    """Remove what killed workers of this machine left."""
    for place in Path(tempfile.gettempdir()).glob(f"{_prefix()}*"):
        process = place.name.removeprefix(_prefix()).partition("-")[0]
        if Path("/proc/self").exists() and not Path("/proc", process).exists():
            shutil.rmtree(place, ignore_errors=True)


class Worker:
    """Makes and measures samples of one run; loads the generator once.

    Args:
        threads: for torch.
    """

    def __init__(self, threads: int) -> None:
        os.environ.setdefault("TQDM_DISABLE", "1")
        self._threads = max(1, threads)
        _clear_dead()
        self._place = Path(tempfile.mkdtemp(prefix=f"{_prefix()}{os.getpid()}-"))
        self._folder = self._empty()
        self._job: Job
        self._loaded: Loaded

    def _empty(self) -> RunFolder:
        shutil.rmtree(self._place, ignore_errors=True)
        self._place.mkdir(parents=True)
        return RunFolder(self._place)

    @told
    def load(self, plain: Mapping[str, Any], identity: Mapping[str, Any]) -> dict[str, Any]:
        """Load the generator and tell what it is.

        Args:
            plain: options of the run.
            identity: of the run, as the driver knows it; what is here must agree.
        """
        import torch

        from aubench.datasets.images import SynfacsImages
        from aubench.engine.costs import Meter
        from aubench.engine.job import config_of, prepare
        from aubench.engine.provenance import hardware
        from aubench.engine.shards import versions
        from aubench.engine.stamp import plain_info

        torch.set_num_threads(self._threads)
        meter = Meter(None)
        with meter.stage("load"):
            job = prepare(config_of(plain, self._place))
            if isinstance(job.images, SynfacsImages):
                job = replace(job, images=SynfacsImages(processes=self._threads))
            here = job.identity()
            for key, value in identity.items():
                if here[key] != value:
                    raise AubenchError(
                        f"worker on {platform.node()} has {key} = {here[key]}, the driver {value}",
                        "bring data, protocols and weights of the driver to every node",
                    )
            self._job, self._loaded = job, job.load(job.samples)
        return {
            "info": plain_info(self._loaded.info),
            "size": self._loaded.size,
            "weights": self._loaded.generator.weights_sha256,
            "versions": versions(),
            "hardware": hardware(),
            "machine": platform.node(),
            "spent": _spent(meter),
        }

    @told
    def make(self, rows: Sequence[int]) -> dict[str, Any]:
        """Generate some samples; return lines of the ledger and PNG files by sample id."""
        from aubench.engine.costs import Meter
        from aubench.engine.generation import one_batch, requests

        job, loaded, meter = self._job, self._loaded, Meter(None)
        part = job.samples.subset(list(rows))
        with meter.stage("render"):
            meter.count(job.prefetch(part, loaded.size))
        with meter.stage("generate"):
            asked = requests(job.samples, job.images, loaded.generator, list(rows), loaded.size)
            one_batch(self._folder, asked, loaded.generator, loaded.size)
            meter.count(len(rows))
        ids = [request.sample_id for request in asked]
        files = {n: self._folder.image(n).read_bytes() for n in ids if n in self._folder.digests}
        return {"rows": self._folder.rows(ids), "files": files, "spent": _spent(meter)}

    @told
    def measure(
        self, rows: Sequence[int], ledger: list[dict[str, str]], files: Mapping[str, bytes]
    ) -> dict[str, Any]:
        """Measure some samples; return the files of a part, and forget all images.

        Args:
            rows: numbers of the samples.
            ledger: what is known of them.
            files: PNG files of those that were not made here.
        """
        from aubench.engine.costs import Meter
        from aubench.engine.parts import measure_part
        from aubench.files import write_bytes

        job, meter, place = self._job, Meter(None), self._place / "part"
        for name, data in files.items():
            write_bytes(self._folder.image(name), data)
        self._folder.enter(ledger)
        part = job.samples.subset(list(rows))
        with meter.stage("measure"):
            job.prefetch(part, self._loaded.size)
            measure_part(job, self._folder, part, self._loaded.size, place)
        found = {path.name: path.read_bytes() for path in sorted(place.iterdir())}
        self._folder = self._empty()
        return {"files": found, "spent": _spent(meter)}

    def close(self) -> None:
        """Remove the temporary folder."""
        shutil.rmtree(self._place, ignore_errors=True)


def _spent(meter: Any) -> dict[str, dict[str, Any]]:
    return {name: asdict(spent) for call in meter.calls() for name, spent in call.items()}
