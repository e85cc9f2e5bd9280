"""Requests for systems without code here: each has its own reference face, also after a kill."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from aubench.errors import AubenchError
from aubench.generators.prompts import TABLE, TARGET_TABLE, write_prompts, write_targets
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


def test_targets_have_the_names_of_samples_and_are_taken_up_again(samples, tmp_path):
    """A sample without a target has a row and no file; a damaged file is written anew."""
    targets = [KEYS[i % 2] for i in range(5)] + [None]
    asked = replace(samples, frame=samples.frame.assign(target=targets))
    assert write_targets(asked, Faces(), tmp_path, 16) == 5
    table = pd.read_csv(tmp_path / TARGET_TABLE, keep_default_na=False)
    assert list(table["sample_id"]) == asked.ids
    assert list(table["combination"]) == list(asked.frame["combination"])
    assert list(table["target"]) == [f"targets/{name}.png" for name in asked.ids[:5]] + [""]
    second = tmp_path / table["target"][1]
    second.write_bytes(second.read_bytes()[:40])
    first = (tmp_path / table["target"][0]).stat().st_mtime_ns
    write_targets(asked, Faces(), tmp_path, 16)
    assert int(read_png(second)[0, 0, 0]) == 20
    assert (tmp_path / table["target"][0]).stat().st_mtime_ns == first
    with pytest.raises(AubenchError, match="holds other targets"):
        write_targets(samples, Faces(), tmp_path, 16)
