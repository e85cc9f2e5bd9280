"""A package with a generator to start from: it installs, runs and passes its tests as written."""

from __future__ import annotations

from pathlib import Path

from aubench.storage.template_package import PackageTemplate

MODULE = '''\
"""The generator $name for aubench."""

import numpy as np
from aubench.generators.contract import Generator, GeneratorInfo, SampleFailure


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
from aubench.generators.conformance import Subject, check_generator


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


TEMPLATE = PackageTemplate(
    "generator",
    "aubench.generators",
    "$module.py",
    {"$module.py": MODULE, "tests/test_$module.py": TEST, "README.md": README},
)


def write_package(name: str, out: Path) -> list[Path]:
    """Write ``pyproject.toml``, the module, a test and a README; return the files.

    Args:
        name: Of generator and package: lower case letters, digits and hyphens.
        out: A folder that is absent or empty.

    Raises:
        AubenchError: The name will not do or is taken, or the folder holds something.
    """
    from aubench.generators.registry import GROUP

    return TEMPLATE.write(name, out, GROUP.names())
