"""Texts, statistics, and protocols frozen from imported data; a run on one of them."""

import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import trees
from click.testing import CliRunner
from import_parts import bring

from aubench.cli.main import cli
from aubench.datasets.frozen_splits import described_samples, sample_id
from aubench.datasets.imported.au_texts import attach_text, join, read_statistics, read_texts
from aubench.datasets.imported.files import folder_of, read_index, read_record
from aubench.datasets.imported.folds import split_of
from aubench.datasets.imported.imported_dataset import ImportedDataset
from aubench.datasets.samples import INTENSITIES, LABELS
from aubench.datasets.splits import codes_of, train_sets
from aubench.errors import AubenchError
from aubench.facs import combination_name, labels_of, load_facs, parse_aus
from aubench.facs.describe import describe
from aubench.metrics.metric import Need
from aubench.metrics.registry import needs
from aubench.networks.network_choice import NetworkChoice
from aubench.protocols.freeze import Pool, draw_conflict, draw_unseen, freeze_own
from aubench.protocols.protocol import load_protocol, verify
from aubench.report.tables.boards import read_boards
from aubench.report.tables.paper_tables import build

TRAIN, TEST = ("F001", "F003"), ("F004", "M003")
ONLY = ("7", "1+4", "6+7", "neutral", "12", "2+12", "6+12", "12+15")
"""AU sets of the test subjects: 7, 6+7 and 2+12 are not in train."""


@pytest.fixture(scope="module")
def shots(aubench_home):
    train = trees.shots(TRAIN, ("T1",))
    test = trees.shots(TEST, ("T1",), count=8, sets=ONLY, person=322)
    return [*train, *test]


@pytest.fixture(scope="module")
def homes(shots, tmp_path_factory):
    """Two labs with the same files under other roofs: an import in each one's home."""
    out, before = [], os.environ["AUBENCH_HOME"]
    for lab in ("one", "two"):
        base = tmp_path_factory.mktemp(lab)
        rows = shots if lab == "one" else shots[::-1]
        root = trees.write_bp4d(base / "deep" / lab, rows, padded=lab == "two")
        os.environ["AUBENCH_HOME"] = str(base / "home")
        bring("bp4d", root)
        out.append(base / "home")
    os.environ["AUBENCH_HOME"] = before
    return out


@pytest.fixture
def home(homes, monkeypatch):
    monkeypatch.setenv("AUBENCH_HOME", str(homes[0]))
    return homes[0]


def digests(place):
    return {p.name: p.read_bytes() for p in place.iterdir()}


@pytest.mark.parametrize(("name", "samples"), [("test2k", 10), ("unseen", 6), ("conflict", None)])
def test_two_labs_get_the_same_bytes(homes, monkeypatch, name, samples):
    frozen = []
    for home in homes:
        monkeypatch.setenv("AUBENCH_HOME", str(home))
        frozen.append(freeze_own(name, "bp4d", samples=samples))
        assert verify(load_protocol(name, "bp4d"))["data"] == "as when frozen"
    assert frozen[0].sha256 == frozen[1].sha256
    assert digests(frozen[0].place) == digests(frozen[1].place)
    assert "SHA256SUMS" in digests(frozen[0].place)


def test_another_picture_is_another_digest(homes, shots, tmp_path, monkeypatch):
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path / "home"))
    root = trees.write_bp4d(tmp_path / "a", shots)
    path = root / "M003" / "T1" / "2440.jpg"
    path.write_bytes(trees.jpeg(shots[0].image[:, ::-1].copy()))
    bring("bp4d", root)
    other = freeze_own("test2k", "bp4d", samples=14)
    monkeypatch.setenv("AUBENCH_HOME", str(homes[0]))
    assert freeze_own("test2k", "bp4d", samples=14).sha256 != other.sha256


def test_test2k_holds_test_subjects_as_they_are(home, shots):
    frozen = freeze_own("test2k", "bp4d", samples=14)
    assert frozen.split.test == ("bp4d/F004", "bp4d/M003")
    protocol = load_protocol("test2k", "bp4d")
    samples = protocol.samples()
    by_key = {f"bp4d/{s.subject}/{s.task}/{s.frame}": s for s in shots}
    assert len(samples) == 14 and protocol.size == 256
    for row in samples.frame.itertuples():
        shot = by_key[row.target]
        assert [getattr(row, name) for name in LABELS] == shot.labels.tolist()
        assert row.text == describe(parse_aus(row.combination), seed=row.seed).text
        assert not by_key[row.reference].labels.any()
    index = read_index("bp4d").set_index("key").loc[samples.frame["target"]]
    np.testing.assert_array_equal(samples.intensities(), index[list(INTENSITIES)])
    with pytest.raises(AubenchError, match="has 14 frames for test2k, not 2000; --samples 14"):
        freeze_own("test2k", "bp4d")
    assert freeze_own("label-input", "bp4d", samples=14).sha256 != frozen.sha256
    assert load_protocol("label-input", "bp4d").inputs == {"au", "reference"}


