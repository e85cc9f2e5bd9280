"""Frozen protocols: reproducible, verifiable, and closed to edits."""

import json
import shutil

import pytest

from aubench.errors import AubenchError
from aubench.files import shipped
from aubench.freeze import CONFLICTS, PLANS, REGIONS, _sums, freeze
from aubench.protocol import CONSTANTS, SUMS, load_protocol, protocol_names, verify

NAMES = ["conflict", "label-input", "test2k", "unseen"]


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(shipped("protocols"), tmp_path / "protocols")
    return tmp_path / "protocols"


def test_all_four_are_shipped():
    assert protocol_names() == NAMES == sorted(PLANS)


@pytest.mark.parametrize("name", NAMES)
def test_freezing_again_gives_the_shipped_bytes(name, tmp_path):
    """All but AAAD's constants, which the detectors bring and another test holds."""
    place, kept = freeze(name, tmp_path), shipped("protocols") / "synfacs" / name
    for path in sorted(kept.iterdir()):
        if path.name not in (CONSTANTS, SUMS):
            assert (place / path.name).read_bytes() == path.read_bytes(), path.name
    lines = [line for line in (kept / SUMS).read_text().splitlines() if CONSTANTS not in line]
    assert (place / SUMS).read_text().splitlines() == lines


@pytest.mark.parametrize("name", NAMES)
def test_constants_are_those_of_the_shipped_networks(name):
    """New weights need new constants: `python -m aubench.freeze protocols --constants`."""
    from aubench.detectors import load_detector
    from aubench.textau import load_text_au

    protocol = load_protocol(name)
    sources = {"labels"}
    if protocol.definition.input == "text":
        sources.add(f"text-{load_text_au().id}")
    ids = [load_detector(which).id for which in ("nano-a", "nano-b")]
    table = protocol.constants()
    assert set(table) == {f"{id_}|{source}" for id_ in ids for source in sources}
    assert all(0 <= low < 0.1 and 0.9 < high <= 1 + 1e-9 for low, high in table.values())


def test_constants_bound_the_cosines_of_targets():
    """On some of the targets the range may be narrower, never wider."""
    from aubench.datasets import image_source
    from aubench.detectors import load_detector
    from aubench.metrics.aaad import cosines

    protocol = load_protocol("test2k")
    part = protocol.samples().limit(40)
    detector = load_detector("nano-a")
    images = image_source("synfacs").load_many(list(part.frame["target"]), protocol.size)
    found = cosines(detector.probabilities(images), part.labels().astype("float32"))
    _, high = protocol.constants()[f"{detector.id}|labels"]
    assert found.max() <= high + 1e-6 and found.max() > 0.99


def test_damaged_constants_are_refused(copy):
    place = copy / "synfacs" / "test2k"
    (place / CONSTANTS).write_text('{"x": [1]}')
    with pytest.raises(AubenchError, match="was edited"):
        load_protocol("test2k", folder=copy)
    _sums(place, ["protocol.toml", "samples.csv", CONSTANTS])
    with pytest.raises(AubenchError, match="no constants of AAAD"):
        load_protocol("test2k", folder=copy).constants()


@pytest.mark.parametrize("name", NAMES)
def test_protocols_verify(name):
    protocol = load_protocol(name)
    found = verify(protocol)
    assert found["samples"] == protocol.definition.samples
    samples = protocol.samples()
    assert set(samples.frame["subject"]) <= {f"S{i}" for i in range(320, 400)}
    assert samples.frame["seed"].is_unique


def test_unseen_occurs_nowhere_in_train():
    from aubench.datasets.synfacs import split_frame

    asked = set(load_protocol("unseen").samples().frame["combination"])
    assert not asked & set(split_frame("train")["combination"])
    strata = load_protocol("unseen").samples().frame["strata"].value_counts()
    assert set(strata.index) == {"single", "simple", "conflict"} and strata.min() >= 300


def test_conflict_has_equal_shares_and_quiet_auxiliaries():
    frame = load_protocol("conflict").samples().frame
    assert frame["strata"].value_counts().to_dict() == dict.fromkeys(CONFLICTS, 200)
    for row in frame.itertuples():
        core = {int(x) for x in row.strata.split("+")}
        every = {int(x) for x in row.combination.split("+")}
        assert core <= every
        region = "brow" if core <= set(REGIONS["brow"]) else "rest"
        assert not (every - core) & set(REGIONS[region])


def test_label_input_has_the_samples_of_test2k():
    text, labels = load_protocol("test2k"), load_protocol("label-input")
    assert labels.definition.input == "labels"
    assert (text.samples().frame["target"] == labels.samples().frame["target"]).all()


@pytest.mark.parametrize("name", ["protocol.toml", "samples.csv", "proof.json"])
def test_an_edit_is_found(copy, name):
    path = copy / "synfacs" / "unseen" / name
    path.write_text(path.read_text().replace("2", "3", 1))
    with pytest.raises(AubenchError, match=f"{name} was edited"):
        load_protocol("unseen", folder=copy)
    path.unlink()
    gone = "unknown protocol" if name == "protocol.toml" else f"{name} is missing"
    with pytest.raises(AubenchError, match=gone):
        load_protocol("unseen", folder=copy)


def test_a_false_claim_is_found(copy):
    """Digests made to fit do not help: the claim itself is recomputed."""
    from aubench.freeze import _sums

    place = copy / "synfacs" / "unseen"
    rows = (place / "samples.csv").read_text().splitlines()
    key = rows[1].split(",")[1].rsplit("/", 1)[0]
    rows[1] = f"unseen-00000,{key}/12=3.0,single"
    (place / "samples.csv").write_text("\n".join(rows) + "\n")
    _sums(place, ["protocol.toml", "samples.csv", "proof.json"])
    with pytest.raises(AubenchError, match=r"'12'.*occur in train"):
        verify(load_protocol("unseen", folder=copy))


def test_proof_states_what_is_recomputed():
    proof = json.loads((shipped("protocols") / "synfacs" / "unseen" / "proof.json").read_text())
    assert proof["in both"] == [] and proof["train combinations"] == 2064
    assert len(proof["train sha256"]) == 64


def test_texts_speak_of_the_samples_aus():
    from aubench.describe import mentioned

    for row in load_protocol("unseen").samples().frame.head(100).itertuples():
        assert "+".join(map(str, sorted(mentioned(row.text)))) == row.combination


def test_commands(aubench, tmp_path):
    text = aubench("protocols", check=0).stdout
    assert all(name in text for name in NAMES)
    assert "unseen holds" in aubench("protocol", "verify", "unseen", check=0).stdout
    assert "sha256" in aubench("protocol", "show", "conflict", check=0).stdout
    assert "did you mean 'unseen'" in aubench("protocol", "show", "unsen", check=2).stderr
    done = aubench("protocol", "show", "unseen", "--data", "synfac", check=2)
    assert "did you mean 'synfacs'" in done.stderr
