"""A generator in a process of its own, without renderer, cache and protocol in reach.

What it is asked comes through a pipe, and so do its images; nothing that it sends is more than
JSON and pixels. In the process (``aubench.generators.sandbox_process``) Python's audit hook, which
no code can take back, refuses to open what holds targets or tells samples, to import what makes
them, to start programs and to connect.

It stops a plug-in that renders targets with the renderer here, reads them from a cache or looks
samples up. It does not stop one that brings a renderer or a table of its own, as weights can hold,
nor native code that opens files past Python. It is no jail for code that means harm.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from aubench.errors import AubenchError
from aubench.generators import sandbox_process
from aubench.generators.contract import (
    Generator,
    GeneratorInfo,
    Plan,
    Request,
    SampleFailure,
    Unsupported,
    WeightSource,
)
from aubench.generators.plain_info import info_of
from aubench.generators.sandbox_process import receive, send
from aubench.storage.files import data_home, home, shipped

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

DIES = "mend the plug-in; without --sandbox its own words are seen"


@dataclass(frozen=True)
class Wanted:
    """The generator of a sandbox.

    Attributes:
        model: Name under which it is registered.
        weights: Weights in place of its own.
        device: Torch device.
        options: Options of ``load``.
    """

    model: str
    weights: Path | None
    device: str
    options: Mapping[str, str]


def sandboxed(wanted: Wanted) -> SandboxedGenerator:
    """Start a process with a generator, loaded.

    Raises:
        AubenchError: It is a control, cannot be loaded, or wants what the process does not give.
    """
    from aubench.generators.registry import check_available, generator_class

    cls = generator_class(wanted.model)
    if cls.info.control:
        raise AubenchError(f"control '{wanted.model}' is shown targets", "run it without --sandbox")
    check_available(cls, wanted.model)
    return SandboxedGenerator(_Child(wanted))


class _Child:
    """The process, asked one thing after another."""

    def __init__(self, wanted: Wanted) -> None:
        import socket

        import torch

        self.name: str = wanted.model
        self.place: tempfile.TemporaryDirectory[str] = tempfile.TemporaryDirectory(
            prefix="aubench-sandbox-"
        )
        mine, theirs = socket.socketpair()
        environment = {**os.environ, "AUBENCH_HOME": self.place.name, "PYTHONSAFEPATH": "1"}
        weights = home() / "weights"
        if weights.is_dir():
            Path(self.place.name, "weights").symlink_to(weights.resolve())
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-m", sandbox_process.__name__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=environment,
            cwd=self.place.name,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno() if _has_number(sys.stderr) else subprocess.DEVNULL,
        )
        theirs.close()
        self.connection: Connection[Any, Any] = Connection(mine.detach())
        places = (home(), data_home(), Path.cwd() / "runs", shipped("protocols"))
        closed = [*(str(p.resolve()) for p in places), f"/proc/{os.getpid()}", *_hidden()]
        self.told: Any = self.ask(
            "load",
            {
                "path": sys.path,
                "model": wanted.model,
                "weights": str(wanted.weights.resolve()) if wanted.weights else None,
                "device": wanted.device,
                "options": dict(wanted.options),
                "threads": torch.get_num_threads(),
                "closed": closed,
                "open": [str(weights.resolve())],
            },
        )[0]

    def ask(self, what: str, message: dict[str, Any], data: bytes = b"") -> tuple[Any, bytes]:
        """Return the answer to a message.

        Raises:
            SampleFailure: The generator gives up on a sample.
            AubenchError: It raised anything else, or the process died.
        """
        try:
            send(self.connection, {"what": what, **message}, data)
            answer, more = receive(self.connection)
        except (OSError, EOFError, ValueError, struct.error) as error:
            self.process.kill()
            self.process.wait()
            raise AubenchError(f"model '{self.name}' died in its sandbox", DIES) from error
        if "failure" in answer:
            kind = Unsupported if answer["unsupported"] else SampleFailure
            raise kind(str(answer["failure"]), str(answer["reason"]))
        if "error" in answer:
            raise AubenchError(str(answer["error"]), answer.get("hint"))
        return answer, more

    def close(self) -> None:
        """End the process."""
        self.connection.close()
        self.process.kill()
        self.process.wait()
        self.place.cleanup()


def _has_number(stream: Any) -> bool:
    try:
        return bool(stream.fileno() >= 0)
    except (OSError, ValueError, AttributeError):
        return False


def _hidden() -> list[str]:
    """Return the folders of the packages that make faces, since their files can be run by path."""
    top = Path(__file__).resolve().parents[1]
    return [str(top / name) for name in ("synfacs", "synfacs2", "protocols")]


class SandboxedGenerator(Generator):
    """Stands for a generator that works in another process."""

    info: ClassVar[GeneratorInfo]

    def __init__(self, child: _Child) -> None:
        self._child = child
        try:
            vars(self)["info"] = info_of(child.told["info"])
            self._weights = child.told["weights"]
        except (KeyError, TypeError, ValueError) as error:
            self.close()
            raise AubenchError(f"model '{child.name}' says nothing of itself", DIES) from error

    @classmethod
    def load(cls, weights: WeightSource, *, device: str, dtype: str, **options: Any) -> Self:
        """Not to be called; see ``sandboxed``."""
        raise NotImplementedError

    @property
    def weights_sha256(self) -> str | None:
        """Digest of the weights in use there."""
        return None if self._weights is None else str(self._weights)

    def begin(self, plan: Plan) -> None:
        """Tell it what will be asked."""
        data = {"ids": plan.sample_ids, "known": sorted(plan.known), "size": plan.size}
        self._child.ask("begin", data)

    def generate(self, batch: Sequence[Request]) -> npt.NDArray[np.uint8]:
        """Return what it makes of a batch.

        Raises:
            SampleFailure: It gives up on a sample.
            AubenchError: It raised, sent something else, or died.
        """
        import numpy as np

        parts, told = [], []
        for request in batch:
            arrays = {name: getattr(request, name) for name in ("aus", "intensities", "reference")}
            told.append(
                {
                    "sample_id": request.sample_id,
                    "text": request.text,
                    "seed": request.seed,
                    "size": request.size,
                    "arrays": {
                        name: [array.dtype.str, list(array.shape)]
                        for name, array in arrays.items()
                        if array is not None
                    },
                }
            )
            parts += [np.ascontiguousarray(a).tobytes() for a in arrays.values() if a is not None]
        answer, data = self._child.ask("generate", {"batch": told}, b"".join(parts))
        try:
            kind = np.dtype(str(answer["dtype"]))
            if kind.kind not in "uifb":
                raise ValueError(kind)
            made = np.frombuffer(data, kind).reshape(answer["shape"]).copy()
            return cast("npt.NDArray[np.uint8]", made)  # checked by the caller, as of any
        except (KeyError, TypeError, ValueError) as error:
            raise AubenchError(f"model '{self._child.name}' sent no images", DIES) from error

    def close(self) -> None:
        """End its process."""
        self._child.close()

    def __del__(self) -> None:
        if "_child" in vars(self):
            self.close()
