"""The process of a sandboxed generator; ``aubench.run.sandbox`` starts it and says what it stops.

``python -m aubench.generators.sandbox_process NUMBER`` answers messages on a pipe of that number.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from aubench.errors import AubenchError
from aubench.generators.contract import Plan, Request, SampleFailure, Unsupported, WeightSource

MODULES = (
    "aubench.synfacs",
    "aubench.synfacs2",
    "aubench.protocols",
    "aubench.datasets.registry",
    "aubench.datasets.frozen_splits",
    "aubench.datasets.imported",
    "aubench.datasets.synfacs",
    "aubench.datasets.synfacs2",
    "aubench.evaluate",
    "aubench.run",
    "aubench.audit",
    "aubench.submission",
    "aubench.study",
    "aubench_baselines.controls",
)
"""What makes faces, reads samples or knows where they are."""
EVENTS = (
    "subprocess.Popen",
    "os.exec",
    "os.posix_spawn",
    "os.system",
    "os.fork",
    "os.forkpty",
    "socket.connect",
)
READS = ("open", "os.listdir", "os.scandir", "os.link", "os.rename")
"""Events whose first detail is a path."""
LARGEST = 1 << 30
"""Bytes of a message."""
REMEDY = "mend the plug-in"


def send(connection: Connection, message: dict[str, Any], data: bytes = b"") -> None:
    """Send JSON, and bytes behind it."""
    text = json.dumps(message).encode()
    connection.send_bytes(struct.pack(">I", len(text)) + text + data)


def receive(connection: Connection) -> tuple[dict[str, Any], bytes]:
    """Return JSON, and the bytes behind it."""
    whole = connection.recv_bytes(LARGEST)
    (size,) = struct.unpack_from(">I", whole)
    return json.loads(whole[4 : 4 + size]), whole[4 + size :]


def _refuse(closed: Sequence[str], opened: Sequence[str]) -> Callable[[str, tuple[Any, ...]], None]:
    """Return the audit hook of the process.

    Args:
        closed: Folders that nothing is to be read from.
        opened: Folders below them that may be.
    """

    def out_of_reach(event: str, path: str | bytes | os.PathLike[str]) -> bool:
        place = os.path.realpath(os.fsdecode(path))
        if _below(place, closed):
            return not _below(place, opened)
        # From a folder above, files could be opened without a path that tells.
        return event == "open" and Path(place).is_dir() and any(_below(c, [place]) for c in closed)

    def hook(event: str, details: tuple[Any, ...]) -> None:
        if event == "import":
            name = str(details[0])
            if any(name == one or name.startswith(f"{one}.") for one in MODULES):
                raise ImportError(f"{name} is out of reach in a sandbox")
        elif event in READS and isinstance(details[0], str | bytes | os.PathLike):
            if out_of_reach(event, details[0]):
                raise PermissionError(f"{details[0]!r} is out of reach in a sandbox")
        elif event in EVENTS:
            raise PermissionError(f"{event} is out of reach in a sandbox")

    return hook


def _below(place: str, folders: Sequence[str]) -> bool:
    return any(place == one or place.startswith(f"{one.rstrip(os.sep)}{os.sep}") for one in folders)


def _answer(generator: Any, message: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """Do what is asked of the generator in the process; return the answer."""
    import numpy as np

    if message["what"] == "begin":
        plan = Plan(tuple(message["ids"]), frozenset(message["known"]), message["size"])
        generator.begin(plan)
        return {}, b""
    batch, at = [], 0
    for told in message["batch"]:
        arrays: dict[str, Any] = dict.fromkeys(("aus", "intensities", "reference"))
        for name, (kind, shape) in told.pop("arrays").items():
            count = int(np.prod(shape))
            arrays[name] = np.frombuffer(data, kind, count, at).reshape(shape).copy()
            at += arrays[name].nbytes
        batch.append(Request(**told, **arrays))
    made = generator.generate(batch)
    if not isinstance(made, np.ndarray):
        kind = type(made).__name__
        raise AubenchError(f"model '{generator.info.name}' returned {kind}, not an array")
    return {"dtype": made.dtype.str, "shape": made.shape}, np.ascontiguousarray(made).tobytes()


def _load(message: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    from aubench.generators.plain_info import plain_info
    from aubench.generators.registry import generator_class

    cls = generator_class(message["model"])
    weights = Path(message["weights"]) if message["weights"] else None
    generator = cls.load(
        WeightSource(weights), device=message["device"], dtype="float32", **message["options"]
    )
    return generator, {"info": plain_info(generator.info), "weights": generator.weights_sha256}


def _serve(connection: Connection) -> None:
    """Answer messages until the other side is gone."""
    generator: Any = None
    while True:
        try:
            message, data = receive(connection)
        except (OSError, EOFError):
            return
        out = b""
        try:
            if message["what"] == "load":
                import numpy as np  # noqa: F401 - torch and NumPy look at the machine by programs
                import torch

                torch.set_num_threads(message["threads"])

                sys.path[:] = message["path"]
                sys.addaudithook(_refuse(message["closed"], message["open"]))
                generator, answer = _load(message)
            else:
                answer, out = _answer(generator, message, data)
        except SampleFailure as failure:
            answer = {
                "failure": failure.sample_id,
                "reason": failure.reason,
                "unsupported": isinstance(failure, Unsupported),
            }
        except AubenchError as error:
            answer = {"error": error.message, "hint": error.hint}
        except Exception as error:
            told = f"raised {type(error).__name__} in its sandbox: {error}"
            answer = {"error": f"the model {told}", "hint": REMEDY}
        send(connection, answer, out)


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
