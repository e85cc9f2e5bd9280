"""The code that makes images: digests of a generator's modules, versions of what they stand on."""

from __future__ import annotations

import ast
import site
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import all_suffixes
from importlib.metadata import Distribution, PackageNotFoundError, version
from pathlib import Path

from aubench import __version__
from aubench.errors import AubenchError
from aubench.generators import registry
from aubench.generators.contract import Generator
from aubench.generators.registry import GROUP
from aubench.storage.files import sha256_file, sha256_json

LIBRARIES = ("torch", "diffusers")
"""Packages whose versions change what a network makes."""

SETTINGS = (".json", ".toml", ".yaml", ".yml", ".ini", ".cfg")
"""Files beside modules that code reads its settings from."""

PASSED = ("__pycache__", ".")
"""Folders that begin like this hold no source: Python and others write them unasked."""


@dataclass(frozen=True)
class CodeIdentity:
    """What the images of a run were made by, apart from weights.

    Attributes:
        sha256: Digest over the modules of the generator's package, and of what these import from
            beside it.
        versions: Of the generator's package, aubench and the libraries below, without their
            builds.
    """

    sha256: str
    versions: Mapping[str, str]

    def plain(self) -> dict[str, str]:
        """Return what a run folder states, by what a refusal calls it."""
        told = {f"version of {name}": value for name, value in self.versions.items()}
        return {"code of the model": self.sha256, **told}

    @property
    def tag(self) -> str:
        """Sixteen digits for the whole, as lines of a ledger carry them."""
        return sha256_json(self.plain())[:16]


def code_identity(name: str) -> CodeIdentity:
    """Return by what code the registered generator ``name`` would make images now.

    Raises:
        AubenchError: It cannot be imported, or its code is in no file.
    """
    package, own = GROUP.package(name)
    versions = {"aubench": __version__, **{key: _installed(key) for key in LIBRARIES}}
    if package not in ("?", "aubench"):
        versions[package] = own
    return CodeIdentity(code_digest(registry.generator_class(name)), versions)


def _installed(name: str) -> str:
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return "none"


def code_digest(cls: type[Generator]) -> str:
    """Return a digest over the files that a generator's class is made of, by content.

    These are modules and settings of the packages that the class and its bases lie in, and of
    those that they import from the same folder or distribution.

    Raises:
        AubenchError: A class is in no file, such as one that was typed in.
    """
    files: dict[str, Path] = {}
    for base in cls.__mro__[: cls.__mro__.index(Generator)]:
        if base.__module__.partition(".")[0] != "aubench":
            files |= _files_of(base.__module__)
    return sha256_json({name: sha256_file(path) for name, path in sorted(files.items())})


def _files_of(module: str) -> dict[str, Path]:
    """Return the files of a module's package and of what it imports beside it, by their names.

    The package is the outermost one that has a file; namespaces have none.
    """
    words = module.split(".")
    outer = (".".join(words[: i + 1]) for i in range(len(words)))
    files_of = ((name, getattr(sys.modules.get(name), "__file__", None)) for name in outer)
    name, file = next(((name, file) for name, file in files_of if file), ("", None))
    if file is None:
        raise AubenchError(f"the code of '{module}' is in no file", "install its package")
    path, top = Path(file), name.rpartition(".")[2]
    root = path.parent.parent if path.name.startswith("__init__.") else path.parent
    beside = _siblings(top, root)
    files: dict[str, Path] = {}
    found, waiting = {top}, [top]
    while waiting:
        for one in _sources(root, waiting.pop()):
            files[one.relative_to(root).as_posix()] = one
            new = (_imported(one) & beside) - found
            found |= new
            waiting += sorted(new)
    return files


def _sources(root: Path, top: str) -> Iterator[Path]:
    """Yield modules and settings of a package, or a single module."""
    folder = root / top
    if not folder.is_dir():
        yield from (p for end in all_suffixes() if (p := root / f"{top}{end}").is_file())
        return
    endings = (*all_suffixes(), *SETTINGS)
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts[:-1]
        hidden = any(part.startswith(PASSED) for part in inside)
        if path.name.endswith(endings) and not hidden and path.is_file():
            yield path


def _siblings(top: str, root: Path) -> frozenset[str]:
    """Return the top modules in the same folder; in one for all packages, of the distribution."""
    names = {path.name.partition(".")[0] for path in root.iterdir()}
    shared = {*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_path("purelib")}
    if str(root) not in shared:
        return frozenset(names - {"aubench"})
    return frozenset(names & _distributed_with(top))


@lru_cache(maxsize=32)
def _distributed_with(top: str) -> frozenset[str]:
    """Return the top modules of the distribution that a top module comes with."""
    for point in GROUP.names():
        package, _ = GROUP.package(point)
        found = _top_modules(package)
        if top in found:
            return found
    return frozenset({top})


def _top_modules(package: str) -> frozenset[str]:
    try:
        files = Distribution.from_name(package).files if package != "?" else None
    except PackageNotFoundError:
        return frozenset()
    return frozenset(file.parts[0].partition(".")[0] for file in files or ())


def _imported(path: Path) -> set[str]:
    """Return the top modules that a Python file imports anywhere, without relative imports."""
    if path.suffix != ".py":
        return set()
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
    return names
