"""Checkpoints: what is refused, in which words, and that no half file is left."""

import pickle

import pytest
import torch

from aubench.errors import AubenchError
from aubench.training.checkpoint import (
    differences,
    read_checkpoint,
    refuse_other_training,
    write_checkpoint,
)


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "deep" / "c.pt"
    state = {"settings": {"betas": (0.9, 0.98)}, "step": 3, "w": torch.arange(4.0)}
    write_checkpoint(path, state)
    found = read_checkpoint(path, ["w"])
    assert found["settings"] == {"betas": (0.9, 0.98)} and found["step"] == 3
    assert torch.equal(found["w"], state["w"]) and list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_former_checkpoint(tmp_path):
    path = tmp_path / "c.pt"
    write_checkpoint(path, {"settings": {}, "step": 1})
    with pytest.raises((AttributeError, pickle.PicklingError)):
        write_checkpoint(path, {"settings": {}, "step": 2, "bad": lambda: None})
    assert read_checkpoint(path)["step"] == 1 and list(tmp_path.iterdir()) == [path]


def test_damaged_files_are_named_with_the_remedy(tmp_path):
    path = tmp_path / "c.pt"
    with pytest.raises(AubenchError, match=r"no .*c\.pt; train the earlier stage first"):
        read_checkpoint(path)
    write_checkpoint(path, {"settings": {}, "step": 1})
    with pytest.raises(AubenchError, match=r"c\.pt is damaged; remove it"):
        read_checkpoint(path, ["network"])
    whole = path.read_bytes()
    for content in (b"", b"x", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(AubenchError, match=r"c\.pt is damaged; remove it"):
            read_checkpoint(path)


class Harmful:
    """Creates a file where it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_no_code_is_run(tmp_path):
    path = tmp_path / "c.pt"
    torch.save({"settings": {}, "step": 1, "more": Harmful(tmp_path / "run")}, path)
    with pytest.raises(AubenchError, match="damaged"):
        read_checkpoint(path)
    assert not (tmp_path / "run").exists()


def test_differences_name_both_values():
    old = {"rate": 0.1, "betas": [0.9, 0.98], "shape": {"levels": 8, "size": 32}, "gone": 1}
    new = {"rate": 0.2, "betas": (0.9, 0.98), "shape": {"levels": 4, "size": 32}, "fold": None}
    assert differences(old, new) == [
        "fold was absent, now None",
        "gone was 1, now absent",
        "rate was 0.1, now 0.2",
        "shape.levels was 8, now 4",
    ]
    assert differences(old, new, {"rate", "gone", "fold", "shape.levels"}) == []
    assert differences({"a": 1}, {"a": True}) == []  # equal, as in Python


def test_one_line_refuses_all_differences(tmp_path):
    refuse_other_training(tmp_path / "c.pt", [])
    with pytest.raises(AubenchError) as caught:
        refuse_other_training(tmp_path / "c.pt", ["rate was 1, now 2", "data was a, now b"])
    assert caught.value.message == (
        f"{tmp_path / 'c.pt'} is of another training (rate was 1, now 2; data was a, now b)"
    )
    assert caught.value.hint == "use another --out"
