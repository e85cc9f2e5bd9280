"""A package with a generator to start from: it installs, runs and passes its tests as written."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from string import Template

from aubench.errors import AubenchError
from aubench.files import write_text

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "$name"
version = "0.1"
description = "The generator $name for aubench"
requires-python = ">=3.11"
dependencies = ["aubench"]

[project.optional-dependencies]
test = ["pytest"]

[project.entry-points."aubench.generators"]
$name = "$module:$class_name"

[tool.hatch.build.targets.wheel]
include = ["$module.py"]
"""

MODULE = '''\
"""The generator $name for aubench."""

import numpy as np
from aubench.generator import Generator, GeneratorInfo, SampleFailure


class $class_name(Generator):
    """Brightens the reference face with every AU: replace ``paint`` by your model."""

    info = GeneratorInfo(
        name="$name",
        inputs=frozenset({"au", "reference"}),  # of "text", "au" and "reference"
        size=128,  # side of the images; 0 for whatever the protocol asks
        training="none",
        trained_on=(),
        metrics_in_training=(),  # scorers used as a loss or for selection; tables mark them
        licence="unlicensed",
        citation="unpublished",
        summary="an example to start from",
    )

    @classmethod
    def load(cls, weights, *, device, dtype, **options):
        """Return a ready generator; ``weights.path`` is what ``--weights`` gave, or None."""
        return cls()

    def generate(self, batch):
        """Return uint8 [B, H, W, 3] RGB, one image a request."""
        return np.stack([self.paint(request) for request in batch])

    def paint(self, request):
        """Return one image; draw all randomness from ``request.seed``."""
        if request.reference is None:
            raise SampleFailure(request.sample_id, "no reference face")
        noise = np.random.default_rng(request.seed).normal(0, 2, request.reference.shape)
        made = request.reference + 4.0 * request.aus.sum() + noise
        return made.round().clip(0, 255).astype(np.uint8)
'''

TEST = '''\
"""The conformance suite of aubench; install the package first: pip install -e '.[test]'."""

import pytest
from aubench.engine.conformance import Subject, check_generator


@pytest.fixture(scope="module")
def verdicts():
    return list(check_generator(Subject("$name")))


def test_conforms(verdicts):
    failed = [f"{v.name}: {v.detail}" for v in verdicts if v.passed is False]
    assert not failed, failed


def test_the_suite_ran_to_its_end(verdicts):
    assert {"load", "images", "determinism", "batch", "memory"} <= {v.name for v in verdicts}
'''

README = """\
# $name

A generator for aubench.

    pip install -e '.[test]'
    aubench models show $name
    aubench check-generator $name
    aubench run --model $name --protocol label-input --limit 20 --metrics au
    pytest
"""


def write_package(name: str, out: Path) -> list[Path]:
    """Write ``pyproject.toml``, the module, a test and a README.

    Args:
        name: of generator and package: lower case letters, digits and hyphens.
        out: a folder that is absent or empty.

    Returns:
        The files.

    Raises:
        AubenchError: the name will not do or is taken, or the folder holds something.
    """
    from aubench.registry import found

    module = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(module):
        raise AubenchError(f"'{name}' will not do as a name", "use a-z, 0-9 and hyphens: my-model")
    if name in found():
        raise AubenchError(f"a generator '{name}' is installed already", "choose another name")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise AubenchError(f"{out} is there already", "choose another --out")
    words = {"name": name, "module": module,
             "class_name": "".join(part.capitalize() for part in name.split("-"))}  # fmt: skip
    files = {
        "pyproject.toml": PYPROJECT, f"{module}.py": MODULE,
        f"tests/test_{module}.py": TEST, "README.md": README,
    }  # fmt: skip
    for place, text in files.items():
        write_text(out / place, Template(text).substitute(words))
    return [out / place for place in files]
