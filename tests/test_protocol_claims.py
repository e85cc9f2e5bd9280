"""Protocols: what they tell a generator, what they compare with, texts as frozen as ids."""

import hashlib
import json
import shutil

import pytest

from aubench.describe import describe
from aubench.errors import AubenchError
from aubench.files import shipped
from aubench.freeze import _sums
from aubench.protocol import load_protocol, verify

TEXTS = {
    "conflict": "e3c8a8950af447e6",
    "intensity": "500c2b23141c5a1d",
    "label-input": "d20feadc975cf8cc",
    "test2k": "d20feadc975cf8cc",
    "unseen": "42e057977beddabf",
}


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(shipped("protocols"), tmp_path / "protocols")
    return tmp_path / "protocols"


def texts_digest(name):
    frame = load_protocol(name).samples().frame
    lines = [f"{row.sample_id}\t{row.text}\n" for row in frame.itertuples()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_texts_are_as_frozen(name):
    """A protocol's digest covers ids, not texts; a new wording makes a new protocol version."""
    assert texts_digest(name) == TEXTS[name]


def test_text_and_seed_of_a_sample_need_no_other_sample():
    samples = load_protocol("unseen").samples()
    for row in samples.shard(3, 400).frame.itertuples():
        aus = [] if row.combination == "neutral" else [int(n) for n in row.combination.split("+")]
        assert describe(aus, seed=row.seed).text == row.text


def test_what_a_generator_is_told():
    assert load_protocol("test2k").inputs == {"text", "reference"}
    assert load_protocol("label-input").inputs == {"au", "reference"}
    assert load_protocol("test2k").seed == load_protocol("label-input").seed


def test_the_reference_set_is_the_protocols_own_targets():
    protocol = load_protocol("conflict")
    assert protocol.reference_keys() == list(protocol.samples().frame["target"])
    assert len(protocol.reference_keys()) == 1200


def test_a_proof_taken_out_of_the_digests_is_missed(copy):
    place = copy / "synfacs" / "unseen"
    (place / "proof.json").unlink()
    _sums(place, ["protocol.toml", "samples.csv"])
    with pytest.raises(AubenchError, match=r"cannot read the proof .*proof\.json"):
        verify(load_protocol("unseen", folder=copy))


def test_a_proof_of_another_train_set_is_refused(copy):
    place = copy / "synfacs" / "unseen"
    proof = json.loads((place / "proof.json").read_text())
    proof["train sha256"] = "0" * 64
    (place / "proof.json").write_text(json.dumps(proof))
    _sums(place, ["protocol.toml", "samples.csv", "proof.json"])
    with pytest.raises(AubenchError, match="differs from what was recomputed"):
        verify(load_protocol("unseen", folder=copy))


def test_sums_that_are_no_text_are_refused(copy):
    (copy / "synfacs" / "test2k" / "SHA256SUMS").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AubenchError, match="SHA256SUMS: not text"):
        load_protocol("test2k", folder=copy)
