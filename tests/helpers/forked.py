"""The command line in a process of its own that need not import torch anew for seconds.

A server process imports once what commands import; every call is a fork of it, with environment,
folder and streams of its own. Whatever is tested at the start of an interpreter needs
``aubench_process`` instead.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path

IMPORTED = (
    "aubench.cli.running.run",
    "aubench.evaluate.evaluate",
    "aubench.metrics.contact_sheet",
    "aubench.networks.detectors.nano",
    "aubench.networks.identity.verification",
    "aubench.report.tables.boards",
    "aubench.run.execute",
    "aubench.synfacs.render",
    "numba",
    "pyarrow.parquet",
    "scipy.stats",
    "skimage.metrics",
    "torch",
)
"""Modules that most commands end up importing."""


def call(words, *, folder, path=(), timeout=900, **environment):
    """Run the command line; return what `subprocess.run` would, as text.

    Args:
        words: Of the command, without ``aubench``.
        folder: Working folder.
        path: Folders whose packages are installed for it.
        timeout: Seconds.
        environment: Variables beside those of this process.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    words = [str(word) for word in words]
    with tempfile.TemporaryDirectory() as place:
        streams = [str(Path(place) / name) for name in ("out", "err")]
        settings = {**os.environ, "COLUMNS": "200", **environment}
        process = context.Process(
            target=_command, args=(words, str(folder), [str(p) for p in path], settings, streams)
        )
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(words, timeout)
        said = [Path(stream).read_text() if Path(stream).is_file() else "" for stream in streams]
    return subprocess.CompletedProcess(words, process.exitcode, *said)


def _command(words, folder, path, settings, streams):
    os.environ.clear()
    os.environ.update(settings)
    os.chdir(folder)
    sys.path[:0] = path
    for number, stream in enumerate(streams, 1):
        handle = os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123
    from aubench.cli.main import main

    main(words)
