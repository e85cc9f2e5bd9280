"""Protocols: what they tell a generator, what they compare with, texts as frozen as ids."""

import hashlib
import json
import shutil

import pytest

from aubench.cli.main import cli
from aubench.errors import AubenchError, CheckFailed
from aubench.facs.describe import describe
from aubench.protocols.protocol import load_protocol, verify
from aubench.protocols.synfacs_draws import write_sums
from aubench.storage.files import shipped

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
    write_sums(place, ["protocol.toml", "samples.csv", "aaad.json"])
    with pytest.raises(AubenchError, match=r"cannot read the proof .*proof\.json"):
        verify(load_protocol("unseen", folder=copy))


def test_a_proof_of_another_train_set_is_refused(copy):
    place = copy / "synfacs" / "unseen"
    proof = json.loads((place / "proof.json").read_text())
    proof["train sha256"] = "0" * 64
    (place / "proof.json").write_text(json.dumps(proof))
    write_sums(place, ["protocol.toml", "samples.csv", "proof.json", "aaad.json"])
    with pytest.raises(AubenchError, match="differs from what was recomputed"):
        verify(load_protocol("unseen", folder=copy))


def test_sums_that_are_no_text_are_refused(copy):
    (copy / "synfacs" / "test2k" / "SHA256SUMS").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AubenchError, match="SHA256SUMS: not text"):
        load_protocol("test2k", folder=copy)


def test_a_protocol_of_ones_own_that_was_edited_does_not_hold(copy, monkeypatch, capsys):
    """One line and exit code 1; a name that is unknown is bad input."""
    (copy / "synfacs").rename(copy / "mine")
    monkeypatch.setattr("aubench.protocols.protocol.user_root", lambda: copy)
    path = copy / "mine" / "conflict" / "samples.csv"
    path.write_text(path.read_text().replace("12=", "15=", 1))
    with pytest.raises(CheckFailed, match=r"samples\.csv was edited since it was frozen") as caught:
        cli.main(
            ["protocol", "verify", "conflict", "--data", "mine", "--json"], standalone_mode=False
        )
    told = json.loads(capsys.readouterr().out)
    assert told == {"name": "conflict", "holds": False, "reason": str(caught.value)}
    with pytest.raises(AubenchError, match="unknown protocol 'conflct'") as caught:
        cli.main(["protocol", "verify", "conflct", "--data", "mine"], standalone_mode=False)
    assert caught.value.exit_code == 2
    for name in ("conflict", "intensity", "label-input", "test2k", "unseen"):
        shutil.rmtree(copy / "mine" / name)
    with pytest.raises(AubenchError, match=r"unknown protocol ''|no protocols for data"):
        cli.main(["protocols", "--data", "mine"], standalone_mode=False)


def test_a_protocol_of_synfacs_is_built_where_one_says(tmp_path, capsys):
    words = ["protocol", "freeze", "conflict"]
    with pytest.raises(AubenchError, match="--out DIR is needed"):
        cli.main(words, standalone_mode=False)
    with pytest.raises(AubenchError, match=r"unknown protocol 'conflct' \(did you mean 'conflict'"):
        cli.main(["protocol", "freeze", "conflct", "--out", str(tmp_path)], standalone_mode=False)
    cli.main([*words, "--out", str(tmp_path)], standalone_mode=False)
    place = tmp_path / "synfacs" / "conflict"
    assert capsys.readouterr().out == f"wrote {place}\n"
    built = load_protocol("conflict", folder=tmp_path)
    assert built.sha256 == load_protocol("conflict").sha256


def test_whoever_exports_restricted_faces_is_told(monkeypatch, tmp_path, capsys):
    words = ["export-prompts", "--protocol", "conflict", "--limit", "2", "--size", "32", "--out"]
    cli.main([*words, str(tmp_path / "free")], standalone_mode=False)
    free = capsys.readouterr()
    assert "restricted" not in free.err and "2 requests" in free.out
    monkeypatch.setattr("aubench.datasets.restricted", lambda name: True)
    cli.main([*words, str(tmp_path / "kept")], standalone_mode=False)
    assert "images of synfacs are restricted: keep them" in capsys.readouterr().err


def test_targets_of_restricted_data_are_written_only_on_demand(monkeypatch, tmp_path, capsys):
    words = ["protocol", "export", "conflict", "--limit", "2", "--size", "32", "--images", "--out"]
    monkeypatch.setattr("aubench.datasets.restricted", lambda name: True)
    with pytest.raises(AubenchError, match="no target is written") as caught:
        cli.main([*words, str(tmp_path / "kept")], standalone_mode=False)
    assert "--restricted-faces" in caught.value.hint
    assert not (tmp_path / "kept").exists()
    cli.main([*words, str(tmp_path / "kept"), "--restricted-faces"], standalone_mode=False)
    assert "2 target faces" in capsys.readouterr().out
    assert len(list((tmp_path / "kept" / "targets").iterdir())) == 2