def test_unseen_is_unseen_and_the_proof_is_checked(home):
    frozen = freeze_own("unseen", "bp4d", samples=6)
    assert frozen.strata == {"simple": 4, "single": 2} and frozen.combinations == 3
    protocol = load_protocol("unseen", "bp4d")
    found = verify(protocol)
    assert found["in both"] == [] and found["protocol combinations"] == ["2+12", "6+7", "7"]
    known = read_index("bp4d")
    train = known[known["subject"].isin(["bp4d/F001", "bp4d/F003"])]
    names = {combination_name(row) for row in train[list(LABELS)].to_numpy()} - {"neutral"}
    assert found["train combinations"] == len(names) == 8
    with pytest.raises(AubenchError, match="has 6 frames for unseen, not 7"):
        freeze_own("unseen", "bp4d", samples=7)


def test_unseen_notices_train_that_changed(homes, tmp_path, shots, monkeypatch):
    monkeypatch.setenv("AUBENCH_HOME", str(tmp_path))
    shutil.copytree(homes[0] / "data", tmp_path / "data")
    freeze_own("unseen", "bp4d", samples=6)
    extra = trees.shots(("F002",), ("T1",), count=2, sets=("6+7", "neutral"), person=324)
    root = trees.write_bp4d(tmp_path / "tree", [*shots, *extra])
    bring("bp4d", root)
    with pytest.raises(AubenchError, match=r"\['6\+7'\] occur in train"):
        verify(load_protocol("unseen", "bp4d"))


def test_edits_are_noticed(home, tmp_path):
    place = freeze_own("test2k", "bp4d", samples=10, root=tmp_path).place
    assert verify(load_protocol("test2k", "bp4d", tmp_path))["test subjects"] == 2
    for name in ("samples.csv", "folds.json", "protocol.toml"):
        before = (place / name).read_text()
        (place / name).write_text(before.replace("F004", "F001") + " ")
        with pytest.raises(AubenchError, match="was edited"):
            load_protocol("test2k", "bp4d", tmp_path)
        (place / name).write_text(before)


def _frame(*rows):
    """Return an index of (subject, known and active AUs, unknown AUs)."""
    labels = np.stack([labels_of(parse_aus(aus)).astype(np.int8) for _, aus, _ in rows])
    for i, (_, _, unknown) in enumerate(rows):
        labels[i, labels_of(unknown).astype(bool)] = -1
    frame = pd.DataFrame({"subject": [s for s, _, _ in rows], "sample": True})
    return frame.assign(**{name: labels[:, i] for i, name in enumerate(LABELS)})


def test_unknown_aus_of_train_may_be_active():
    frame = _frame(("a", "6+12", ()), ("a", "1", (2, 4)), ("b", "7", ()))
    strict, plain = (train_sets(frame, ["a"], strict=flag) for flag in (True, False))
    listed = {
        combination_name((code & (1 << np.arange(12))) > 0)
        for code in np.flatnonzero(strict.possible)
    }
    assert listed == {"6+12", "1", "1+2", "1+4", "1+2+4"}
    assert plain.possible.sum() == 2 and plain.names == strict.names == ("6+12",)
    assert strict.vague == ("1 of 1,6,7,10,12,14,15,17,23,24",)


def test_unseen_asks_for_as_many_sets_as_there_are():
    names = ["1"] * 50 + ["1+4", "6+12+15", "2+7"] + ["12"] * 9
    codes = codes_of(np.stack([labels_of(parse_aus(n)) for n in names]))
    train = train_sets(_frame(("t", "12", ())), ["t"])
    pool = Pool(codes, np.random.default_rng(0).permutation(len(names)), train)
    rows, strata = draw_unseen(pool, 6)
    asked = [names[i] for i in rows]
    assert sorted(set(asked[:4])) == ["1", "1+4", "2+7", "6+12+15"] and asked[4:] == ["1", "1"]
    kinds = dict(zip(asked, strata, strict=True))
    facs = load_facs()
    for name, kind in kinds.items():
        opposed = bool(facs.conflicts_in(parse_aus(name)))
        assert kind == ("single" if name == "1" else "conflict" if opposed else "simple")


