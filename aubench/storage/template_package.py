"""Installable packages written from templates, for what third parties add."""

from __future__ import annotations

import keyword
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from aubench.errors import AubenchError
from aubench.storage.files import write_text

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "$name"
version = "0.1"
description = "The $kind $name for aubench"
requires-python = ">=3.11"
dependencies = ["aubench"]

[project.optional-dependencies]
test = ["pytest"]

[project.entry-points."$group"]
$name = "$module:$class_name"

[tool.hatch.build.targets.wheel]
include = ["/$source"]
"""


@dataclass(frozen=True)
class PackageTemplate:
    """An installable package to start from, with one class that an entry point names.

    Attributes:
        kind: What the package holds, for messages and the description, such as ``metric``.
        group: Entry point group, such as ``aubench.metrics``.
        source: Path of the module, or folder of the package.
        files: Template of each file but ``pyproject.toml``, by path. ``$name``, ``$module`` and
            ``$class_name`` are filled in, in paths too.
    """

    kind: str
    group: str
    source: str
    files: Mapping[str, str]

    def write(self, name: str, out: Path, taken: Container[str]) -> list[Path]:
        """Write the package and return its files.

        Args:
            name: Of what it holds and of the package: lower case letters, digits and hyphens.
            out: A folder that is absent or empty.
            taken: Names that are installed already.

        Raises:
            AubenchError: The name will not do or is taken, or the folder holds something.
        """
        words = self._words(name, out, taken)
        written = []
        for place, text in {"pyproject.toml": PYPROJECT, **self.files}.items():
            path = out / Template(place).substitute(words)
            write_text(path, Template(text).substitute(words))
            written.append(path)
        return written

    def _words(self, name: str, out: Path, taken: Container[str]) -> dict[str, str]:
        module = name.replace("-", "_")
        if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(module):
            raise AubenchError(
                f"'{name}' will not do as a name", "use a-z, 0-9 and hyphens: my-model"
            )
        if name in taken:
            raise AubenchError(
                f"a {self.kind} '{name}' is installed already", "choose another name"
            )
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise AubenchError(f"{out} is there already", "choose another --out")
        return {
            "name": name,
            "module": module,
            "class_name": "".join(part.capitalize() for part in name.split("-")),
            "kind": self.kind,
            "group": self.group,
            "source": Template(self.source).substitute(module=module),
        }
