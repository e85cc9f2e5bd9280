"""Frozen protocols: reproducible, verifiable, and closed to edits."""

import json
import shutil

import pytest

from aubench.errors import AubenchError
from aubench.protocols.protocol import CONSTANTS, SUMS, load_protocol, protocol_names, verify
from aubench.protocols.synfacs_draws import CONFLICTS, PLANS, REGIONS, freeze, write_sums
from aubench.storage.files import shipped

NAMES = ["conflict", "intensity", "label-input", "test2k", "unseen"]


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(shipped("protocols"), tmp_path / "protocols")
    return tmp_path / "protocols"


def test_all_are_shipped():
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
    """New weights need new constants; `aubench.protocols.synfacs_draws` makes them."""
    from aubench.networks.detectors import load_detector
    from aubench.networks.textau import load_text_au

    protocol = load_protocol(name)
    sources = {"labels"}  # the classifier has read no graded text
    if protocol.definition.input == "text" and not protocol.definition.graded:
        sources.add(f"text-{load_text_au('nano-dictionary').id}")
    ids = [load_detector(which).id for which in ("nano-a", "nano-b")]
    table = protocol.constants()
    assert set(table) == {f"{id_}|{source}" for id_ in ids for source in sources}
    assert all(0 <= low < 0.1 and 0.9 < high <= 1 + 1e-9 for low, high in table.values())


def test_constants_bound_the_cosines_of_targets():
    """On some of the targets the range may be narrower, never wider."""
    from aubench.datasets import image_source
    from aubench.metrics.action_units.aaad import cosines
    from aubench.networks.detectors import load_detector

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
    write_sums(place, ["protocol.toml", "samples.csv", CONSTANTS])
    with pytest.raises(AubenchError, match="no constants of AAAD"):
        load_protocol("test2k", folder=copy).constants()


@pytest.mark.parametrize("name", [CONSTANTS, "proof.json", "folds.json", "reference.json"])
def test_a_file_that_no_digest_covers_is_refused(copy, name):
    place = copy / "synfacs2" / "test2k"
    sums = place / "SHA256SUMS"
    sums.write_text("".join(s for s in sums.read_text().splitlines(True) if name not in s))
    (place / name).write_text("{}")
    with pytest.raises(AubenchError, match=rf"SHA256SUMS does not cover {name}"):
        load_protocol("test2k", "synfacs2", folder=copy)


@pytest.mark.parametrize("name", NAMES)
def test_protocols_verify(name):
    protocol = load_protocol(name)
    found = verify(protocol)
    assert found["samples"] == protocol.definition.samples
    samples = protocol.samples()
    assert set(samples.frame["subject"]) <= {f"S{i}" for i in range(320, 400)}
    assert samples.frame["seed"].is_unique


def test_unseen_occurs_nowhere_in_train():
    from aubench.datasets.synfacs.synfacs_dataset import split_frame

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


def test_intensity_holds_whole_sweeps_and_grids_in_scenes_of_its_own():
    from aubench.datasets.samples import INTENSITIES
    from aubench.facs import AUS
    from aubench.synfacs.keys import parse_key

    protocol = load_protocol("intensity")
    assert verify(protocol)["sweeps"] == 12 * 40 and verify(protocol)["grids"] == 6 * 16
    frame = protocol.samples().frame
    for au in AUS:
        rows = frame[frame["strata"] == f"sweep {au}"]
        table = rows.groupby(["subject", "reference"])[f"I{au}"].apply(sorted)
        assert len(table) == 40 and all(levels == [0, 1, 2, 3, 4, 5] for levels in table)
        others = [name for name in INTENSITIES if name != f"I{au}"]
        assert (rows[others] == 0).all().all()
    opposed = frame[frame["strata"] == "grid 6+12 x 15+17"]
    assert (opposed["I6"] == opposed["I12"]).all() and (opposed["I15"] == opposed["I17"]).all()
    assert set(zip(opposed["I12"], opposed["I15"], strict=True)) == {
        (a, b) for a in (0, 1, 3, 5) for b in (0, 1, 3, 5)
    }
    scenes = {parse_key(key)[2] for key in frame["reference"]}
    others = {
        parse_key(key)[2]
        for name in NAMES
        if name != "intensity"
        for key in load_protocol(name).samples().frame["reference"]
    }
    assert len(scenes) == 480 + 96 and not scenes & others


def test_intensity_is_told_in_words_and_a_neutral_face_in_others():
    from aubench.facs.describe import GRADES, mentioned

    frame = load_protocol("intensity").samples().frame
    swept = frame[frame["strata"].str.startswith("sweep")]
    for row in swept.head(300).itertuples():
        level = int(max(row[row_index(frame, name)] for name in frame if name.startswith("I")))
        told = [grade for grade in GRADES if f" {grade}" in row.text]
        assert told == ([GRADES[level - 1]] if level else []), row.text
        assert "+".join(map(str, sorted(mentioned(row.text)))) == (row.combination if level else "")


def row_index(frame, name):
    return list(frame.columns).index(name) + 1


@pytest.mark.parametrize("damage", ["level", "stratum", "twice"])
def test_an_incomplete_sweep_is_found(copy, damage):
    """Digests made to fit do not help: levels are counted."""
    place = copy / "synfacs" / "intensity"
    rows = (place / "samples.csv").read_text().splitlines()
    at = next(i for i, row in enumerate(rows) if row.endswith("12=4.0,sweep 12"))
    other = {"level": "12=4.5,sweep 12", "stratum": "12=4.0,swept 12", "twice": "12=3.0,sweep 12"}
    rows[at] = rows[at].replace("12=4.0,sweep 12", other[damage])
    (place / "samples.csv").write_text("\n".join(rows) + "\n")
    write_sums(place, ["protocol.toml", "samples.csv", CONSTANTS])
    with pytest.raises(AubenchError, match=r"intensity: .*(sweep|swept)"):
        verify(load_protocol("intensity", folder=copy))


def test_label_input_has_the_samples_of_test2k():
    text, labels = load_protocol("test2k"), load_protocol("label-input")
    assert labels.definition.input == "labels"
    assert (text.samples().frame["target"] == labels.samples().frame["target"]).all()


@pytest.mark.parametrize("name", ["protocol.toml", "samples.csv", "proof.json", CONSTANTS])
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
    from aubench.protocols.synfacs_draws import write_sums

    place = copy / "synfacs" / "unseen"
    rows = (place / "samples.csv").read_text().splitlines()
    key = rows[1].split(",")[1].rsplit("/", 1)[0]
    rows[1] = f"unseen-00000,{key}/12=3.0,single"
    (place / "samples.csv").write_text("\n".join(rows) + "\n")
    write_sums(place, ["protocol.toml", "samples.csv", "proof.json", CONSTANTS])
    with pytest.raises(AubenchError, match=r"'12'.*occur in train"):
        verify(load_protocol("unseen", folder=copy))


def test_proof_states_what_is_recomputed():
    proof = json.loads((shipped("protocols") / "synfacs" / "unseen" / "proof.json").read_text())
    assert proof["in both"] == [] and proof["train combinations"] == 2064
    assert len(proof["train sha256"]) == 64


def test_texts_speak_of_the_samples_aus():
    from aubench.facs.describe import mentioned

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