def test_conflict_takes_auxiliaries_of_the_other_half_alone():
    names = ["12+15", "1+12+15", "12+15+17", "7+12+15", "1+4", "1+4+12", "1+2+4", "6+12+15+17"]
    codes = codes_of(np.stack([labels_of(parse_aus(n)) for n in names]))
    pool = Pool(codes, np.arange(len(names)), train_sets(_frame(("t", "12", ())), ["t"]))
    rows, strata = draw_conflict(pool, 60)
    assert {names[i]: s for i, s in zip(rows, strata, strict=True)} == {
        "12+15": "12+15", "1+12+15": "12+15", "12+15+17": "12+15+17", "1+4": "1+4",
        "1+4+12": "1+4", "1+2+4": "1+2+4", "6+12+15+17": "6+12+15+17",
    }  # fmt: skip


def test_sample_ids_are_file_names():
    assert sample_id("bp4d/F001/T1/2440") == "bp4d-F001-T1-2440"
    assert sample_id("disfa/SN001/left/7") == "disfa-SN001-left-7"
    odd = ["mine/a/x y.png", "mine/a/x_y.png", "mine/a/x/y.png", "mine/é/.png"]
    ids = [sample_id(key) for key in odd]
    assert len(set(ids)) == 4 and all("/" not in i and not i.startswith(".") for i in ids)


def test_texts_and_statistics(home):
    told = attach_text("bp4d", 2020)
    again = attach_text("bp4d", 2020)
    texts = read_texts("bp4d")
    assert told == again and len(texts) == told["images"] == 16 + 14
    index = read_index("bp4d").set_index("key")
    facs = load_facs()
    pairs, words = [], []
    for row in texts.itertuples():
        aus = parse_aus(combination_name(index.loc[row.key, list(LABELS)]))
        assert row.text == describe(aus, seed=row.seed).text
        pairs.append(len(facs.conflicts_in(aus)))
        words.append(len(row.text.split()))
    assert told["words"]["min"] == min(words) and told["words"]["max"] == max(words)
    assert told["words"]["mean"] == pytest.approx(np.mean(words), abs=0.01)
    lengths = texts["text"].str.len()
    assert told["characters"]["min"] == lengths.min() and told["characters"]["max"] == lengths.max()
    conflicts = told["conflicts"]
    assert conflicts["images"] == sum(p > 0 for p in pairs) > 0
    assert conflicts["occurrences"] == sum(pairs) == sum(conflicts["pairs"].values())
    assert told["aus"]["AU12"] == int((index.loc[texts["key"], "AU12"] == 1).sum())
    kept = read_statistics("bp4d")
    assert kept == {k: v for k, v in told.items() if k != "path"} and kept["paper"] == {}
    assert read_statistics("none") is None
    table = build(1, read_boards("bp4d"), "measured")
    found = dict(zip((c.key for c in table.columns), table.rows[0].cells, strict=True))
    assert found["images"].value == 30
    assert found["length"].words == f"{min(words)}–{max(words)} words"
    assert "the copy on this machine" in table.general[0]


def test_two_sets_become_one(home, shots, tmp_path):
    plus = trees.shots(("F001", "M002"), ("T1",), 5, person=325)
    bring("bp4dplus", trees.write_bp4dplus(tmp_path / "plus", plus))
    name = join(["bp4d", "bp4dplus"], "bp4d-autext")
    told, record = attach_text(name, 2020), read_record(name)
    assert told["images"] == 30 + 6 and told["paper"]["images"] == 302_169
    assert record.restricted and record.published == {"with an active AU": 302_169}
    subjects = set(read_index(name)["subject"].astype(str))
    assert {"bp4d/F001", "bp4dplus/F001"} <= subjects  # two persons
    split = split_of(name, 1, subjects)
    assert not set(split.train) & set(split.test) and "bp4d/F004" in split.test
    from aubench.datasets import image_source

    images = image_source(name)
    keys = ["bp4dplus/F001/T1/2441", "bp4d/F001/T1/2441"]
    assert images.load_many(keys, 64).shape == (2, 64, 64, 3)
    freeze_own("test2k", name, samples=5)
    assert verify(load_protocol("test2k", name))["samples"] == 5
    for wrong, why in (
        ([["bp4d", "bp4d"], "x"], "cannot be joined"),
        ([["bp4d", name], "x"], "cannot be joined"),
        ([["bp4d", "bp4dplus"], "bp4d"], "is an import itself"),
        ([["bp4d", "none"], "x"], "no imported data set 'none'"),
    ):
        with pytest.raises(AubenchError, match=why):
            join(*wrong)
    shutil.rmtree(folder_of(name))


