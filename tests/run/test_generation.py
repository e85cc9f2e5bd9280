"""What the harness makes of a generator that fails in ways of its own."""

import numpy as np
import pytest

from aubench.datasets import image_source
from aubench.errors import AubenchError
from aubench.generators.contract import Generator, GeneratorInfo, SampleFailure
from aubench.protocols.protocol import load_protocol
from aubench.run.generate import check_determinism, generate
from aubench.storage.run_folder import RunFolder


class OutOfMemoryError(RuntimeError):
    """As torch names that of a GPU."""


class Moody(Generator):
    """Makes images in batches; what it does of one alone is set by a test."""

    info = GeneratorInfo("moody", frozenset(), 16, "none", (), (), "MIT", "nobody")

    def __init__(self, fault):
        self.fault = fault

    @classmethod
    def load(cls, weights, **more):
        raise NotImplementedError

    def generate(self, batch):
        if len(batch) == 1:
            raise self.fault(batch[0].sample_id)
        return np.zeros((len(batch), 16, 16, 3), np.uint8)


@pytest.fixture
def run(tmp_path):
    folder = RunFolder.create(tmp_path / "run", {})
    return folder, load_protocol("conflict").samples().limit(6), image_source("synfacs")


def test_a_sample_that_fails_alone_only_is_told_as_what_it_is(run):
    moody = Moody(lambda name: SampleFailure(name, "no face found"))
    generate(*run, moody, size=16, batch_size=6)
    with pytest.raises(
        AubenchError,
        match=r"not deterministic: sample conflict-\d+ was made in its"
        r" batch, and failed alone: no face found",
    ):
        check_determinism(*run, moody, size=16)


def test_a_gpu_that_is_full_asks_for_smaller_batches(run):
    """It is no fault of the plug-in."""
    moody = Moody(lambda name: OutOfMemoryError("tried to allocate 20 GiB"))
    with pytest.raises(AubenchError, match=r"ran out of memory on a batch of 1; .*--batch-size"):
        generate(*run, moody, size=16, batch_size=1)
    with pytest.raises(AubenchError, match="mend the plug-in"):
        generate(
            *run, Moody(lambda name: RuntimeError("nothing to do with it")), size=16, batch_size=1
        )
