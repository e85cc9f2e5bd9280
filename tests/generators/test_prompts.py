"""Requests for systems without code here: each has its own reference face, also after a kill."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from aubench.errors import AubenchError
from aubench.generators.prompts import TABLE, write_prompts
from aubench.protocols.protocol import load_protocol
from aubench.storage.run_folder import read_png

KEYS = ("F001/T1/0001", "F001-T1-0001", "F001/T1/0002")
"""Two of them would have one file name."""


class Faces:
    """One grey level a key."""

    def prefetch(self, keys, size, label):
        pass

    def load(self, key, size):
        return np.full((size, size, 3), 10 * (KEYS.index(key) + 1), np.uint8)


@pytest.fixture
def samples():
    whole = load_protocol("conflict").samples().limit(6)
    return replace(whole, frame=whole.frame.assign(reference=[KEYS[i % 3] for i in range(6)]))


def shown(out):
    table = pd.read_csv(out / TABLE)
    return [int(read_png(out / name)[0, 0, 0]) for name in table["reference"]]


def test_faces_whose_names_would_be_one_have_two_files(samples, tmp_path):
    assert write_prompts(samples, Faces(), tmp_path, 16) == 3
    assert shown(tmp_path) == [10, 20, 30] * 2


def test_faces_of_a_call_that_was_killed_are_compared(samples, tmp_path):
    """It had asked for another size; its table was never written."""
    write_prompts(samples, Faces(), tmp_path, 32)
    (tmp_path / TABLE).unlink()
    next((tmp_path / "references").iterdir()).write_bytes(b"cut short")
    write_prompts(samples, Faces(), tmp_path, 16)
    assert shown(tmp_path) == [10, 20, 30] * 2
    assert {read_png(p).shape for p in (tmp_path / "references").iterdir()} == {(16, 16, 3)}
    with pytest.raises(AubenchError, match="holds other requests"):
        write_prompts(samples, Faces(), tmp_path, 32)