def test_data_without_all_aus_have_no_protocol(home, monkeypatch):
    import aubench.protocols.freeze as module

    some = SimpleNamespace(coded=[1, 2, 4, 6, 12])
    with monkeypatch.context() as patch:
        patch.setattr(module, "find_dataset", lambda name: some)
        with pytest.raises(AubenchError, match="does not code AU7, AU10"):
            freeze_own("test2k", "bp4d")
    with pytest.raises(AubenchError, match="did you mean 'unseen'"):
        freeze_own("unsen", "bp4d")
    with pytest.raises(AubenchError, match="no fold 4 of 'bp4d'; choose 1 to 3"):
        freeze_own("test2k", "bp4d", fold=4)
    with pytest.raises(AubenchError, match="no subject in test of fold 2") as told:
        split_of("bp4d", 2, ["bp4d/F001", "bp4d/F004"])
    assert told.value.hint == "try --fold"


def test_detectors_of_photographs_are_named_or_refused():
    assert NetworkChoice().detectors_of("synfacs") == "nano-a,nano-b"
    assert NetworkChoice(detectors="a,b").detectors_of("bp4d") == "a,b"
    assert NetworkChoice().detectors_of("bp4d") == "mp-zero"  # one that knows photographs
    NetworkChoice(detectors="nano-a").check_detectors("bp4d", "cpu")  # one is enough
    assert Need.DETECTORS not in needs(["fid", "lpips"]) and Need.DETECTORS in needs(["aaad"])
    for choices, why in (
        (NetworkChoice(detectors="nano-a,nano-b,mp-zero"), "more than two"),
        (NetworkChoice(detectors="nano-a,nano-a"), "named twice"),
        (NetworkChoice(detectors="nano-a,nano-x"), "unknown detector"),
    ):
        with pytest.raises(AubenchError, match=why):
            choices.check_detectors("bp4d", "cpu")


def test_the_whole_way_by_command(home, tmp_path, monkeypatch):
    """Freeze with statistics, verify, run, compare with the oracle's own images."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        done = CliRunner().invoke(cli, [str(word) for word in words])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.output

    words = ("protocol", "freeze", "test2k", "--data", "bp4d", "--samples", "12", "--size", "64")
    out = call(*words, "--detectors", "nano-a,nano-b", "--extractor", "efficientnet-lite0")
    assert "statistics of the targets by nano-b" in out and "2 test subjects" in out
    protocol = load_protocol("test2k", "bp4d")
    assert len(protocol.constants()) == 4
    from safetensors.numpy import load_file

    moments = load_file(protocol.folder / "reference-efficientnet-lite0.safetensors")
    covariance = moments["covariance"]
    assert covariance.shape == (len(moments["mean"]),) * 2 and np.isfinite(covariance).all()
    assert np.linalg.matrix_rank(covariance) <= 11  # of twelve images
    out = call(*words)
    assert "no statistics by inception" in out
    assert "aaad.json" not in digests(protocol.folder)  # frozen anew, without detectors
    assert "test2k holds" in call("protocol", "verify", "test2k", "--data", "bp4d")
    assert "12 samples" in call("protocols", "--data", "bp4d")
    run = ("run", "--data", "bp4d", "--protocol", "test2k", "--metrics", "fid,aaad,au,identity")
    call(*run, "--model", "oracle", "--detectors", "nano-a,nano-b")
    record = json.loads((tmp_path / "runs/bp4d-test2k-oracle/record.json").read_text())
    scores = {row["metric"]: row for row in record["scores"]}
    assert scores["fid"]["value"] is None and "inception" in scores["fid"]["note"]
    assert scores["aaad"]["value"] == pytest.approx(scores["aaad_ceiling"]["value"])
    assert scores["au_f1"]["value"] > 0.5
    assert record["protocol"]["dataset_fingerprint"] == read_record("bp4d").fingerprint
    assert record["provenance"]["networks"]["nano-a"].startswith("nano-a@")
    told = (tmp_path / "runs/bp4d-test2k-oracle/detectors.txt").read_text().splitlines()
    assert told[0] == "nano-a,nano-b"  # a digest of it follows


def test_a_whole_import_as_samples(home, shots):
    everyone = ImportedDataset("bp4d").everyone()
    samples = described_samples(everyone.rows(np.array(everyone.subjects) == "bp4d/F004"), 201)
    assert len(samples) == 7 and set(samples.subjects()) == {"bp4d/F004"}
    freeze_own("test2k", "bp4d", samples=14)
    frozen = load_protocol("test2k", "bp4d").samples().frame.set_index("sample_id")
    whole = samples.frame.set_index("sample_id")
    for column in ("text", "seed", "combination", "target", "reference"):
        assert (frozen.loc[whole.index, column] == whole[column]).all(), column


def test_where_own_data_lie(monkeypatch, tmp_path):
    monkeypatch.delenv("AUBENCH_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert folder_of("x") == tmp_path / "aubench" / "data" / "x"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert folder_of("x").parts[-5:] == (".local", "share", "aubench", "data", "x")
